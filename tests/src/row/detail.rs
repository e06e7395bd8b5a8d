//! What a row tells besides the hop: identity, drop, connection, translation.
//!
//! ```text
//! #7  #7<#3  #7<#?                                            ID: packet 7, made of packet 3, of ?
//! kfree_skb.DROP(NO_SOCKET)@__udp4_lib_rcv+0x1c3              a drop; a place may end in [module]
//! ct:NEW,func=…,dir=original,…,zone=0,mark=0x0,orig=U:1.2.3.4:5->6.7.8.9:10,reply=…
//! nat:DST,func=…,verdict=…,was=U:1.2.3.4:5->6.7.8.9:10        as it is now is in PKT_INFO
//! ```

use super::Row;

/// Who a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The packet's number in this run.
    pub id: u64,
    /// The packet that it was made of; 0 when it is not known of which.
    pub parent: Option<u64>,
}

impl Identity {
    /// Parses `#7`, `#7<#3` or `#7<#?`.
    pub fn parse(word: &str) -> Option<Self> {
        let (own, parent) = match word.split_once('<') {
            Some((own, "#?")) => (own, Some(0)),
            Some((own, parent)) => (own, Some(number(parent)?)),
            None => (word, None),
        };
        Some(Self {
            id: number(own)?,
            parent,
        })
    }
}

fn number(word: &str) -> Option<u64> {
    word.strip_prefix('#')?.parse().ok()
}

/// A drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped<'a> {
    /// The kernel's name of the reason; none where the kernel gives none, whatever skbtrace makes
    /// of it by itself.
    pub reason: Option<&'a str>,
    /// The function that dropped it, without a compiler's suffix.
    pub function: &'a str,
    /// How far in the function the code was.
    pub offset: u64,
}

/// A socket that a function works for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sock<'a> {
    /// Its own end, and behind `->` the other one if it is connected.
    pub name: &'a str,
    /// Number and name of the process that has it.
    pub process: &'a str,
    /// Memory of received packets, bytes; none when unknown.
    pub used: Option<u32>,
    /// Memory of packets that wait for the process, bytes; none when unknown.
    pub backlog: Option<u32>,
    /// There is no room for the packet.
    pub is_full: bool,
}

/// A connection as connection tracking sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// Direction of the packet: `original` or `reply`.
    pub dir: &'a str,
    /// What has become of it: the bits' names.
    pub status: Vec<&'a str>,
    /// The zone.
    pub zone: &'a str,
    /// The packets that it waits for, as in PKT_INFO: those of the direction of the first one.
    pub orig: &'a str,
    /// The answers.
    pub reply: &'a str,
}

/// A translation of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated<'a> {
    /// What was changed: `SRC`, `DST`, ….
    pub side: &'a str,
    /// The packet before, as in PKT_INFO.
    pub was: &'a str,
}

