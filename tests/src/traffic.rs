//! Traffic: datagrams, connections and pings between network namespaces.
//!
//! A socket belongs to the namespace it was opened in, so each is opened on a thread inside it and
//! then used from anywhere. Senders give their packets addresses and ports that the trial chose;
//! receivers say when a packet arrived, which is how a trial knows that its trace is complete.

pub mod exchange;
pub mod stream;

use std::io::{ErrorKind, Read as _, Write as _};
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::ptr::from_ref;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::libc::{
    self, BPF_K, BPF_RET, SO_ATTACH_FILTER, SOL_SOCKET, sock_filter, sock_fprog, socklen_t,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto,
    setsockopt, socket, sockopt,
};

use crate::netns::Netns;
use crate::wait::{self, SOON};

/// How long silence has to last before a duplicate is no longer expected.
const QUIET: Duration = Duration::from_millis(500);
const RESEND: Duration = Duration::from_millis(50);
const ECHO_DATA: &[u8] = b"skbtrace";

/// Opens a UDP socket in `net`; it never blocks on receiving.
pub fn udp_socket(net: &Netns, local: SocketAddr) -> Result<UdpSocket> {
    net.enter(|| {
        let socket = UdpSocket::bind(local)
            .with_context(|| format!("cannot bind UDP {local} in {}", net.name()))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })
}

/// Sends one datagram.
pub fn send(socket: &UdpSocket, to: SocketAddr, payload: &[u8]) -> Result<()> {
    let sent = socket
        .send_to(payload, to)
        .with_context(|| format!("cannot send to {to}"))?;
    ensure!(
        sent == payload.len(),
        "sent {sent} of {} bytes",
        payload.len()
    );
    Ok(())
}

/// Gives a socket's receive queue room for tens of thousands of packets (`SO_RCVBUFFORCE`).
pub fn make_room(socket: &UdpSocket) -> Result<()> {
    /// A small packet takes about 800 bytes.
    const ROOM: usize = 64 << 20;
    setsockopt(socket, sockopt::RcvBufForce, &ROOM).context("cannot set SO_RCVBUFFORCE")
}

/// Gives a socket a filter (`SO_ATTACH_FILTER`) that leaves of every packet so many bytes: none is to
/// refuse it.
pub fn keep_only(socket: &UdpSocket, bytes: u32) -> Result<()> {
    let mut program = [sock_filter {
        code: (BPF_RET | BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: bytes,
    }];
    let filter = sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    let size = socklen_t::try_from(size_of::<sock_fprog>()).context("a size")?;
    let value = from_ref(&filter).cast();
    // SAFETY: the pointer is to a whole sock_fprog, whose own is to as many instructions as it says;
    // both outlive the call, and the kernel copies them.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            SOL_SOCKET,
            SO_ATTACH_FILTER,
            value,
            size,
        )
    };
    nix::errno::Errno::result(set)
        .map(drop)
        .context("cannot set SO_ATTACH_FILTER")
}

/// Gives every packet of `socket` the mark (`SO_MARK`).
pub fn set_mark(socket: &UdpSocket, mark: u32) -> Result<()> {
    setsockopt(socket, sockopt::Mark, &mark).context("cannot set SO_MARK")
}

/// Takes one datagram if there is one.
pub fn try_receive(socket: &UdpSocket) -> Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 65536];
    match socket.recv(&mut buffer) {
        Ok(length) => {
            buffer.truncate(length);
            Ok(Some(buffer))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).context("cannot receive"),
    }
}

/// Waits for one datagram.
pub fn receive(socket: &UdpSocket) -> Result<Vec<u8>> {
    let local = socket.local_addr()?;
    wait::until(&format!("a datagram for {local}"), SOON, || {
        try_receive(socket)
    })
}

/// Waits for `payload` and counts how often it arrives, until silence says that was all.
pub fn count_copies(socket: &UdpSocket, payload: &[u8]) -> Result<usize> {
    let first = receive(socket)?;
    let mut copies = usize::from(first == payload);
    let mut last = Instant::now();
    wait::until("silence", SOON, || {
        if let Some(datagram) = try_receive(socket)? {
            copies += usize::from(datagram == payload);
            last = Instant::now();
        }
        Ok((last.elapsed() >= QUIET).then_some(copies))
    })
}

