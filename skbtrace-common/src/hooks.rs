//! The catalogue of hooks: every kernel function that skbtrace knows how to listen on.
//!
//! One row is one *place in the packet's path*. What the kernel calls that place differs between
//! versions and builds, so a row lists its [`Site`]s, best first; the first one that can be
//! attached is taken. Presence decides, never the version number. Facts about versions are for
//! 5.10, 6.1, 6.12 and 7.2 as Debian builds them, unless a comment says otherwise.
//!
//! A new hook is one row of [`HOOKS`], in the file of its area. A new set is one constant, one entry
//! of [`SETS`] and its rows.

mod binding;
mod build;
mod catalogue;
mod sets;

pub use binding::Binding;
pub use catalogue::HOOKS;
pub use sets::{
    BRIDGE, CONNTRACK, DROP, IPTABLE, IPVS, LIFE, NAT, NEIGH, NETFILTER, NFT, QDISC, ROUTE, SETS,
    SOCKET, Set, TAP, TC, TUNNEL, XFRM,
};

/// Where on its way through the stack a packet is when a hook sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Leaving or reaching a socket.
    Socket,
    /// Sent by this netns, network header being built.
    LocalOut,
    /// IP routing and output.
    Route,
    /// Netfilter hooks and tables.
    Netfilter,
    /// Handed to a device.
    Driver,
    /// Taken from a device.
    Rx,
    /// Inside a bridge.
    Bridge,
    /// For this netns.
    LocalIn,
    /// Transport protocol, receiving.
    Transport,
    /// Finding the neighbour's MAC address.
    Neighbour,
    /// Traffic control: classifiers and actions.
    Tc,
    /// In a queueing discipline.
    Qdisc,
    /// From one network namespace into another.
    Crossing,
    /// Merged with others of its flow.
    Gro,
    /// Into or out of a tunnel.
    Tunnel,
    /// Encrypted or decrypted (IPsec).
    Xfrm,
    /// Where packet sockets (tcpdump) see it.
    Tap,
    /// Copied, cut up, put together, or given a new buffer.
    Copy,
    /// Freed.
    Free,
    /// Not told: a function that the catalogue has no row for.
    Unknown,
}

impl Stage {
    /// The stage's name as printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::LocalOut => "local-out",
            Self::Route => "route",
            Self::Netfilter => "netfilter",
            Self::Driver => "driver",
            Self::Rx => "rx",
            Self::Bridge => "bridge",
            Self::LocalIn => "local-in",
            Self::Transport => "transport",
            Self::Neighbour => "neighbour",
            Self::Tc => "tc",
            Self::Qdisc => "qdisc",
            Self::Crossing => "netns-crossing",
            Self::Gro => "gro",
            Self::Tunnel => "tunnel",
            Self::Xfrm => "xfrm",
            Self::Tap => "tap",
            Self::Copy => "copy",
            Self::Free => "free",
            Self::Unknown => "?",
        }
    }
}

/// Which network protocols can pass a hook; lets a filter leave out hooks it could never match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Layer3 {
    /// Anything.
    Any = 0,
    /// IPv4 only.
    V4 = 1,
    /// IPv6 only.
    V6 = 2,
    /// ARP only.
    Arp = 3,
}

/// Which transport protocols can pass a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer4 {
    /// Anything.
    Any,
    /// TCP only.
    Tcp,
    /// UDP (and UDP-Lite) only.
    Udp,
    /// ICMP only.
    Icmp,
    /// ICMPv6 only.
    Icmp6,
}

/// Which argument of the function leads to the packet; positions count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// `struct sk_buff *`.
    Skb(u8),
    /// `struct sk_buff **`: receive handlers, which may replace the packet.
    SkbPtr(u8),
    /// `struct nft_pktinfo *`, which holds the packet and the hook state.
    NftPktinfo(u8),
}

/// A kernel function that is a hook's place on some kernels.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Symbol, with the compiler's suffix where it has one.
    pub symbol: &'static str,
    /// Where the packet is, unless this kernel's BTF says otherwise.
    pub arg: Arg,
    /// Netfilter tables: position of `struct nf_hook_state *`; 0 when the packet's argument
    /// holds it or the hook is no table. [`Kind::Socket`]: position of an error (a negative number),
    /// or 0.
    pub state: u8,
    /// Netfilter tables: position of the table or chain. [`Kind::Morph`] and [`Kind::Merge`]:
    /// position of the other packet. [`Kind::Neighbour`]: position of the `struct neighbour *`.
    /// [`Kind::Socket`] and where [`Hook::queued`]: position of `struct sock *`; 0 when the packet
    /// knows its socket.
    /// [`Kind::Tunnel`]: position of the outer source address, which the destination and the
    /// protocol follow; 0 when they are in the packet. 0 otherwise.
    pub table: u8,
    /// A tracepoint and no function: `symbol` is its name, positions are those of its arguments
    /// (include/trace/events).
    pub tracepoint: bool,
}

