//! The questions that iptables-legacy asks the kernel, in the network namespace that the thread is in.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// `IPT_SO_GET_INFO`, and the same of IPv6 (include/uapi/linux/netfilter_ipv4/ip_tables.h).
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
/// `XT_TABLE_MAXNAMELEN`.
const NAME: usize = 32;
/// `NF_INET_NUMHOOKS`, without ingress.
const HOOKS: usize = 5;
/// `struct ipt_getinfo`: the name; hooks, starts, ends, number of entries and their size.
const INFO: usize = NAME + 4 * (1 + 2 * HOOKS + 2);
/// `struct ipt_get_entries` before the entries, which begin where 64-bit numbers may.
const GET: usize = 40;
/// Larger tables are not read.
const MOST: usize = 16 << 20;
/// How often a table may change between the two questions.
const TIMES: usize = 5;

/// A table.
pub struct Table {
    /// Offset of the first entry, by hook.
    pub starts: [u32; HOOKS],
    /// Offset of the policy, by hook.
    pub ends: [u32; HOOKS],
    /// The entries.
    pub entries: Vec<u8>,
}

/// Reads a table.
pub fn read(is_ipv6: bool, name: &[u8]) -> io::Result<Table> {
    let (domain, level) = if is_ipv6 {
        (libc::AF_INET6, libc::IPPROTO_IPV6)
    } else {
        (libc::AF_INET, libc::IPPROTO_IP)
    };
    let socket = open(domain)?;
    for _ in 0..TIMES {
        let mut info = begin(name, INFO)?;
        ask(&socket, level, GET_INFO, &mut info)?;
        let number = |at: usize| {
            let bytes = info.get(NAME + 4 * at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
        };
        let size = number(2 + 2 * HOOKS);
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        if length > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut entries = begin(name, GET + length)?;
        if let Some(to) = entries.get_mut(NAME..NAME + 4) {
            to.copy_from_slice(&size.to_ne_bytes());
        }
        match ask(&socket, level, GET_ENTRIES, &mut entries) {
            Ok(()) => {
                entries.drain(..GET);
                return Ok(Table {
                    starts: std::array::from_fn(|hook| number(1 + hook)),
                    ends: std::array::from_fn(|hook| number(1 + HOOKS + hook)),
                    entries,
                });
            }
            // It has another size by now (get_entries() in net/ipv4/netfilter/ip_tables.c).
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// A question about the table of that name.
fn begin(name: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    // With a zero behind it.
    let to = bytes.get_mut(..name.len()).filter(|to| to.len() < NAME);
    to.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(name);
    Ok(bytes)
}

fn open(domain: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: numbers only.
    match unsafe { libc::socket(domain, kind, libc::IPPROTO_RAW) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: just opened, and nobody else's.
        descriptor => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
    }
}

/// Has `bytes`, which begin with the question, answered in their place.
fn ask(
    socket: &OwnedFd,
    level: libc::c_int,
    option: libc::c_int,
    bytes: &mut [u8],
) -> io::Result<()> {
    let mut length =
        libc::socklen_t::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let to = bytes.as_mut_ptr().cast::<libc::c_void>();
    // SAFETY: the kernel reads and writes `length` bytes at most, which are `bytes`.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, to, &raw mut length) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
