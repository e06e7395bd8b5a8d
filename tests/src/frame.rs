//! Frames written byte by byte, for packets that no socket would send.
//!
//! A wrong checksum, a stranger's hardware address, a source that is somewhere else: the kernel
//! refuses to make such packets, and drops them when they come. They are put on an interface
//! through a packet socket, as if an application there had sent them.

use std::mem::size_of;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::ptr::from_ref;

use anyhow::{Context as _, Result, ensure};
use nix::libc::{AF_PACKET, ETH_P_IP, sockaddr, sockaddr_ll, socklen_t};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike as _, sendto, socket,
};

use crate::netns::Netns;

const UDP: u8 = 17;

/// A UDP datagram in IPv4 in Ethernet.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Destination and source hardware address.
    pub macs: ([u8; 6], [u8; 6]),
    /// Source address and port.
    pub from: (Ipv4Addr, u16),
    /// Destination address and port.
    pub to: (Ipv4Addr, u16),
    /// Time to live.
    pub ttl: u8,
    /// Must not be fragmented.
    pub dont_fragment: bool,
    /// Is the first piece of a datagram; its payload must fill units of eight bytes.
    pub more_fragments: bool,
    /// Protocol number in the IP header, whatever follows it.
    pub protocol: u8,
    /// Bytes of payload.
    pub length: usize,
    /// Spoil the header checksum.
    pub bad_ip_checksum: bool,
    /// Spoil UDP's checksum.
    pub bad_udp_checksum: bool,
    /// Leave UDP's checksum out.
    pub no_udp_checksum: bool,
}

impl Frame {
    /// A datagram in good order; addresses are text constants of the topology.
    pub fn new(macs: ([u8; 6], [u8; 6]), from: (&str, u16), to: (&str, u16)) -> Result<Self> {
        let parse = |(address, port): (&str, u16)| -> Result<(Ipv4Addr, u16)> {
            let address = address.parse();
            Ok((address.context("an IPv4 address")?, port))
        };
        Ok(Self {
            macs,
            from: parse(from)?,
            to: parse(to)?,
            ttl: 64,
            dont_fragment: false,
            more_fragments: false,
            protocol: UDP,
            length: 16,
            bad_ip_checksum: false,
            bad_udp_checksum: false,
            no_udp_checksum: false,
        })
    }

    /// Sends it through `iface` of `net`.
    pub fn transmit(&self, net: &Netns, iface: &str) -> Result<()> {
        net.enter(|| put(iface, &self.bytes()?))
            .with_context(|| format!("cannot send a frame through {iface} of {}", net.name()))
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let datagram = self.datagram()?;
        let total = u16::try_from(20 + datagram.len()).context("a datagram of 64 KiB")?;
        let mut header = vec![0x45, 0];
        header.extend(total.to_be_bytes());
        header.extend([0x5b, 0x71]);
        let flags = u8::from(self.dont_fragment) << 6 | u8::from(self.more_fragments) << 5;
        header.extend([flags, 0]);
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.from.0.octets());
        header.extend(self.to.0.octets());
        let sum = checksum(&header) ^ u16::from(self.bad_ip_checksum);
        header[10..12].copy_from_slice(&sum.to_be_bytes());

        let mut frame = Vec::new();
        frame.extend(self.macs.0);
        frame.extend(self.macs.1);
        frame.extend([8, 0]);
        frame.extend(header);
        frame.extend(datagram);
        Ok(frame)
    }

    fn datagram(&self) -> Result<Vec<u8>> {
        let length = u16::try_from(8 + self.length).context("a datagram of 64 KiB")?;
        let mut datagram = Vec::new();
        for word in [self.from.1, self.to.1, length, 0] {
            datagram.extend(word.to_be_bytes());
        }
        datagram.extend(std::iter::repeat_n(b'x', self.length));

        let mut pseudo = Vec::new();
        pseudo.extend(self.from.0.octets());
        pseudo.extend(self.to.0.octets());
        pseudo.extend([0, UDP]);
        pseudo.extend(length.to_be_bytes());
        pseudo.extend(&datagram);
        let sum = checksum(&pseudo) ^ u16::from(self.bad_udp_checksum);
        if self.no_udp_checksum {
            return Ok(datagram);
        }
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        Ok(datagram)
    }
}

/// The Internet checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&byte| u32::from(byte)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn put(iface: &str, frame: &[u8]) -> Result<()> {
    let index = if_nametoindex(iface).context("no such interface")?;
    let packet = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::empty(),
        None,
    )
    .context("cannot open a packet socket")?;
    let address = sockaddr_ll {
        sll_family: AF_PACKET as u16,
        sll_protocol: (ETH_P_IP as u16).to_be(),
        sll_ifindex: i32::try_from(index).context("an interface's index")?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    let size = socklen_t::try_from(size_of::<sockaddr_ll>()).context("a size")?;
    // SAFETY: the pointer is to a whole sockaddr_ll of AF_PACKET that outlives the call.
    let address = unsafe { LinkAddr::from_raw(from_ref(&address).cast::<sockaddr>(), Some(size)) }
        .context("a packet address")?;
    let sent = sendto(packet.as_raw_fd(), frame, &address, MsgFlags::empty())?;
    ensure!(sent == frame.len(), "sent {sent} of {} bytes", frame.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_check() {
        let frame = Frame::new(([1; 6], [2; 6]), ("10.0.0.1", 7), ("10.0.0.2", 9)).expect("frame");
        let bytes = frame.bytes().expect("bytes");
        assert_eq!(bytes.len(), 14 + 20 + 8 + 16);
        assert_eq!(checksum(&bytes[14..34]), 0);
        let bad = Frame {
            bad_ip_checksum: true,
            ..frame
        };
        assert_ne!(checksum(&bad.bytes().expect("bytes")[14..34]), 0);
    }
}
