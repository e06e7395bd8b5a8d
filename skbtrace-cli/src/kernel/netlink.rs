//! Netlink: a question to the kernel in the network namespace that the thread is in, and the walk over
//! what it answers.
//!
//! The socket and the walk over messages and attributes are the crates'. Of the attributes that come
//! few matter; the others are stepped over, so that one that is new or odd on some kernel costs nothing.
//!
//! **Invariant:** no bytes make reading fail or panic: what cannot be read is left out.

use std::io;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkBuffer, NlaBuffer, NlasIterator};
use netlink_sys::{Socket, SocketAddr};

const HEADER: usize = 16;
/// `struct nlattr`, bytes.
const ATTRIBUTE: usize = 4;
/// One of several messages (include/uapi/linux/netlink.h).
const NLM_F_MULTI: u16 = 2;
/// Something changed between the messages (likewise).
const NLM_F_DUMP_INTR: u16 = 0x10;
/// More than any message: the kernel makes them 32 KiB at most (netlink_dump() in
/// net/netlink/af_netlink.c).
const ROOM: usize = 1 << 16;
/// So much is read of one answer.
const MOST: usize = 8 << 20;

/// A socket in the network namespace that the thread was in when it was opened.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens one of a protocol (`NETLINK_*`).
    pub fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends a question, and hands what each message of type `answer` says to `take`. Whether all of it
    /// is of one moment.
    ///
    /// # Errors
    /// What the kernel says, or that the answer is too long.
    pub fn ask(
        &mut self,
        (question, flags): (u16, u16),
        body: &[u8],
        answer: u16,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        self.sequence += 1;
        let request = request(question, flags, self.sequence, body);
        self.socket.send(&request, 0)?;
        let mut bytes = Vec::with_capacity(ROOM);
        let mut read = 0;
        let mut is_whole = true;
        loop {
            bytes.clear();
            read += self.socket.recv(&mut bytes, 0)?;
            if read > MOST {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            for message in messages(&bytes) {
                is_whole &= message.flags & NLM_F_DUMP_INTR == 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(is_whole),
                    libc::NLMSG_ERROR => return error(message.payload).map(|()| is_whole),
                    _ => {}
                }
                if message.kind == answer {
                    take(message.payload);
                    if message.flags & NLM_F_MULTI == 0 {
                        return Ok(is_whole);
                    }
                }
            }
        }
    }
}

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

fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = HEADER + body.len();
    let mut bytes = vec![0; length];
    let mut message = NetlinkBuffer::new(&mut bytes);
    message.set_length(u32::try_from(length).unwrap_or(u32::MAX));
    message.set_message_type(kind);
    message.set_flags(NLM_F_REQUEST | flags);
    message.set_sequence_number(sequence);
    message.payload_mut().copy_from_slice(body);
    bytes
}

/// Appends an attribute.
pub fn push_attribute(kind: u16, value: &[u8], out: &mut Vec<u8>) {
    // Names are 256 bytes at most.
    let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub payload: &'a [u8],
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

/// A number of one, two or four bytes, in the machine's byte order.
pub fn number(bytes: &[u8]) -> Option<u32> {
    match *bytes {
        [byte] => Some(u32::from(byte)),
        [a, b] => Some(u32::from(u16::from_ne_bytes([a, b]))),
        [a, b, c, d] => Some(u32::from_ne_bytes([a, b, c, d])),
        _ => None,
    }
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
    fn a_question_has_its_length_and_type() {
        let mut body = vec![2, 0, 0, 0];
        push_attribute(1, b"filter\0", &mut body);
        assert_eq!(body.len(), 16, "padded");
        let bytes = request(0x0a04, 0, 7, &body);
        let [message] = messages(&bytes)[..] else {
            panic!("one message");
        };
        assert_eq!((message.kind, message.flags), (0x0a04, NLM_F_REQUEST));
        assert_eq!(message.payload[..4], [2, 0, 0, 0]);
        let name = attribute(&message.payload[4..], 1);
        assert_eq!(name.map(text), Some(&b"filter"[..]));
        assert_eq!(attribute(&message.payload[4..], 2), None);
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

    #[test]
    fn one_read_brings_several_messages() {
        let message = |kind: u16, payload: &[u8]| {
            let mut bytes = request(kind, 0, 1, payload);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let told = |bytes: &[u8]| {
            let messages = messages(bytes).into_iter();
            let told = messages.map(|message| (message.kind, message.payload.to_vec()));
            told.collect::<Vec<_>>()
        };
        let bytes = [message(16, b"abcde"), message(3, b"")].concat();
        assert_eq!(told(&bytes), [(16, b"abcde".to_vec()), (3, Vec::new())]);
        assert_eq!(told(&bytes[..24]), [(16, b"abcde".to_vec())]);
        assert!(messages(&bytes[..20]).is_empty(), "shorter than it says");
        assert!(messages(&[0; 32]).is_empty(), "of no length");
    }
}
