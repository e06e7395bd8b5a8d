//! One line of skbtrace's table, parsed.
//!
//! The columns are the article's: `[time] [netns] INTERFACE DEST_MAC PKT_INFO TRACE_INFO`; with
//! `--wide` others follow. This and [`crate::tracer`] are the only places that know what skbtrace's output looks like.

mod detail;

use std::fmt;

use anyhow::{Context as _, Result, bail};

pub use self::detail::Identity;

/// An event as printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Time of day, microseconds since midnight.
    pub time_us: u64,
    /// Inode number of the network namespace; 0 when not printed.
    pub netns: u32,
    /// Interface, `nil` when there was none.
    pub iface: String,
    /// Destination hardware address as a number; none when not printed.
    pub mac: Option<u64>,
    /// Protocol, source, destination.
    pub pkt: String,
    /// Address of the `sk_buff`.
    pub skb: u64,
    /// `skb->pkt_type`; none when unknown.
    pub pkt_type: Option<u8>,
    /// Length of the packet, bytes; none unless printed (`--wide`).
    pub length: Option<u32>,
    /// Who the packet is; none unless printed (`--wide`).
    pub identity: Option<Identity>,
    /// Function, verdict or clone.
    pub what: String,
    /// The whole line.
    pub line: String,
}

impl Row {
    /// Parses a line; none for the heading, and for the stack under an event.
    pub fn parse(line: &str) -> Result<Option<Self>> {
        if line.starts_with(' ') || line.trim_start().to_ascii_lowercase().starts_with("time") {
            return Ok(None);
        }
        Self::parse_event(line)
            .map(Some)
            .with_context(|| format!("not a row of the table: {line:?}"))
    }

    fn parse_event(line: &str) -> Result<Self> {
        let (time, rest) = bracketed(line).context("no [time]")?;
        let (netns, rest) = bracketed(rest).context("no [netns]")?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let trace = words
            .iter()
            .position(|word| trace_info(word).is_some())
            .context("no TRACE_INFO")?;
        let (skb, pkt_type, what) = trace_info(words[trace]).context("no TRACE_INFO")?;
        // Behind it stand the columns of `--wide`; no cell has a blank inside.
        let wide = &words[trace + 1..];
        let (iface, mac, pkt) = match &words[..trace] {
            [iface, pkt] => (iface, None, pkt),
            [iface, mac, pkt] => (iface, parse_mac(mac), pkt),
            other => bail!("{} columns before TRACE_INFO", other.len()),
        };
        Ok(Self {
            time_us: parse_time(time).context("no time of day")?,
            netns: netns.trim().parse().unwrap_or(0),
            iface: (*iface).to_owned(),
            mac,
            pkt: (*pkt).to_owned(),
            skb,
            pkt_type,
            // Behind the CPU.
            length: wide.get(1).and_then(|word| word.parse().ok()),
            identity: wide.iter().find_map(|word| Identity::parse(word)),
            what: what.to_owned(),
            line: line.to_owned(),
        })
    }

    /// What happened, without a clone's new address, and without the fields that follow.
    pub fn name(&self) -> &str {
        let name = self.what.split(',').next().unwrap_or(&self.what);
        name.split("->").next().unwrap_or(name)
    }

    /// Address of the new `sk_buff` of a clone.
    pub fn clone_address(&self) -> Option<u64> {
        let (_, new) = self.what.split_once("->")?;
        hex(new.split('.').next()?)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// Parses a hardware address, with or without colons.
pub fn parse_mac(text: &str) -> Option<u64> {
    let digits = text.replace(':', "");
    (digits.len() <= 12).then(|| hex(&digits)).flatten()
}

fn bracketed(text: &str) -> Option<(&str, &str)> {
    text.trim_start().strip_prefix('[')?.split_once(']')
}

fn trace_info(word: &str) -> Option<(u64, Option<u8>, &str)> {
    let (skb, rest) = word.split_once('.')?;
    let (pkt_type, what) = rest.split_once(':')?;
    if skb.len() < 8 || what.is_empty() {
        return None;
    }
    let pkt_type = match pkt_type {
        "?" => None,
        number => Some(number.parse().ok()?),
    };
    Some((hex(skb)?, pkt_type, what))
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

fn parse_time(text: &str) -> Option<u64> {
    let (clock, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
    let mut seconds = 0;
    for part in clock.split(':') {
        seconds = seconds * 60 + part.trim().parse::<u64>().ok()?;
    }
    let micros: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    Some(seconds * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "[06:47:28.134562] [4026532280] vethdfe06191 2e74df86964b \
        U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.3:br_handle_frame";

    #[test]
    fn a_row_of_the_article() {
        let row = Row::parse(LINE).expect("parses").expect("is no heading");
        assert_eq!(
            row.time_us,
            (((6 * 60) + 47) * 60 + 28) * 1_000_000 + 134_562
        );
        assert_eq!(row.netns, 4_026_532_280);
        assert_eq!(row.iface, "vethdfe06191");
        assert_eq!(row.mac, parse_mac("2e:74:df:86:96:4b"));
        assert_eq!(row.pkt, "U:172.18.0.15:40547->172.18.253.6:9999");
        assert_eq!((row.skb, row.pkt_type), (0xffff_949a_8d63_9a00, Some(3)));
        assert_eq!(row.what, "br_handle_frame");
    }

    #[test]
    fn no_hardware_address_and_a_clone() {
        let line = "[06:47:28.1][1] nil U:1.2.3.4:5->6.7.8.9:10 \
            ffff949a8d639a00.0:deliver_clone->ffff949a8d639400";
        let row = Row::parse(line).expect("parses").expect("is no heading");
        assert_eq!((row.iface.as_str(), row.mac), ("nil", None));
        assert_eq!(row.name(), "deliver_clone");
        assert_eq!(row.clone_address(), Some(0xffff_949a_8d63_9400));
    }

    #[test]
    fn the_heading_is_no_row() {
        let heading = "time NETWORK_NS INTERFACE DEST_MAC PKT_INFO TRACE_INFO";
        assert_eq!(Row::parse(heading).expect("parses"), None);
        assert!(Row::parse("something else").is_err());
    }
}