/// Sends a datagram from `from` to the address `to_address` in `to` and sees it arrive. Repeats it
/// until it does: a link that has just been set up loses the first ones.
pub fn exchange_one(from: &Netns, to: &Netns, to_address: SocketAddr) -> Result<()> {
    let receiver = udp_socket(to, to_address)?;
    let sender = udp_socket(from, any(to_address))?;
    let mut sent: Option<Instant> = None;
    wait::until(&format!("a datagram for {to_address}"), SOON, || {
        if sent.is_none_or(|at| at.elapsed() >= RESEND) {
            // Where a link has no carrier yet, the kernel may say so.
            let _ = send(&sender, to_address, b"warm-up");
            sent = Some(Instant::now());
        }
        Ok(try_receive(&receiver)?.map(drop))
    })
}

/// The unspecified address of `like`'s family, any port.
pub fn any(like: SocketAddr) -> SocketAddr {
    let address: IpAddr = match like {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0u16; 8].into(),
    };
    SocketAddr::new(address, 0)
}

/// Opens a TCP connection from `from` to `to`, served in `server` at `listen`. Yields its two ends
/// and the client's address as the server sees it.
pub fn connect(
    from: &Netns,
    to: SocketAddr,
    server: &Netns,
    listen: SocketAddr,
) -> Result<(TcpStream, TcpStream, SocketAddr)> {
    let listener = server.enter(|| {
        TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))
    })?;
    let stream = from.enter(|| {
        TcpStream::connect_timeout(&to, SOON).with_context(|| format!("cannot connect to {to}"))
    })?;
    let (accepted, peer) = listener.accept().context("cannot accept")?;
    Ok((stream, accepted, peer))
}

/// Opens a TCP connection from `from` to the Service or pod address `to`, served in `server` at
/// `listen`; passes a few bytes and closes it. Yields the client's address.
pub fn tcp_conversation(
    from: &Netns,
    to: SocketAddr,
    server: &Netns,
    listen: SocketAddr,
) -> Result<SocketAddr> {
    let (mut stream, mut accepted, peer) = connect(from, to, server, listen)?;
    for side in [&stream, &accepted] {
        side.set_read_timeout(Some(SOON))?;
    }
    stream.write_all(b"ping")?;
    let mut received = [0; 4];
    accepted.read_exact(&mut received).context("TCP data")?;
    drop(accepted);
    let end = stream.read(&mut received).context("end of TCP data")?;
    ensure!(end == 0, "more TCP data than was sent");
    Ok(peer)
}

/// Sends an echo request with the identifier `id` and waits for its reply.
pub fn ping(from: &Netns, to: IpAddr, id: u16) -> Result<()> {
    let (family, protocol, request, reply) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8, 0),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 129),
    };
    let raw = from.enter(|| {
        socket(family, SockType::Raw, SockFlag::SOCK_NONBLOCK, protocol)
            .context("cannot open a raw ICMP socket")
    })?;
    let message = echo(request, id);
    let target = SockaddrStorage::from(SocketAddr::new(to, 0));
    sendto(raw.as_raw_fd(), &message, &target, MsgFlags::empty())
        .with_context(|| format!("cannot ping {to}"))?;
    let mut buffer = [0; 2048];
    wait::until(&format!("an echo reply from {to}"), SOON, || {
        let length = match recv(raw.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => length,
            Err(nix::errno::Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error).context("cannot receive ICMP"),
        };
        let datagram = &buffer[..length];
        // A raw IPv4 socket delivers the IP header too, a raw IPv6 socket does not.
        let icmp = match (to, datagram.first()) {
            (IpAddr::V4(_), Some(first)) => datagram.get(usize::from(first & 0xf) * 4..),
            _ => Some(datagram),
        };
        let ours = icmp.is_some_and(|icmp| {
            icmp.first() == Some(&reply) && icmp.get(4..6) == Some(&id.to_be_bytes())
        });
        Ok(ours.then_some(()))
    })
}

fn echo(kind: u8, id: u16) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(1u16.to_be_bytes());
    message.extend(ECHO_DATA);
    let checksum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&checksum);
    message
}

/// The Internet checksum of an even number of bytes; the kernel replaces ICMPv6's.
fn checksum(message: &[u8]) -> u16 {
    let sum: u32 = message
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) as u16 + (folded >> 16) as u16)
}
