//! Nodes that learn from each other where their pods are, and forget it.

use anyhow::Result;

use super::super::stage::Stage;
use crate::counters;
use crate::topology::bgp::Bgp;
use crate::topology::nodes::Side;

/// A question and its answer.
pub fn native() -> Result<Stage> {
    Stage::build(
        || {
            let bgp = Bgp::build()?;
            let exchange = bgp.exchange()?;
            Ok((bgp, exchange))
        },
        |(_, exchange)| {
            let server = Side::Second.pod()?;
            let seen = exchange.ask(server)?;
            exchange.answer(seen, server)
        },
    )
}

/// A question after the other node's daemon has ended.
pub fn withdrawn() -> Result<Stage> {
    Stage::build(
        || {
            let bgp = Bgp::build()?;
            let exchange = bgp.exchange()?;
            Ok((bgp, exchange))
        },
        |(bgp, exchange)| {
            bgp.withdraw(Side::Second)?;
            // The pod is told.
            counters::until_told(bgp.node(Side::First), ("Icmp", "OutDestUnreachs"), || {
                exchange.say(Side::Second.pod()?, b"where are you?")
            })
        },
    )
}
