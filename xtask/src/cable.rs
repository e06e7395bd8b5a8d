//! A cable between two machines: what one of them sends, the other one receives.
//!
//! It is a pair of connected sockets, one datagram a frame, of which each QEMU inherits one end. So
//! there is no port and no file in which two runs could meet, nothing outside of this machine hears
//! anything, nothing is left behind, and it does not matter which machine is there first.

use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;
use crate::qemu::PROGRAM;

/// QEMU's name for such sockets, since 7.2.
const KIND: &str = "dgram";

/// One end, for one machine.
pub struct End {
    socket: UnixDatagram,
    /// The last byte of its hardware address.
    number: u8,
}

/// Lays a cable.
pub fn lay() -> Result<[End; 2]> {
    let (first, second) = UnixDatagram::pair().context("cannot make a pair of sockets")?;
    let end = |socket, number| End { socket, number };
    Ok([end(first, 1), end(second, 2)])
}

/// Why no cable can be laid here, if so.
pub fn obstacle() -> Option<String> {
    match process::output(Command::new(PROGRAM).args(["-netdev", "help"])) {
        Ok(kinds) if kinds.lines().any(|line| line.trim() == KIND) => None,
        Ok(_) => Some(format!(
            "two machines need -netdev {KIND}, which this {PROGRAM} does not have (7.2 has)"
        )),
        Err(error) => Some(format!("{error:#}")),
    }
}

impl End {
    /// Gives a machine that is to be started by `command` a network device at this end.
    pub fn plug_into(&self, command: &mut Command) {
        let (socket, number) = (self.socket.as_raw_fd(), self.number);
        command
            .arg("-netdev")
            .arg(format!("{KIND},id=cable,local.type=fd,local.str={socket}"));
        // Without the ROM that would boot from it.
        command.arg("-device").arg(format!(
            "virtio-net-pci,netdev=cable,romfile=,mac=52:54:00:00:00:{number:02x}"
        ));
        let keep_open = move || {
            // SAFETY: fcntl(F_SETFD) takes plain numbers and is async-signal-safe.
            match unsafe { libc::fcntl(socket, libc::F_SETFD, 0) } {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        };
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe { command.pre_exec(keep_open) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_differ_and_only_the_plugged_one_is_inherited() {
        let [first, second] = lay().unwrap();
        let mut command = Command::new("sh");
        let (own, other) = (first.socket.as_raw_fd(), second.socket.as_raw_fd());
        let script = format!("test -e /proc/self/fd/{own} && ! test -e /proc/self/fd/{other}");
        command.args(["-c", &script]);
        first.plug_into(&mut command);
        let line = process::describe(&command);
        assert!(line.contains(&format!("local.str={own}")), "{line}");
        assert!(line.contains("mac=52:54:00:00:00:01"), "{line}");
        assert!(command.status().unwrap().success());
    }
}
