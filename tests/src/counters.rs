//! The kernel's counters of a network namespace, read in `/proc/net`.
//!
//! They tell what happened without anything being traced: how many packets an interface sent, how
//! many datagrams were cut up or put together.

use std::fs;

use anyhow::{Context as _, Result};

use crate::netns::Netns;

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
    let text = read(net, "snmp")?;
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let (names, values) = (lines.next(), lines.next());
    names
        .zip(values)
        .and_then(|(names, values)| {
            let position = names.split_whitespace().position(|word| word == name)?;
            values.split_whitespace().nth(position)?.parse().ok()
        })
        .with_context(|| format!("no counter {name} in {}", net.name()))
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