impl Row {
    /// The drop, if this is one.
    pub fn dropped(&self) -> Option<Dropped<'_>> {
        let (_, rest) = self.what.split_once("DROP(")?;
        let (reason, place) = rest.split_once(")@")?;
        let place = place.split('[').next().unwrap_or(place);
        let (function, offset) = match place.split_once("+0x") {
            Some((function, offset)) => (function, u64::from_str_radix(offset, 16).ok()?),
            None => (place, 0),
        };
        // A word in small letters is skbtrace's own, for a kernel that gives no reasons.
        let named = reason.starts_with(|first: char| first.is_ascii_uppercase());
        Some(Dropped {
            reason: named.then_some(reason),
            function: function.split('.').next().unwrap_or(function),
            offset,
        })
    }

    /// The state that connection tracking gave the packet, if this row tells one.
    pub fn state(&self) -> Option<&str> {
        self.what.strip_prefix("ct:")?.split(',').next()
    }

    /// The connection, if this row tells one.
    pub fn connection(&self) -> Option<Connection<'_>> {
        self.state()?;
        Some(Connection {
            dir: self.value("dir=")?,
            status: self.value("status=")?.split('|').collect(),
            zone: self.value("zone=")?,
            orig: self.value("orig=")?,
            reply: self.value("reply=")?,
        })
    }

    /// The translation, if this row tells one.
    pub fn translated(&self) -> Option<Translated<'_>> {
        Some(Translated {
            side: self.what.strip_prefix("nat:")?.split(',').next()?,
            was: self.value("was=")?,
        })
    }

    /// The socket, if this row tells one.
    pub fn sock(&self) -> Option<Sock<'_>> {
        let (used, _) = self.value("rcvbuf=")?.split_once('/').unwrap_or_default();
        Some(Sock {
            name: self.value("sock=")?,
            process: self.value("pid=")?,
            used: used.parse().ok(),
            backlog: self.value("backlog=")?.parse().ok(),
            is_full: self.what.ends_with(",receive_queue_full"),
        })
    }

    /// The field that begins with `name`.
    fn value(&self, name: &str) -> Option<&str> {
        self.what
            .split(',')
            .find_map(|part| part.strip_prefix(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, wide: &str) -> Row {
        let line = format!(
            "[06:47:28.1] [4026532280] eth0 0a7100000002 U:1.2.3.4:5->6.7.8.9:10 \
             ffff949a8d639a00.0:{what} {wide}"
        );
        Row::parse(&line).expect("parses").expect("is no heading")
    }

    #[test]
    fn identities() {
        let identity = |id| row("ip_rcv", &format!("0 33 0x0 1 nc pod {id} rx -")).identity;
        let of = |parent| Some(Identity { id: 7, parent });
        assert_eq!(identity("#7"), of(None));
        assert_eq!(identity("#7<#3"), of(Some(3)));
        assert_eq!(identity("#7<#?"), of(Some(0)));
        assert_eq!(identity("-"), None);
        assert_eq!(row("ip_rcv", "0 33 0x0 1 nc pod #7 rx -").what, "ip_rcv");
    }

    #[test]
    fn drops() {
        let told = row(
            "kfree_skb.DROP(NO_SOCKET)@br_handle_frame+0x1c3[bridge]",
            "",
        );
        let dropped = told.dropped().expect("a drop");
        assert_eq!(dropped.reason, Some("NO_SOCKET"));
        assert_eq!(
            (dropped.function, dropped.offset),
            ("br_handle_frame", 0x1c3)
        );
        for (reason, place) in [("?", "ip_rcv.part.0+0x10"), ("netfilter", "ip_rcv+0x10")] {
            let told = row(&format!("kfree_skb.DROP({reason})@{place}"), "");
            let dropped = told.dropped().expect("a drop");
            assert_eq!((dropped.reason, dropped.function), (None, "ip_rcv"));
        }
        assert_eq!(row("2.guard.in_put.DROP(EPERM)", "").dropped(), None);
    }

    #[test]
    fn sockets() {
        let told = row(
            "udp_queue_rcv_skb,sock=10.0.0.2:80->10.0.0.1:4,pid=412/nc,rcvbuf=1280/2304,backlog=7",
            "",
        );
        assert_eq!(told.name(), "udp_queue_rcv_skb");
        let sock = told.sock().expect("a socket");
        assert_eq!(
            (sock.name, sock.process),
            ("10.0.0.2:80->10.0.0.1:4", "412/nc")
        );
        assert_eq!((sock.used, sock.backlog), (Some(1280), Some(7)));
        assert!(!sock.is_full);
        let full = row(
            "f,sock=unix,pid=-,rcvbuf=?,backlog=?,receive_queue_full",
            "",
        );
        let sock = full.sock().expect("a socket");
        assert!(sock.is_full && sock.used.is_none() && sock.backlog.is_none());
        assert_eq!(row("udp_rcv", "").sock(), None);
    }

    #[test]
    fn connections_and_translations() {
        let told = row(
            "ct:NEW,func=nf_conntrack_in,verdict=ACCEPT,dir=original,status=CONFIRMED|DST_NAT,zone=0,\
             mark=0x0,orig=U:1.2.3.4:5->6.7.8.9:10,reply=U:a->b",
            "",
        );
        assert_eq!(told.state(), Some("NEW"));
        let connection = told.connection().expect("a connection");
        assert_eq!((connection.dir, connection.zone), ("original", "0"));
        assert_eq!(connection.status, ["CONFIRMED", "DST_NAT"]);
        assert_eq!(connection.orig, "U:1.2.3.4:5->6.7.8.9:10");
        assert_eq!(connection.reply, "U:a->b");
        let told = row(
            "nat:DST,func=f,verdict=ACCEPT,was=U:1.2.3.4:5->9.9.9.9:11",
            "",
        );
        let translated = told.translated().expect("a translation");
        assert_eq!(translated.side, "DST");
        assert_eq!(translated.was, "U:1.2.3.4:5->9.9.9.9:11");
        let untracked = row("ct:UNTRACKED,func=f,verdict=ACCEPT", "");
        assert_eq!(untracked.state(), Some("UNTRACKED"));
        assert_eq!(untracked.connection(), None);
    }
}
