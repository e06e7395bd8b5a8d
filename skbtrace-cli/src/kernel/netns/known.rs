//! Every network namespace that can be found: those with a name, and those of processes.
//!
//! The kernel has no list of them, so this is what there is. One that only an open file or a
//! socket keeps is not found.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::PathBuf,
};

use super::{DIRECTORIES, inode};

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netns {
    /// Inode number on nsfs.
    pub inode: u32,
    /// A file that is this namespace.
    path: PathBuf,
    /// Its name, as `ip netns` prints it.
    name: Option<String>,
    /// The process in it with the lowest number.
    process: Option<u32>,
}

/// The network namespaces of this machine, in order of inode number: the first one made is mostly
/// the first.
#[must_use]
pub fn known() -> Vec<Netns> {
    let mut found = HashMap::<u32, Netns>::new();
    for directory in DIRECTORIES {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            // A namespace that cannot be looked at simply has no name for us.
            let Ok(Some(inode)) = inode(&entry.path()) else {
                continue;
            };
            found.entry(inode).or_insert_with(|| Netns {
                inode,
                path: entry.path(),
                name: Some(entry.file_name().to_string_lossy().into_owned()),
                process: None,
            });
        }
    }
    let mut processes: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    processes.sort_unstable();
    for pid in processes {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        // In /proc it can be nothing else, so it need not be opened to be sure.
        let Some(inode) = fs::metadata(&path)
            .ok()
            .and_then(|found| u32::try_from(found.ino()).ok())
        else {
            continue;
        };
        let netns = found.entry(inode).or_insert(Netns {
            inode,
            path,
            name: None,
            process: None,
        });
        netns.process.get_or_insert(pid);
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_unstable_by_key(|netns| netns.inode);
    found
}

impl Netns {
    /// Opens it; fails when its process has gone meanwhile and the number is another's.
    ///
    /// # Errors
    /// When it is not there any more or may not be looked at.
    pub fn open(&self) -> io::Result<File> {
        let file = File::open(&self.path)?;
        if file.metadata()?.ino() == u64::from(self.inode) {
            Ok(file)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// What to call it: the name that `ip netns` prints; else the host name of the container (in
    /// Kubernetes the pod's name), unless it is `host`, our own; else number and name of a process
    /// in it, as `4242/nginx`.
    ///
    /// Leaves the calling thread in the container's UTS namespace.
    #[must_use]
    pub fn call(&self, host: &str) -> Option<String> {
        let chosen = self.name.as_ref().filter(|name| !is_made_up(name));
        chosen
            .cloned()
            .or_else(|| host_name_of(self.process?).filter(|name| name != host))
            .or_else(|| self.name.clone())
            .or_else(|| process_name(self.process?))
    }
}

/// Whether a container runtime made a name up: `cni-` and a UUID (containerd). It says less than the
/// container's host name.
fn is_made_up(name: &str) -> bool {
    name.strip_prefix("cni-").is_some_and(|rest| {
        rest.len() == 36
            && rest
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
    })
}

fn process_name(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(format!(
        "{pid}/{}",
        String::from_utf8_lossy(name.trim_ascii_end())
    ))
}

/// The host name where a process runs, if it has a UTS namespace other than ours.
fn host_name_of(pid: u32) -> Option<String> {
    let file = File::open(format!("/proc/{pid}/ns/uts")).ok()?;
    let ours = fs::metadata("/proc/self/ns/uts").ok()?;
    if file.metadata().ok()?.ino() == ours.ino() {
        return None;
    }
    enter(&file, libc::CLONE_NEWUTS).ok()?;
    Some(host_name()).filter(|name| !name.is_empty())
}

/// The host name in the UTS namespace of the calling thread (get_uts() in
/// kernel/utsname_sysctl.c); empty where `/proc` is not mounted.
#[must_use]
pub fn host_name() -> String {
    let name = fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    String::from_utf8_lossy(name.trim_ascii()).into_owned()
}

/// Moves the calling thread into a namespace of the kind `CLONE_NEW*`.
///
/// # Errors
/// When it is of another kind, or this needs more privileges.
pub fn enter(namespace: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open while `namespace` lives; nothing else is passed.
    match unsafe { libc::setns(namespace.as_raw_fd(), kind) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netns;

    #[test]
    fn ours_is_among_them_and_can_be_called_something() {
        let ours = netns::current().expect("/proc");
        let known = known();
        let found = known.iter().find(|netns| netns.inode == ours);
        let found = found.expect("this process is in it");
        let file = found.open().expect("it is there");
        assert_eq!(file.metadata().expect("it is open").ino(), u64::from(ours));
        // On a thread of its own, as it may end up elsewhere.
        let name = std::thread::scope(|scope| scope.spawn(|| found.call("")).join());
        assert!(name.expect("no panic").is_some_and(|name| !name.is_empty()));
        assert!(known.is_sorted_by_key(|netns| netns.inode));
    }

    #[test]
    fn another_one_at_the_same_path_is_not_taken() {
        let netns = Netns {
            inode: 1,
            path: "/proc/self/ns/net".into(),
            name: None,
            process: None,
        };
        assert!(netns.open().is_err());
    }

    #[test]
    fn names_that_people_gave_come_first() {
        let netns = |name: &str| Netns {
            inode: 1,
            path: PathBuf::new(),
            name: Some(name.to_owned()),
            process: None,
        };
        let cni = "cni-3f2b8a10-7c1e-4d52-9a44-0123456789ab";
        assert!(is_made_up(cni) && !is_made_up("cni-red") && !is_made_up("red"));
        assert_eq!(netns("red").call("").as_deref(), Some("red"));
        assert_eq!(netns(cni).call("").as_deref(), Some(cni));
    }

    #[test]
    fn a_process_names_it_last() {
        let pid = std::process::id();
        let name = process_name(pid).expect("this process");
        assert!(name.starts_with(&format!("{pid}/")) && !name.ends_with('\n'));
        // One above the largest pid there can be (PID_MAX_LIMIT).
        assert_eq!(process_name(4_194_305), None);
        assert_eq!(host_name_of(pid), None, "ours is not another's");
    }
}
