//! Sockets that the other trials have no use for: packet sockets, full ones, tun.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::mem::size_of;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt,
};

use crate::netns::Netns;
use crate::process;
use crate::topology::at;
use crate::traffic;
use crate::wait::{self, SOON};

/// Sockets that get all that passes `iface`, each in another way.
pub fn packet_sockets(net: &Netns, iface: &str) -> Result<[OwnedFd; 3]> {
    net.enter(|| {
        let plain = packet_socket(iface)?;
        let ring = packet_socket(iface)?;
        let request = libc::tpacket_req {
            tp_block_size: 4096,
            tp_block_nr: 8,
            tp_frame_size: 2048,
            tp_frame_nr: 16,
        };
        option(&ring, libc::PACKET_RX_RING, &request)?;
        let fanout = packet_socket(iface)?;
        option(&fanout, libc::PACKET_FANOUT, &0x71i32)?;
        Ok([plain, ring, fanout])
    })
}

fn packet_socket(iface: &str) -> Result<OwnedFd> {
    let all = SockProtocol::EthAll;
    let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), all)
        .context("cannot open a packet socket")?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: i32::try_from(if_nametoindex(iface)?)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: a pointer to a whole sockaddr_ll, and its size.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) };
    ensure!(bound == 0, "bind: {}", std::io::Error::last_os_error());
    Ok(fd)
}

fn option<T>(fd: &OwnedFd, name: i32, value: &T) -> Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>())?;
    let value = std::ptr::from_ref(value).cast();
    // SAFETY: a pointer to a whole value, and its size.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, name, value, size) };
    ensure!(done == 0, "setsockopt: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Sends a frame past the queue.
pub fn bypass(net: &Netns, iface: &str) -> Result<()> {
    net.enter(|| {
        let fd = packet_socket(iface)?;
        option(&fd, libc::PACKET_QDISC_BYPASS, &1i32)?;
        let frame = [0u8; 60];
        nix::unistd::write(&fd, &frame).map(drop)?;
        Ok(())
    })
}

/// A raw socket and a UDP socket that nobody reads, and more datagrams than they have room for.
pub fn full_sockets(from: &Netns, to: &Netns, address: &str) -> Result<()> {
    let raw = to.enter(|| {
        let udp = SockProtocol::Udp;
        Ok(socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::empty(),
            udp,
        )?)
    })?;
    setsockopt(&raw, sockopt::RcvBuf, &1)?;
    let target = at(address, 7777)?;
    let receiver = traffic::udp_socket(to, target)?;
    setsockopt(&receiver, sockopt::RcvBuf, &1)?;
    let sender = traffic::udp_socket(from, traffic::any(target))?;
    for _ in 0..10 {
        traffic::send(&sender, target, &[b'x'; 1000])?;
    }
    // A busy machine delivers them later, and a socket that is closed by then is never full.
    wait::until("a full raw socket", SOON, || {
        Ok((refused_by_raw_sockets(to)? > 0).then_some(()))
    })
}

/// How many packets found no room in the raw sockets of a host.
fn refused_by_raw_sockets(net: &Netns) -> Result<u64> {
    let table = net.enter(|| Ok(fs::read_to_string("/proc/thread-self/net/raw")?))?;
    // The last column (raw_sock_seq_show, net/ipv4/raw.c).
    let refused = table.lines().skip(1).map(|line| {
        let last = line.split_whitespace().last().context("an empty line")?;
        last.parse::<u64>()
            .with_context(|| format!("no number of drops: {line}"))
    });
    refused.sum()
}

/// A datagram to a group that the sender has joined.
pub fn to_group(from: &Netns, own: &str, group: &str) -> Result<()> {
    let target = at(group, 9999)?;
    let sender = traffic::udp_socket(from, at(own, 0)?)?;
    let addresses = (group.parse()?, own.parse()?);
    sender.join_multicast_v4(&addresses.0, &addresses.1)?;
    traffic::send(&sender, target, b"group")
}

/// A connection that nobody answers; the kernel asks twice in the time it is given.
pub fn retransmit(from: &Netns, to: SocketAddr) -> Result<()> {
    from.enter(|| {
        let _ = TcpStream::connect_timeout(&to, Duration::from_millis(1500));
        Ok(())
    })
}

/// A device whose packets come to us: one out, one in.
pub fn tun(net: &Netns) -> Result<()> {
    let mut device = open_tun(net, "lit0")?;
    net.ip("link set lit0 up\naddr add 10.83.0.1/24 dev lit0\n")?;
    let target = at("10.83.0.2", 9999)?;
    let sender = traffic::udp_socket(net, traffic::any(target))?;
    traffic::send(&sender, target, b"into the tunnel")?;
    // An IPv4 header with nothing behind it: no protocol 253 (RFC 3692) here.
    let packet = [
        0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0x66, 0x3c, 10, 83, 0, 2, 10, 83, 0, 1,
    ];
    device.write_all(&packet)?;
    Ok(())
}

/// A tun device of this name, without a header before the packets.
pub fn open_tun(net: &Netns, name: &str) -> Result<File> {
    // Built in, or loaded: either is well.
    let _ = process::run("modprobe", &["-q", "tun"]);
    net.enter(|| {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .context("/dev/net/tun")?;
        let mut request = [0u8; 40];
        request[..name.len()].copy_from_slice(name.as_bytes());
        let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
        request[16..18].copy_from_slice(&flags.to_ne_bytes());
        // SAFETY: a pointer to a whole struct ifreq of 40 bytes.
        let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &request) };
        ensure!(done == 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
        Ok(device)
    })
}
