//! What a row tells besides the hop: identity, drop, connection, translation.
//!
//! ```text
//! #7  #7<#3                                                     ID: packet 7, made of packet 3
//! DROP:NO_SOCKET@__udp4_lib_rcv+0x1c3                           a drop
//! ct:NEW,status=0x100,zone=0,orig=1.2.3.4:5>6.7.8.9:10,reply=…  a connection
//! nat:1.2.3.4:5>6.7.8.9:10=>1.2.3.4:5>9.9.9.9:10(DST)           a translation
//! ```
//!
//! The texts may stand behind a function's name; they are found by how they begin.

use super::Row;

/// Who a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The packet's number in this run.
    pub id: u64,
    /// The packet that it was made of.
    pub parent: Option<u64>,
}

impl Identity {
    /// Parses `#7` or `#7<#3`.
    pub fn parse(word: &str) -> Option<Self> {
        let (own, parent) = match word.split_once('<') {
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
    /// The reason's name; none where the kernel has no reasons.
    pub reason: Option<&'a str>,
    /// The function that dropped it, without a compiler's suffix.
    pub function: &'a str,
    /// How far in the function the code was.
    pub offset: u64,
}

/// A connection as connection tracking sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// `NEW`, `ESTABLISHED`, `REPLY`, ….
    pub state: &'a str,
    /// The two tuples, `source>destination`.
    pub orig: &'a str,
    /// Tuple of the answers.
    pub reply: &'a str,
    /// The zone.
    pub zone: &'a str,
}

/// A translation of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated<'a> {
    /// `source>destination` before.
    pub before: &'a str,
    /// The same after.
    pub after: &'a str,
    /// `SRC` or `DST`.
    pub side: &'a str,
}

impl Row {
    /// The text that begins with `mark`, to the end of its word.
    fn told(&self, mark: &str) -> Option<&str> {
        let start = self.what.match_indices(mark).find(|(at, _)| {
            let before = self.what[..*at].chars().next_back();
            before.is_none_or(|char| !char.is_ascii_alphanumeric())
        });
        let rest = &self.what[start?.0 + mark.len()..];
        rest.split_whitespace().next()
    }

    /// The drop, if this is one.
    pub fn dropped(&self) -> Option<Dropped<'_>> {
        let (reason, place) = self.told("DROP:")?.split_once('@')?;
        let (function, offset) = match place.split_once("+0x") {
            Some((function, offset)) => (function, u64::from_str_radix(offset, 16).ok()?),
            None => (place, 0),
        };
        Some(Dropped {
            reason: (!matches!(reason, "" | "?" | "-")).then_some(reason),
            function: function.split('.').next().unwrap_or(function),
            offset,
        })
    }

    /// The connection, if this row tells one.
    pub fn connection(&self) -> Option<Connection<'_>> {
        let told = self.told("ct:")?;
        let value = |name: &str| told.split(',').find_map(|part| part.strip_prefix(name));
        Some(Connection {
            state: told.split(',').next()?,
            orig: value("orig=")?,
            reply: value("reply=")?,
            zone: value("zone=")?,
        })
    }

    /// The translation, if this row tells one.
    pub fn translated(&self) -> Option<Translated<'_>> {
        let (before, rest) = self.told("nat:")?.split_once("=>")?;
        let (after, side) = rest.split_once('(')?;
        Some(Translated {
            before,
            after,
            side: side.strip_suffix(')')?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, what: &str) -> Row {
        let line = format!(
            "[06:47:28.1] [4026532280] {id} eth0 0a7100000002 U:1.2.3.4:5->6.7.8.9:10 \
             ffff949a8d639a00.0:{what}"
        );
        Row::parse(&line).expect("parses").expect("is no heading")
    }

    #[test]
    fn identities() {
        let identity = |text| row(text, "ip_rcv").identity;
        let (id, parent) = (7, Some(3));
        assert_eq!(identity("#7"), Some(Identity { id, parent: None }));
        assert_eq!(identity("#7<#3"), Some(Identity { id, parent }));
        assert_eq!(identity(""), None);
        assert_eq!(row("#7", "ip_rcv").iface, "eth0");
    }

    #[test]
    fn drops() {
        let told = row("#1", "kfree_skb.DROP:NO_SOCKET@__udp4_lib_rcv+0x1c3");
        let dropped = told.dropped().expect("a drop");
        assert_eq!(dropped.reason, Some("NO_SOCKET"));
        assert_eq!(
            (dropped.function, dropped.offset),
            ("__udp4_lib_rcv", 0x1c3)
        );
        let told = row("#1", "DROP:?@ip_rcv.part.0+0x10");
        let dropped = told.dropped().expect("a drop");
        assert_eq!((dropped.reason, dropped.function), (None, "ip_rcv"));
        assert_eq!(row("#1", "2.guard.in_put.DROP").dropped(), None);
    }

    #[test]
    fn connections_and_translations() {
        let told = row(
            "#1",
            "ct:NEW,status=0x0,zone=0,orig=1.2.3.4:5>6.7.8.9:10,reply=a>b",
        );
        let connection = told.connection().expect("a connection");
        assert_eq!((connection.state, connection.zone), ("NEW", "0"));
        assert_eq!(connection.orig, "1.2.3.4:5>6.7.8.9:10");
        assert_eq!(connection.reply, "a>b");
        let told = row("#1", "nat:1.2.3.4:5>6.7.8.9:10=>1.2.3.4:5>9.9.9.9:11(DST)");
        let translated = told.translated().expect("a translation");
        assert_eq!(translated.before, "1.2.3.4:5>6.7.8.9:10");
        assert_eq!(translated.after, "1.2.3.4:5>9.9.9.9:11");
        assert_eq!(translated.side, "DST");
    }
}