/// The kind of netfilter table a hook walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TableKind {
    /// None.
    None = 0,
    /// `struct xt_table`: iptables-legacy, ip6tables-legacy, arptables-legacy.
    Xt = 1,
    /// `struct ebt_table`: ebtables-legacy.
    Ebt = 2,
    /// `struct nft_chain`: nftables, iptables-nft.
    Nft = 3,
    /// No table but all of a hook's functions, one after the other (`nf_hook_slow`).
    Hook = 4,
}

/// What a hook reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The packet passed: one event at the function's entry.
    Hop,
    /// The packet passed, and the function has its neighbour: one event at its entry, with both.
    Neighbour,
    /// The packet was copied: one event at the return, with the copy.
    Clone,
    /// A table decided: one event at the return, with the verdict.
    Verdict(TableKind),
    /// One of a netfilter hook's functions: without events of its own; what it returns tells, at
    /// the return of the whole hook, who decided.
    HookFunction,
    /// Connection tracking: one event at the return, with the entry.
    Conntrack,
    /// Addresses translated: one event at the return, with the packet before and after.
    Nat,
    /// The packet passed a function that works for a socket: one event at its entry, with the
    /// socket.
    Socket,
    /// The packet passed a function that puts headers before it or takes them off: one event at its
    /// entry, with the packet inside.
    Tunnel,
    /// The packet was dropped: one event, with reason and place.
    Drop,
    /// A queue dropped the packet: as above. Of a tracepoint that tells of all drops, those with the
    /// queues' reason.
    QueueDrop,
    /// The packet was cut up: its pieces, the list that is returned, are followed from here on.
    Segments,
    /// The packet goes out in pieces that hang on it (`frag_list`): they are followed.
    Fragments,
    /// The other packet becomes a copy of this one.
    Morph,
    /// The packet is merged into the other one.
    Merge,
    /// The packet is gone: its address may be another's from here on.
    Free,
}

impl Kind {
    /// The kind's name as printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hop => "hop",
            Self::Neighbour => "neighbour",
            Self::Clone => "clone",
            Self::Verdict(_) => "verdict",
            Self::HookFunction => "hook function",
            Self::Conntrack => "conntrack",
            Self::Nat => "nat",
            Self::Socket => "socket",
            Self::Tunnel => "tunnel",
            Self::Drop | Self::QueueDrop => "drop",
            Self::Segments => "segments",
            Self::Fragments => "fragments",
            Self::Morph => "morph",
            Self::Merge => "merge",
            Self::Free => "free",
        }
    }
}

/// A row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// The place's name; also what is printed unless a site of another name is taken.
    pub name: &'static str,
    /// Bits of [`SETS`].
    pub sets: u32,
    /// Where on its way the packet is.
    pub stage: Stage,
    /// What is reported.
    pub kind: Kind,
    /// Network protocols that can pass.
    pub layer3: Layer3,
    /// Transport protocols that can pass.
    pub layer4: Layer4,
    /// Packets may pass that have no network header yet: their socket tells where they go.
    pub bare: bool,
    /// A packet without a socket of its own (`skb->sk`) stands in the queue of the function's, which
    /// is at [`Site::table`]: that socket tells where it goes.
    pub queued: bool,
    /// Needed to follow packets: attached, without events of its own, even when its sets are not
    /// chosen.
    pub follows: bool,
    /// Every packet of its protocol that is sent or received passes here early: where packets are
    /// to be followed by what they were at first, and nobody else sees that, it is attached
    /// without events of its own.
    pub begins: bool,
    /// Module that usually holds the function, for a helpful word when it is missing.
    pub module: Option<&'static str>,
    /// Candidates, best first.
    pub sites: &'static [Site],
}

impl Site {
    /// The symbol without the suffix the compiler gave a specialised copy (`.isra.0`,
    /// `.constprop.0`, `.part.0`).
    #[must_use]
    pub fn display_name(&self) -> &'static str {
        self.symbol
            .split_once('.')
            .map_or(self.symbol, |(name, _)| name)
    }
}

#[cfg(test)]
mod tests;
