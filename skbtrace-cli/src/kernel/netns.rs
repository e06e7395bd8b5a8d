//! Network namespaces: from what the user calls one to the inode number the kernel side compares,
//! and back to a name for the wide output.
//!
//! The inode number on nsfs is the only identity that the kernel, `lsns` and `ip netns` agree on;
//! names exist only as files under `/run/netns`. A namespace without a name belongs to a process
//! or an open file, so a number is taken as it is: whether it exists cannot be known for sure.

mod known;

pub use known::{Netns, enter, host_name, known};

use std::{
    fmt, fs, io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use thiserror::Error;

/// Where `ip netns` and the container runtimes keep names, best first.
const DIRECTORIES: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// Below this no namespace is numbered: PROC_DYNAMIC_FIRST in fs/proc/generic.c is 0xf0000000,
/// and the few fixed numbers (include/linux/proc_ns.h) lie just under it.
const FIRST_INODE: u32 = 0xef00_0000;

/// What the user calls a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetnsSpec {
    /// Inode number, as `lsns -t net` prints it.
    Inode(u32),
    /// Name, as `ip netns` prints it.
    Name(String),
    /// A file that is a namespace.
    Path(PathBuf),
    /// The namespace of a process.
    Process(u32),
}

/// Why a value of `--netns` was refused, or not found.
#[derive(Debug, Error)]
pub enum NetnsError {
    /// Nothing, or a `pid:` without a number.
    #[error(
        "not a network namespace: an inode number, a name, a path or pid:PID is needed; \
         \"lsns -t net\" lists the namespaces"
    )]
    Syntax,
    /// No file of that name.
    #[error(
        "no such network namespace; \"ip netns\" lists the named ones, \"lsns -t net\" all of them"
    )]
    NoName,
    /// Digits that are neither a name nor an inode number.
    #[error(
        "neither the name nor the inode number of a network namespace (these are above \
         {FIRST_INODE}); for a process write pid:{0}, or see \"lsns -t net\""
    )]
    Implausible(u32),
    /// `pid:` of a process that is not there.
    #[error("no process {0}; \"ps\" lists them, \"lsns -t net\" their network namespaces")]
    NoProcess(u32),
    /// A path that leads nowhere.
    #[error("no such file; a network namespace is found at /proc/PID/ns/net or /run/netns/NAME")]
    NoFile,
    /// Another kind of file or namespace.
    #[error(
        "{} is not a network namespace; if \"ip netns\" made it, it was mounted where this shell \
         cannot see it (another mount namespace): use pid:PID or the inode number",
        .0.display()
    )]
    NotNetns(PathBuf),
    /// The system call failed otherwise.
    #[error("cannot look at {}: {error}{}", .path.display(), hint(.error))]
    Io {
        /// What was looked at.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "; run skbtrace as root (sudo)"
    } else {
        ""
    }
}

impl FromStr for NetnsSpec {
    type Err = NetnsError;

    fn from_str(text: &str) -> Result<Self, NetnsError> {
        let digits = |text: &str| {
            let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            all.then(|| text.parse().ok()).flatten()
        };
        if let Some(pid) = text.strip_prefix("pid:") {
            return match digits(pid) {
                None | Some(0) => Err(NetnsError::Syntax),
                Some(pid) => Ok(Self::Process(pid)),
            };
        }
        // As readlink prints it.
        if let Some(inode) = text.strip_prefix("net:[").and_then(|t| t.strip_suffix(']')) {
            return digits(inode).map(Self::Inode).ok_or(NetnsError::Syntax);
        }
        if let Some(inode) = digits(text) {
            return Ok(Self::Inode(inode));
        }
        if text.is_empty() || text.contains('\0') || matches!(text, "." | "..") {
            return Err(NetnsError::Syntax);
        }
        Ok(if text.contains('/') {
            Self::Path(text.into())
        } else {
            Self::Name(text.to_owned())
        })
    }
}

impl fmt::Display for NetnsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inode(inode) => write!(f, "{inode}"),
            Self::Name(name) => f.write_str(name),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Process(pid) => write!(f, "pid:{pid}"),
        }
    }
}

/// Finds the inode number of the namespace.
///
/// # Errors
/// When it does not exist, is no network namespace or may not be looked at.
pub fn resolve(spec: &NetnsSpec) -> Result<u32, NetnsError> {
    match spec {
        NetnsSpec::Inode(inode) if *inode >= FIRST_INODE => Ok(*inode),
        // "ip netns add 7" is allowed.
        NetnsSpec::Inode(number) => by_name(&number.to_string()).map_err(|error| match error {
            NetnsError::NoName => NetnsError::Implausible(*number),
            error => error,
        }),
        NetnsSpec::Name(name) => by_name(name),
        NetnsSpec::Path(path) => inode(path)?.ok_or(NetnsError::NoFile),
        NetnsSpec::Process(pid) => {
            inode(Path::new(&format!("/proc/{pid}/ns/net")))?.ok_or(NetnsError::NoProcess(*pid))
        }
    }
}

