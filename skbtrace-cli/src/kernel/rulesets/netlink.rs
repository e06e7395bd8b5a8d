//! Netfilter netlink: asking nftables in the network namespace that the thread is in.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::kernel::netlink::{Netlink, push_attribute};

/// `struct nfgenmsg`, bytes (include/uapi/linux/netfilter/nfnetlink.h).
const NFGENMSG: usize = 4;
/// `NFNL_SUBSYS_NFTABLES`: the upper byte of a message's type.
const NFTABLES: u16 = 10 << 8;

/// A socket in the network namespace that the thread was in when it was opened.
pub struct Netfilter(Netlink);

impl Netfilter {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        Netlink::open(NETLINK_NETFILTER).map(Self)
    }

    /// Asks nftables for `question` (`NFT_MSG_*`) and hands each message of type `answer` to `take`,
    /// without its header.
    ///
    /// # Errors
    /// Also where something changed between the messages: half of a ruleset is none.
    pub fn ask(
        &mut self,
        (question, answer): (u16, u16),
        (family, flags): (u8, u16),
        attributes: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut body = vec![0; NFGENMSG];
        body[0] = family;
        body.extend(attributes);
        let question = (NFTABLES | question, flags);
        let is_whole = self.0.ask(question, &body, NFTABLES | answer, |payload| {
            if let Some(attributes) = payload.get(NFGENMSG..) {
                take(attributes);
            }
        })?;
        if is_whole {
            Ok(())
        } else {
            Err(io::ErrorKind::Interrupted.into())
        }
    }
}

/// Appends an attribute that is a text.
pub fn push_text(kind: u16, text: &[u8], out: &mut Vec<u8>) {
    push_attribute(kind, &[text, b"\0"].concat(), out);
}

/// A number of 32 bits in network order, as nftables writes all of its numbers.
pub fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Likewise of 64 bits.
pub fn be64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}
