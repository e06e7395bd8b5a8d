//! The kernel's counters of a network namespace, read in `/proc/net`.
//!
//! They tell what happened without anything being traced: how many packets an interface sent, how
//! many datagrams were cut up or put together.

use std::fs;

use anyhow::{Context as _, Result};

use crate::netns::Netns;
use crate::wait::{self, SOON};

/// Packets that `iface` of `net` has sent.
pub fn sent(net: &Netns, iface: &str) -> Result<u64> {
    interface(net, iface, 9)
}

/// Packets that `iface` of `net` has received.
pub fn received(net: &Netns, iface: &str) -> Result<u64> {
    interface(net, iface, 1)
}

/// A column of `/proc/net/dev`; receiving has eight columns, then comes sending.
fn interface(net: &Netns, iface: &str, column: usize) -> Result<u64> {
    let text = read(net, "dev")?;
    let mark = format!("{iface}:");
    text.lines()
        .find_map(|line| line.trim_start().strip_prefix(&mark))
        .and_then(|rest| rest.split_whitespace().nth(column))
        .and_then(|value| value.parse().ok())
        .with_context(|| format!("no counters of {iface} in {}", net.name()))
}

/// A counter of IPv4, like `FragCreates`.
pub fn ip(net: &Netns, name: &str) -> Result<u64> {
    snmp(net, "Ip", name)
}

/// A counter of a protocol, like `NoPorts` of `Udp`.
fn snmp(net: &Netns, protocol: &str, name: &str) -> Result<u64> {
    let text = read(net, "snmp")?;
    let mut lines = text.lines().filter_map(|line| line.split_once(": "));
    let mut own = lines.by_ref().filter(|(line, _)| *line == protocol);
    let (names, values) = (own.next(), own.next());
    names
        .zip(values)
        .and_then(|((_, names), (_, values))| {
            let position = names.split_whitespace().position(|word| word == name)?;
            values.split_whitespace().nth(position)?.parse().ok()
        })
        .with_context(|| format!("no counter {protocol} {name} in {}", net.name()))
}

/// A counter of IPsec.
pub fn xfrm(net: &Netns, name: &str) -> Result<u64> {
    let text = read(net, "xfrm_stat")?;
    let mut lines = text.lines();
    lines
        .find_map(|line| {
            let (counter, value) = line.split_once(char::is_whitespace)?;
            (counter == name).then(|| value.trim().parse().ok())?
        })
        .with_context(|| format!("no counter {name} in {}", net.name()))
}

/// Packets that connection tracking dropped: a column of hexadecimal numbers, a line a processor.
pub fn dropped_by_conntrack(net: &Netns) -> Result<u64> {
    let text = read(net, "stat/nf_conntrack")?;
    let mut lines = text.lines();
    let names = lines.next().unwrap_or_default();
    let column = names
        .split_whitespace()
        .position(|name| name == "drop")
        .context("no column drop")?;
    let values = lines.filter_map(|line| line.split_whitespace().nth(column));
    values
        .map(|value| u64::from_str_radix(value, 16).context("no number"))
        .sum()
}

/// Runs `work` and waits until what `count` counts has risen.
pub fn until_risen(
    count: impl Fn() -> Result<u64>,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = count()?;
    work()?;
    wait::until("a counter to rise", SOON, || {
        Ok((count()? > before).then_some(()))
    })
}

/// The same of a counter of a protocol.
pub fn until_told(
    net: &Netns,
    (protocol, name): (&str, &str),
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    until_risen(|| snmp(net, protocol, name), work)
        .with_context(|| format!("{protocol} {name} of {}", net.name()))
}

/// A counter of IPv6, like `Ip6FragCreates`.
pub fn ip6(net: &Netns, name: &str) -> Result<u64> {
    let text = read(net, "snmp6")?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .with_context(|| format!("no counter {name} in {}", net.name()))
}

/// A file of the calling thread's `/proc/net`; `/proc/net` itself is the main thread's.
fn read(net: &Netns, name: &str) -> Result<String> {
    let path = format!("/proc/thread-self/net/{name}");
    net.enter(|| fs::read_to_string(&path).with_context(|| format!("cannot read {path}")))
}
