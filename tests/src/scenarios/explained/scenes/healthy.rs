//! Traffic that arrives, of which there is nothing to say.

use anyhow::{Result, ensure};

use super::super::stage::Stage;
use crate::demo::SCENARIOS;
use crate::frontend::Frontend;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::node::Routed;
use crate::topology::tunnel::{Kind, Tunnel};
use crate::topology::{self, CLIENT, CLIENT_PORT, Cluster, Ip, PORT, Plan, SERVER, at};
use crate::traffic::{self, exchange::Exchange};

/// A question to a Service and its answer, three times.
pub fn service() -> Result<Stage> {
    through_service(Ip::V4)
}

pub fn service_ipv6() -> Result<Stage> {
    through_service(Ip::V6)
}

fn through_service(ip: Ip) -> Result<Stage> {
    Stage::build(
        || {
            let routed = Routed::build_for(ip)?;
            routed.serve_by_dnat(Frontend::first_that_works()?)?;
            let exchange = routed.exchange()?;
            Ok((routed, exchange))
        },
        |(routed, exchange)| {
            let service = routed.addresses().service()?;
            for _ in 0..3 {
                let seen = exchange.ask(service)?;
                exchange.answer(seen, service)?;
            }
            Ok(())
        },
    )
}

/// A pod to another one at its bridge, through a Service.
pub fn bridge() -> Result<Stage> {
    once(SCENARIOS[3])
}

/// To a pod at a bridge that is promiscuous: what is passed up, too, is for another host.
pub fn promiscuous_bridge() -> Result<Stage> {
    once(SCENARIOS[2])
}

fn once(scenario: crate::demo::Scenario) -> Result<Stage> {
    Stage::build(
        move || Cluster::build(scenario.plan(Frontend::first_that_works()?)),
        move |cluster| {
            let copies = scenario.send(cluster)?;
            ensure!(copies == 1, "{copies} copies arrived");
            Ok(())
        },
    )
}

/// The client's address is the node's on its way.
pub fn masquerade() -> Result<Stage> {
    Stage::build(
        || {
            let routed = Routed::build()?;
            routed.masquerade(Frontend::first_that_works()?)?;
            let exchange = routed.exchange()?;
            Ok((routed, exchange))
        },
        |(routed, exchange)| {
            let server = routed.addresses().server()?;
            let seen = exchange.ask(server)?;
            exchange.answer(seen, server)
        },
    )
}

/// A connection, from the first segment to the last, with a packet that is cut up.
pub fn tcp() -> Result<Stage> {
    Stage::build(
        || {
            let routed = Routed::build()?;
            routed.cut_at_the_end()?;
            Ok(routed)
        },
        |routed| {
            let to = routed.addresses().server()?;
            traffic::tcp_conversation(&routed.client, to, &routed.server, to)?;
            traffic::stream::send_at_once(&routed.client, to, &routed.server, to, 30_000).map(drop)
        },
    )
}

pub fn vxlan() -> Result<Stage> {
    Stage::build(
        || {
            let tunnel = Tunnel::build(Kind::Vxlan)?;
            let exchange = tunnel.exchange()?;
            Ok((tunnel, exchange))
        },
        |(tunnel, exchange)| {
            let [_, server] = tunnel.inner()?;
            exchange.ask(server).map(drop)
        },
    )
}

fn over_a_cable() -> Result<(Link, Exchange)> {
    let link = Link::build()?;
    let exchange = Exchange::open(
        (&link.left, at(LEFT, CLIENT_PORT)?),
        (&link.right, at(RIGHT, PORT)?),
    )?;
    Ok((link, exchange))
}

/// A datagram of three pieces.
pub fn fragments() -> Result<Stage> {
    Stage::build(over_a_cable, |(_, exchange)| {
        exchange.ask_with(at(RIGHT, PORT)?, &[b'x'; 4000]).map(drop)
    })
}

pub fn ping() -> Result<Stage> {
    Stage::build(Link::build, |link| {
        traffic::ping(&link.left, topology::ip(RIGHT)?, 77)
    })
}

/// The pod's hardware address is asked for first.
pub fn neighbours() -> Result<Stage> {
    Stage::build(
        || {
            let cluster = Cluster::build(Plan {
                dynamic_neighbours: true,
                ..Plan::default()
            })?;
            let exchange = Exchange::open(
                (&cluster.client, at(CLIENT, CLIENT_PORT)?),
                (&cluster.server, at(SERVER, PORT)?),
            )?;
            Ok((cluster, exchange))
        },
        |(cluster, exchange)| {
            cluster.client.ip("neigh flush dev eth0\n")?;
            exchange.ask(at(SERVER, PORT)?).map(drop)
        },
    )
}
