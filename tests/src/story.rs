//! Assertions over a trace, told in the terms of the packet's path.
//!
//! A trial says what must be there ("a row `ip_rcv` on `cbr0` with pkt_type 3") and in which order;
//! a failure names the first thing that is missing, and the caller adds the whole trace
//! ([`crate::tracer::Outcome::explain`]).

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};

use crate::netns::Netns;
use crate::row::{Row, parse_mac};
use crate::tracer::Outcome;

/// A pattern for rows; what is not set does not matter.
#[derive(Clone, Debug, Default)]
pub struct Hop<'a> {
    names: &'a [&'a str],
    iface: Option<&'a str>,
    netns: Option<u32>,
    skb: Option<u64>,
    pkt_type: Option<u8>,
    pkt: Option<&'a str>,
    mac: Option<&'a str>,
    id: Option<u64>,
}

/// A row with one of these names.
pub fn hop<'a>(names: &'a [&'a str]) -> Hop<'a> {
    Hop {
        names,
        ..Hop::default()
    }
}

impl<'a> Hop<'a> {
    /// On this interface.
    pub const fn on(mut self, iface: &'a str) -> Self {
        self.iface = Some(iface);
        self
    }
    /// In this namespace.
    pub const fn inside(mut self, netns: &Netns) -> Self {
        self.netns = Some(netns.inode());
        self
    }
    /// Of this `sk_buff`.
    pub const fn of(mut self, skb: u64) -> Self {
        self.skb = Some(skb);
        self
    }
    /// With this `pkt_type`.
    pub const fn pkt_type(mut self, pkt_type: u8) -> Self {
        self.pkt_type = Some(pkt_type);
        self
    }
    /// With this text in PKT_INFO.
    pub const fn pkt(mut self, pkt: &'a str) -> Self {
        self.pkt = Some(pkt);
        self
    }
    /// To this hardware address.
    pub const fn mac(mut self, mac: &'a str) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Of the packet with this identity.
    pub const fn id(mut self, id: u64) -> Self {
        self.id = Some(id);
        self
    }

    /// Whether `row` is one.
    pub fn matches(&self, row: &Row) -> bool {
        (self.names.is_empty() || self.names.contains(&row.name()))
            && self.iface.is_none_or(|iface| row.iface == iface)
            && self.netns.is_none_or(|netns| row.netns == netns)
            && self.skb.is_none_or(|skb| row.skb == skb)
            && self
                .pkt_type
                .is_none_or(|pkt_type| row.pkt_type == Some(pkt_type))
            && self.pkt.is_none_or(|pkt| row.pkt.contains(pkt))
            && self.mac.is_none_or(|mac| row.mac == parse_mac(mac))
            && self
                .id
                .is_none_or(|id| row.identity.is_some_and(|own| own.id == id))
    }
}

impl fmt::Display for Hop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names {
            [] => f.write_str("any row")?,
            names => write!(f, "row {}", names.join(" or "))?,
        }
        if let Some(iface) = self.iface {
            write!(f, " on {iface}")?;
        }
        if let Some(netns) = self.netns {
            write!(f, " in netns {netns}")?;
        }
        if let Some(skb) = self.skb {
            write!(f, " of skb {skb:x}")?;
        }
        if let Some(pkt_type) = self.pkt_type {
            write!(f, " with pkt_type {pkt_type}")?;
        }
        if let Some(pkt) = self.pkt {
            write!(f, " with {pkt:?} in PKT_INFO")?;
        }
        if let Some(mac) = self.mac {
            write!(f, " to {mac}")?;
        }
        if let Some(id) = self.id {
            write!(f, " of packet #{id}")?;
        }
        Ok(())
    }
}

impl Outcome {
    /// The first such row.
    pub fn find(&self, wanted: &Hop<'_>) -> Result<&Row> {
        self.rows
            .iter()
            .find(|row| wanted.matches(row))
            .with_context(|| format!("there is no {wanted}"))
    }

    /// How many such rows there are.
    pub fn count(&self, wanted: &Hop<'_>) -> usize {
        self.rows.iter().filter(|row| wanted.matches(row)).count()
    }

    /// Fails when there is such a row.
    pub fn none(&self, unwanted: &Hop<'_>) -> Result<()> {
        match self.rows.iter().find(|row| unwanted.matches(row)) {
            Some(row) => bail!("there should be no {unwanted}, but: {row}"),
            None => Ok(()),
        }
    }

    /// Fails unless the rows appear in this order, others between them allowed.
    pub fn in_order(&self, wanted: &[Hop<'_>]) -> Result<()> {
        let mut rows = self.rows.iter();
        let mut before: Option<&Row> = None;
        for wanted in wanted {
            let found = rows.find(|row| wanted.matches(row));
            let Some(row) = found else {
                match before {
                    Some(before) => bail!("there is no {wanted} after: {before}"),
                    None => bail!("there is no {wanted}"),
                }
            };
            before = Some(row);
        }
        Ok(())
    }

    /// Fails unless the events of each `sk_buff` are printed in the order of their times.
    pub fn times_do_not_decrease(&self) -> Result<()> {
        const HALF_A_DAY_US: u64 = 12 * 3600 * 1_000_000;
        for (index, row) in self.rows.iter().enumerate() {
            let later = &self.rows[index + 1..];
            if let Some(next) = later.iter().find(|next| next.skb == row.skb) {
                // Midnight may lie between the two.
                let back = row.time_us.saturating_sub(next.time_us);
                ensure!(
                    back == 0 || back > HALF_A_DAY_US,
                    "time runs backwards:\n  {row}\n  {next}"
                );
            }
        }
        Ok(())
    }

    /// Fails unless skbtrace ended well: exit code, rows as summed up, nothing lost.
    pub fn complete(&self) -> Result<()> {
        ensure!(self.code == Some(0), "exit code {:?}", self.code);
        let printed = self.printed.context("no summary on standard error")?;
        ensure!(
            printed == self.rows.len() as u64,
            "the summary says {printed} events, {} rows were printed",
            self.rows.len()
        );
        ensure!(self.lost == Some(0), "events were lost: {:?}", self.lost);
        Ok(())
    }
    /// Fails unless events were lost, and what was printed and what was lost are together what was
    /// produced; yields these three numbers.
    pub fn counts_its_losses(&self) -> Result<[u64; 3]> {
        let summary = (self.printed, self.lost, self.produced);
        let (Some(printed), Some(lost), Some(produced)) = summary else {
            bail!("the summary is incomplete: {summary:?}");
        };
        ensure!(lost > 0, "nothing was lost");
        ensure!(
            printed == self.rows.len() as u64,
            "{} rows and not {printed}",
            self.rows.len()
        );
        ensure!(
            printed + lost == produced,
            "{printed} printed and {lost} lost are not {produced} produced"
        );
        Ok([printed, lost, produced])
    }
}
