//! What happened at a hop, as data of its own: [`Action`] without what it borrows.

use crate::{
    decode::Names,
    event::{
        Action, CtEntry, CtState, Event, LinkAddress, Neighbour, NudState, Packet, Sock,
        Translation, Tunnel, Verdict,
    },
    kernel::rulesets::{Ending, Question},
};

use super::{
    hop::{Text, Texts},
    own::{OwnChain, OwnName, OwnPlace, OwnReason},
};

/// What happened, as [`Action`] has it.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It was seen at a function's entry.
    Passed {
        /// The function.
        function: Text,
    },
    /// It came out of a queue.
    Dequeued {
        /// What told.
        function: Text,
        /// How long it was there, nanoseconds.
        wait_ns: u64,
    },
    /// It was copied, or cut up.
    Copied {
        /// The function.
        function: Text,
        /// Address of the new `sk_buff`, of pieces the first; `None` when it failed.
        new: Option<u64>,
        /// Code address that asked for it.
        caller: u64,
    },
    /// Netfilter decided.
    Decided(Box<Decided>),
    /// It was dropped.
    Dropped(Box<Dropped>),
    /// A function that works for a socket had it.
    Socket(Box<SocketTold>),
    /// A function that has its neighbour had it.
    Neighbour(Box<NeighbourTold>),
    /// Connection tracking looked at it.
    Conntrack(Box<ConntrackTold>),
    /// Its addresses were translated.
    Translated(Box<Translated>),
    /// It was put into a tunnel, or taken out.
    Tunnel(Box<TunnelTold>),
}

/// A verdict ([`Action::Verdict`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The function that walked the table, or called the functions.
    pub function: Text,
    /// Protocol family of the hook (`NFPROTO_*`).
    pub pf: Option<u8>,
    /// Number of the hook within the family.
    pub hooknum: Option<u8>,
    /// The table.
    pub table: OwnName,
    /// The chain.
    pub chain: OwnChain,
    /// The decision.
    pub verdict: Verdict,
    /// Of a hook as a whole, the one of its functions that decided.
    pub decider: Option<Text>,
    /// Which of the chain's rules can have dropped it, as they were read then; `None` when unknown, or
    /// nobody explains.
    pub ending: Option<Ending>,
}

/// A drop ([`Action::Drop`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dropped {
    /// What told.
    pub function: Text,
    /// Why.
    pub reason: OwnReason,
    /// Where.
    pub at: OwnPlace,
}

/// A socket ([`Action::Socket`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketTold {
    /// The function.
    pub function: Text,
    /// The socket; `None` when the function works for none.
    pub sock: Option<Sock>,
    /// The packet finds no room in the receive queue.
    pub full: bool,
}

/// A neighbour ([`Action::Neighbour`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourTold {
    /// The function.
    pub function: Text,
    /// Its state; `None` when it could not be read.
    pub state: Option<NudState>,
    /// Its link-layer address; `None` when it could not be read, empty when there is none.
    pub address: Option<Box<[u8]>>,
}

/// What connection tracking says ([`Action::Conntrack`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConntrackTold {
    /// The function.
    pub function: Text,
    /// Protocol family of the hook, where known.
    pub pf: Option<u8>,
    /// Number of the hook, likewise.
    pub hooknum: Option<u8>,
    /// What it takes the packet for.
    pub state: CtState,
    /// The connection's entry.
    pub entry: Option<CtEntry>,
    /// What is to become of the packet.
    pub verdict: Verdict,
}

/// A translation ([`Action::Nat`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// The function.
    pub function: Text,
    /// The packet as it was; as it is then is [`Hop::packet`].
    pub before: Packet,
    /// What differs.
    pub changed: Translation,
    /// What is to become of the packet.
    pub verdict: Verdict,
}

/// A tunnel ([`Action::Tunnel`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelTold {
    /// The function.
    pub function: Text,
    /// What is in it.
    pub tunnel: Tunnel,
}