/// The namespace this process runs in.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn current() -> Result<u32, NetnsError> {
    inode(Path::new("/proc/self/ns/net"))?.ok_or(NetnsError::NoFile)
}

fn by_name(name: &str) -> Result<u32, NetnsError> {
    for directory in DIRECTORIES {
        if let Some(inode) = inode(&Path::new(directory).join(name))? {
            return Ok(inode);
        }
    }
    Err(NetnsError::NoName)
}

/// The inode number of the network namespace that `path` leads to, `None` when it leads nowhere.
///
/// The link text `net:[4026531840]` would tell as much, but only of the links in `/proc`: a name
/// is a bind mount, whose link text is its path (d_path() in fs/d_path.c).
fn inode(path: &Path) -> Result<Option<u32>, NetnsError> {
    let failed = |error| NetnsError::Io {
        path: path.to_owned(),
        error,
    };
    let found = match fs::metadata(path) {
        Ok(found) => found,
        // ESRCH: the process is there but has left its namespaces (a zombie).
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) || error.raw_os_error() == Some(libc::ESRCH) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    // There is one nsfs in a kernel, and any namespace of ours is on it. Only then is it opened:
    // opening another kind of file may block or do something.
    let nsfs = fs::metadata("/proc/self/ns/net").map_err(failed)?.dev();
    if found.dev() != nsfs || !is_net(&fs::File::open(path).map_err(failed)?) {
        return Err(NetnsError::NotNetns(path.to_owned()));
    }
    u32::try_from(found.ino())
        .map(Some)
        .map_err(|_| NetnsError::NotNetns(path.to_owned()))
}

/// Whether a file on nsfs is a network namespace and not one of another kind (Linux 4.11).
fn is_net(file: &fs::File) -> bool {
    // SAFETY: the descriptor is open while `file` lives, and this request has no argument.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(text: &str) -> Result<u32, NetnsError> {
        resolve(&text.parse()?)
    }

    #[test]
    fn forms() {
        let parse = |text: &str| text.parse::<NetnsSpec>().ok();
        assert_eq!(parse("4026531840"), Some(NetnsSpec::Inode(4_026_531_840)));
        assert_eq!(parse("net:[7]"), Some(NetnsSpec::Inode(7)));
        assert_eq!(parse("red"), Some(NetnsSpec::Name("red".to_owned())));
        assert_eq!(parse("/a/b"), Some(NetnsSpec::Path("/a/b".into())));
        assert_eq!(parse("pid:1"), Some(NetnsSpec::Process(1)));
        for text in [
            "", "pid:", "pid:x", "pid:0", "pid:-1", ".", "..", "a\0", "net:[x]",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_current_one_is_found_by_every_form() {
        let inode = current().expect("found");
        assert!(inode >= FIRST_INODE);
        for text in [
            format!("pid:{}", std::process::id()),
            "/proc/self/ns/net".to_owned(),
            inode.to_string(),
            format!("net:[{inode}]"),
        ] {
            assert_eq!(find(&text).expect("accepted"), inode, "{text}");
        }
    }

    #[test]
    fn what_is_not_there_or_is_something_else() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let file = file.path().to_str().expect("UTF-8");
        assert!(matches!(find(file), Err(NetnsError::NotNetns(_))));
        assert!(matches!(
            find("/proc/self/ns/mnt"),
            Err(NetnsError::NotNetns(_))
        ));
        assert!(matches!(find("/no/such"), Err(NetnsError::NoFile)));
        assert!(matches!(
            find(&format!("{file}/x")),
            Err(NetnsError::NoFile)
        ));
        assert!(matches!(find("no-such-name"), Err(NetnsError::NoName)));
        assert!(matches!(find("12345"), Err(NetnsError::Implausible(_))));
        // One above the largest pid there can be (PID_MAX_LIMIT).
        assert!(matches!(
            find("pid:4194305"),
            Err(NetnsError::NoProcess(4_194_305))
        ));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_displays_the_same(text in ".*") {
            if let Ok(spec) = text.parse::<NetnsSpec>() {
                prop_assert_eq!(spec.to_string().parse::<NetnsSpec>().ok(), Some(spec));
            }
        }
    }
}
