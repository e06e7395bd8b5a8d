use std::os::unix::{
    fs::{MetadataExt as _, symlink},
    net::UnixDatagram,
};

use super::*;

/// A directory as `/proc`, with processes that have sockets.
fn made_up(processes: &[(u32, &str, &[&str])]) -> tempfile::TempDir {
    let proc = tempfile::tempdir().expect("a directory");
    for (pid, comm, files) in processes {
        let directory = proc.path().join(pid.to_string());
        fs::create_dir_all(directory.join("fd")).expect("a process");
        fs::write(directory.join("comm"), format!("{comm}\n")).expect("its name");
        for (number, target) in files.iter().enumerate() {
            symlink(target, directory.join("fd").join(number.to_string())).expect("a file");
        }
    }
    fs::create_dir(proc.path().join("sys")).expect("something else");
    proc
}

#[test]
fn a_socket_is_the_lowest_process_that_has_it() {
    let proc = made_up(&[
        (90, "child", &["socket:[7]", "pipe:[8]"]),
        (9, "server", &["socket:[7]", "socket:[7]", "/dev/null"]),
        (200, "other", &["socket:[9]", "socket:[]", "socket:[x]"]),
    ]);
    let found = found_in(proc.path());
    let mut told: Vec<_> = found
        .iter()
        .map(|(inode, process)| (*inode, process.pid, process.others))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [(7, 9, 1), (9, 200, 0)]);
    assert_eq!(found[&7].comm().bytes(), b"server");
}

#[test]
fn our_own_socket_is_ours() {
    let (socket, _other) = UnixDatagram::pair().expect("sockets");
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&socket));
    let inode = fs::metadata(path).expect("a file").ino();
    let mut owners = Owners::read();
    let process = owners.find(inode).expect("a process");
    assert_eq!(process.pid, std::process::id());
}

#[test]
fn a_socket_is_searched_for_once() {
    let mut owners = Owners::none();
    assert_eq!(owners.find(0), None);
    assert_eq!(
        owners.known.get(&0),
        Some(&None),
        "kept, as it was looked for"
    );
    owners.searching.take(Duration::from_secs(1000));
    assert_eq!(owners.find(u64::MAX), None);
    assert_eq!(owners.known.get(&u64::MAX), None, "nobody looked");
}