impl What {
    pub(super) fn of(event: &Event<'_>, names: &dyn Names, texts: &mut Texts) -> Self {
        match event.action {
            Action::Hop { function } => Self::Passed {
                function: texts.keep(function),
            },
            Action::Dequeued { function, wait_ns } => Self::Dequeued {
                function: texts.keep(function),
                wait_ns,
            },
            Action::Clone {
                function,
                new,
                caller,
            } => Self::Copied {
                function: texts.keep(function),
                new,
                caller,
            },
            Action::Verdict {
                function,
                pf,
                hooknum,
                table,
                chain,
                verdict,
                decider,
            } => Self::Decided(Box::new(Decided {
                function: texts.keep(function),
                pf,
                hooknum,
                table: OwnName::of(table, texts),
                chain: OwnChain::of(chain, texts),
                verdict,
                decider: decider.map(|decider| texts.keep(decider)),
                ending: Question::of(event).and_then(|question| names.ending(&question)),
            })),
            Action::Drop {
                function,
                reason,
                at,
            } => Self::Dropped(Box::new(Dropped {
                function: texts.keep(function),
                reason: OwnReason::of(reason, texts),
                at: OwnPlace::of(at, texts),
            })),
            Action::Socket {
                function,
                sock,
                full,
            } => Self::Socket(Box::new(SocketTold {
                function: texts.keep(function),
                sock,
                full,
            })),
            Action::Neighbour {
                function,
                neighbour,
            } => Self::Neighbour(Box::new(NeighbourTold {
                function: texts.keep(function),
                state: neighbour.state,
                address: match neighbour.address {
                    LinkAddress::None => Some(Box::default()),
                    LinkAddress::Known(address) => Some(address.into()),
                    LinkAddress::Unknown => None,
                },
            })),
            Action::Conntrack {
                function,
                pf,
                hooknum,
                state,
                entry,
                verdict,
            } => Self::Conntrack(Box::new(ConntrackTold {
                function: texts.keep(function),
                pf,
                hooknum,
                state,
                entry,
                verdict,
            })),
            Action::Nat {
                function,
                before,
                changed,
                verdict,
            } => Self::Translated(Box::new(Translated {
                function: texts.keep(function),
                before,
                changed,
                verdict,
            })),
            Action::Tunnel { function, tunnel } => Self::Tunnel(Box::new(TunnelTold {
                function: texts.keep(function),
                tunnel,
            })),
        }
    }

    /// As an event has it.
    #[must_use]
    pub fn action(&self) -> Action<'_> {
        match self {
            Self::Passed { function } => Action::Hop { function },
            Self::Dequeued { function, wait_ns } => Action::Dequeued {
                function,
                wait_ns: *wait_ns,
            },
            Self::Copied {
                function,
                new,
                caller,
            } => Action::Clone {
                function,
                new: *new,
                caller: *caller,
            },
            Self::Decided(decided) => Action::Verdict {
                function: &decided.function,
                pf: decided.pf,
                hooknum: decided.hooknum,
                table: decided.table.name(),
                chain: decided.chain.chain(),
                verdict: decided.verdict,
                decider: decided.decider.as_deref(),
            },
            Self::Dropped(dropped) => Action::Drop {
                function: &dropped.function,
                reason: dropped.reason.reason(),
                at: dropped.at.place(),
            },
            Self::Socket(told) => Action::Socket {
                function: &told.function,
                sock: told.sock,
                full: told.full,
            },
            Self::Neighbour(told) => Action::Neighbour {
                function: &told.function,
                neighbour: Neighbour {
                    state: told.state,
                    address: match told.address.as_deref() {
                        None => LinkAddress::Unknown,
                        Some([]) => LinkAddress::None,
                        Some(address) => LinkAddress::Known(address),
                    },
                },
            },
            Self::Conntrack(told) => Action::Conntrack {
                function: &told.function,
                pf: told.pf,
                hooknum: told.hooknum,
                state: told.state,
                entry: told.entry,
                verdict: told.verdict,
            },
            Self::Translated(told) => Action::Nat {
                function: &told.function,
                before: told.before,
                changed: told.changed,
                verdict: told.verdict,
            },
            Self::Tunnel(told) => Action::Tunnel {
                function: &told.function,
                tunnel: told.tunnel,
            },
        }
    }

    /// The function that told.
    #[must_use]
    pub fn function(&self) -> &Text {
        match self {
            Self::Passed { function }
            | Self::Dequeued { function, .. }
            | Self::Copied { function, .. } => function,
            Self::Decided(told) => &told.function,
            Self::Dropped(told) => &told.function,
            Self::Socket(told) => &told.function,
            Self::Neighbour(told) => &told.function,
            Self::Conntrack(told) => &told.function,
            Self::Translated(told) => &told.function,
            Self::Tunnel(told) => &told.function,
        }
    }
}
