//! Netfilter netlink: asking nftables in the network namespace that the thread is in, and the walk over
//! what it answers.
//!
//! **Invariant:** no bytes make reading panic: what cannot be read is left out.

use std::io;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkBuffer, NlaBuffer, NlasIterator};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

const HEADER: usize = 16;
/// `struct nlattr`, bytes.
const ATTRIBUTE: usize = 4;
/// `struct nfgenmsg`, bytes (include/uapi/linux/netfilter/nfnetlink.h).
const NFGENMSG: usize = 4;
/// `NFNL_SUBSYS_NFTABLES`: the upper byte of a message's type.
const NFTABLES: u16 = 10 << 8;
/// The dump was not of one moment: something changed meanwhile (include/uapi/linux/netlink.h).
const NLM_F_DUMP_INTR: u16 = 0x10;
/// More than any message: the kernel makes them 32 KiB at most (netlink_dump() in
/// net/netlink/af_netlink.c).
const ROOM: usize = 1 << 16;
/// So much is read of one answer: beyond it, rules are not known.
const MOST: usize = 8 << 20;

/// A socket in the network namespace that the thread was in when it was opened.
pub struct Netfilter {
    socket: Socket,
    sequence: u32,
}

impl Netfilter {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Asks nftables for `question` (`NFT_MSG_*`) and hands each message of type `answer` to `take`,
    /// without its header.
    pub fn ask(
        &mut self,
        (question, answer): (u16, u16),
        (family, flags): (u8, u16),
        body: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.sequence += 1;
        let request = request(NFTABLES | question, family, flags, self.sequence, body);
        self.socket.send(&request, 0)?;
        let mut bytes = Vec::with_capacity(ROOM);
        let mut read = 0;
        loop {
            bytes.clear();
            read += self.socket.recv(&mut bytes, 0)?;
            if read > MOST {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            for message in messages(&bytes) {
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => return error(message.payload),
                    _ => {}
                }
                if message.kind == NFTABLES | answer
                    && let Some(attributes) = message.payload.get(NFGENMSG..)
                {
                    take(attributes);
                    if message.flags & NLM_F_MULTI == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// One of several messages (include/uapi/linux/netlink.h).
const NLM_F_MULTI: u16 = 2;

/// What `struct nlmsgerr` says; 0 is an acknowledgement.
fn error(payload: &[u8]) -> io::Result<()> {
    let code = payload
        .first_chunk()
        .map_or(0, |code| i32::from_ne_bytes(*code));
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

fn request(kind: u16, family: u8, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = HEADER + NFGENMSG + body.len();
    let mut bytes = vec![0; length];
    let mut message = NetlinkBuffer::new(&mut bytes);
    message.set_length(u32::try_from(length).unwrap_or(u32::MAX));
    message.set_message_type(kind);
    message.set_flags(NLM_F_REQUEST | flags);
    message.set_sequence_number(sequence);
    let payload = message.payload_mut();
    payload[0] = family;
    payload[NFGENMSG..].copy_from_slice(body);
    bytes
}

/// Appends an attribute that is a text.
pub fn push_text(kind: u16, text: &[u8], out: &mut Vec<u8>) {
    // Names are 256 bytes at most.
    let length = u16::try_from(4 + text.len() + 1).unwrap_or(u16::MAX);
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(text);
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A message.
pub struct Message<'a> {
    kind: u16,
    flags: u16,
    payload: &'a [u8],
}

/// The messages in what one read brought.
pub fn messages(mut bytes: &[u8]) -> Vec<Message<'_>> {
    let mut found = Vec::new();
    while let Ok(message) = NetlinkBuffer::new_checked(bytes) {
        let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
        let Some(payload) = bytes.get(HEADER..length) else {
            break;
        };
        found.push(Message {
            kind: message.message_type(),
            flags: message.flags(),
            payload,
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    found
}

/// The attributes in `bytes` as far as they can be read, each handed to `take`.
pub fn attributes(bytes: &[u8], mut take: impl FnMut(u16, &[u8])) {
    for attribute in NlasIterator::new(bytes).map_while(Result::ok) {
        take(attribute.kind(), NlaBuffer::value(&attribute));
    }
}

/// The first attribute of that kind.
pub fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut all = NlasIterator::new(bytes).map_while(Result::ok);
    let found = all.find(|attribute| attribute.kind() == wanted)?;
    let length = usize::from(found.length());
    found.into_inner().get(ATTRIBUTE..length)
}

/// A number of 32 bits in network order, as nftables writes all of its numbers.
pub fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Likewise of 64 bits.
pub fn be64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// A text up to its terminating zero.
pub fn text(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == 0);
    bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_its_length_type_and_family() {
        let mut body = Vec::new();
        push_text(1, b"filter", &mut body);
        assert_eq!(body.len(), 12, "padded");
        let bytes = request(NFTABLES | 4, 2, 0, 7, &body);
        let messages = messages(&bytes);
        assert_eq!(messages.len(), 1);
        assert_eq!((messages[0].kind, messages[0].flags), (0x0a04, 1));
        assert_eq!(messages[0].payload[..4], [2, 0, 0, 0]);
        let name = attribute(&messages[0].payload[4..], 1);
        assert_eq!(name.map(text), Some(&b"filter"[..]));
        assert_eq!(attribute(&messages[0].payload[4..], 2), None);
    }

    #[test]
    fn an_error_is_the_system_s_and_an_acknowledgement_none() {
        assert!(error(&0_i32.to_ne_bytes()).is_ok());
        let not_found = error(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(
            not_found.map_err(|error| error.kind()),
            Err(io::ErrorKind::NotFound)
        );
        assert!(error(&i32::MIN.to_ne_bytes()).is_err());
    }
}
