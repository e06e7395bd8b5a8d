//! An overlay network in user space: a tun device, and a program that carries its packets over UDP.
//!
//! The program is this one, started anew by the name `overlayd`, so that a trace tells it from
//! those whose packets it carries. What it reads from the device it sends behind a byte of its own,
//! and what comes with that byte it writes to the device: 43 bytes more on the wire than the packet,
//! for Ethernet (14), IPv4 (20), UDP (8) and the flag.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::Signal;

use crate::netns::Netns;
use crate::scenarios::open_tun;

/// The UDP port.
pub const PORT: u16 = 4789;
/// How many bytes a packet of IP has more, once it is in one of the overlay: IPv4, UDP, the flag.
pub const OVERHEAD: u32 = 20 + 8 + 1;
/// The name of the program, as it is printed.
pub const NAME: &str = "overlayd";
/// The subcommand that is the program.
pub const SUBCOMMAND: &str = "overlay";

/// What says that a packet follows.
const FLAG: u8 = 0x01;
/// More than any packet.
const ENOUGH: usize = 1 << 16;

/// The program, running; it ends with this value.
pub struct Overlay(Child);

impl Overlay {
    /// Starts it on `node`, between a new device of this name and the port of two nodes' addresses.
    pub fn start(node: &Netns, device: &str, own: SocketAddr, peer: SocketAddr) -> Result<Self> {
        let tun = open_tun(node, device)?;
        let socket = node.enter(|| {
            let socket = UdpSocket::bind(own).with_context(|| format!("cannot bind UDP {own}"))?;
            socket.connect(peer)?;
            Ok(socket)
        })?;
        let own_program = std::env::current_exe().context("this program's path")?;
        let mut command = Command::new(own_program);
        command
            .arg(SUBCOMMAND)
            .stdin(Stdio::from(OwnedFd::from(tun)))
            .stdout(Stdio::from(OwnedFd::from(socket)));
        let end_with_parent = || Ok(set_pdeathsig(Signal::SIGKILL)?);
        // SAFETY: between fork and exec the closure makes one prctl system call and nothing else.
        unsafe { command.pre_exec(end_with_parent) };
        command
            .spawn()
            .map(Self)
            .context("cannot start the overlay")
    }

    /// The process, as it is printed.
    pub fn process(&self) -> String {
        format!("{NAME}[{}]", self.0.id())
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // Nothing to do about a failure: either it is gone or it cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program: its standard input is the device, its standard output the socket.
pub fn run() -> Result<()> {
    set_name(c"overlayd").context("cannot take the name")?;
    let device = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let socket = UdpSocket::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    thread::scope(|scope| {
        let inwards = scope.spawn(|| arriving(&socket, &device));
        leaving(&device, &socket)?;
        let arriving = inwards.join();
        arriving.map_err(|_| anyhow!("a thread of the overlay panicked"))?
    })
}

/// From the device to the other node.
fn leaving(mut device: &File, socket: &UdpSocket) -> Result<()> {
    let mut datagram = vec![FLAG; ENOUGH];
    loop {
        let length = device.read(&mut datagram[1..]).context("the device")?;
        let sent = socket.send(&datagram[..=length]).context("cannot send")?;
        ensure!(sent == length + 1, "sent {sent} of {} bytes", length + 1);
    }
}

/// From the other node to the device.
fn arriving(socket: &UdpSocket, mut device: &File) -> Result<()> {
    let mut datagram = vec![0; ENOUGH];
    loop {
        let length = socket.recv(&mut datagram).context("cannot receive")?;
        if let Some((&FLAG, packet)) = datagram[..length].split_first() {
            device.write_all(packet).context("the device")?;
        }
    }
}
