//! Sockets in an event: which one a function works for, whose it is, how full its queues are.
//!
//! Apart from the rest of the event because only the hooks of `--socket` tell it.

use std::net::IpAddr;

use super::ShortName;

/// A socket (`struct sock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sock {
    /// Its addresses.
    pub name: SockName,
    /// Who has it.
    pub owner: Owner,
    /// What waits in it; `None` for what only stands in for a socket (of a connection that is being
    /// made, or is over), and when unread.
    pub memory: Option<Memory>,
}

/// What a socket is bound and connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SockName {
    /// IPv4 or IPv6.
    Ip {
        /// Its own end; the unspecified address when it takes what comes to any.
        local: End,
        /// The other end; `None` when it is not connected.
        remote: Option<End>,
    },
    /// Another family (`AF_*`, include/linux/socket.h).
    Family(u16),
    /// Unread.
    Unknown,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Address.
    pub address: IpAddr,
    /// Port, host order; of a raw socket the IP protocol.
    pub port: u16,
}

/// Who has a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody: it waits to be accepted, or was closed.
    Nobody,
    /// A process.
    Process(Process),
    /// Not found: the kernel itself, or a process that has gone.
    Unknown,
}

/// A process that has a socket open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number; the lowest, when several have the socket.
    pub pid: u32,
    /// How many others have it.
    pub others: u32,
    /// What it is called (`/proc/PID/comm`), padded with zeros.
    pub comm: [u8; 16],
}

impl Process {
    /// What it is called.
    #[must_use]
    pub fn comm(&self) -> ShortName<'_> {
        ShortName(&self.comm)
    }
}

/// What waits in a socket, bytes of memory (a packet's buffer and `sk_buff`, not its length).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// In the receive queue (`sk_rmem_alloc`), without the packet at hand.
    pub used: u32,
    /// How much that may be (`sk_rcvbuf`).
    pub limit: u32,
    /// Waits for the process to let go of the socket (`sk_backlog.len`).
    pub backlog: u32,
}
