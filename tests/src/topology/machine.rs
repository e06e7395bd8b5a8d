//! A node that is a machine of its own, with a cable to another one that is.
//!
//! `cargo xtask` lays the cable (its cable.rs); the machines agree over it on what they do
//! ([`crate::pair`]).

use std::fs;

use anyhow::{Context as _, Result};

use super::link::written;
use super::nodes::{PODS, Side};
use crate::netns::Netns;
use crate::process;
use crate::scenarios::skip;

/// UDP port of VXLAN.
pub const VXLAN_PORT: u16 = 4789;
/// The VXLAN network identifier.
const VNI: u32 = 100;
/// Where `cargo xtask` tells a machine what it has.
const SETTINGS: &str = "/xtask/settings";

/// How packets get from one node's pods to the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Routed as they are.
    Routes,
    /// Wrapped by a device of the kernel, as flannel has it.
    Vxlan,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Routes, Self::Vxlan];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Vxlan => "vxlan",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Result<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|way| way.name() == name)
            .with_context(|| format!("there is no way {name}"))
    }
}

/// This machine as a node; dropping it gives back the device.
pub struct Machine {
    /// The node.
    pub node: Netns,
    /// Which of the two it is.
    pub side: Side,
    pod: Option<Netns>,
}

impl Machine {
    /// Takes this machine's network device for a node. Skips where no cable leads to another one.
    pub fn take(side: Side) -> Result<Self> {
        let settings = fs::read_to_string(SETTINGS).unwrap_or_default();
        if !settings.lines().any(|line| line == "CABLE=1") {
            return skip("no cable leads from here to another machine; cargo xtask lays one");
        }
        let machine = Self {
            node: side.create()?,
            side,
            pod: None,
        };
        let node = machine.node.name();
        process::run("ip", &["link", "set", "eth0", "netns", node])?;
        side.connect(&machine.node)?;
        Ok(machine)
    }

    /// Gives the node a pod, and this way to the other one's. Skips where the kernel has none such.
    pub fn lay(&mut self, way: Way) -> Result<()> {
        self.clear()?;
        self.pod = Some(self.side.give_pod(&self.node)?);
        let (own, peer) = (self.side.network(), self.side.other().network());
        let far = self.side.other().node();
        match way {
            Way::Routes => self.node.ip(&format!("route add {peer}.0/24 via {far}\n")),
            Way::Vxlan => self.wrap(&own, &peer, &far),
        }
    }

    fn wrap(&self, own: &str, peer: &str, far: &str) -> Result<()> {
        let (near, mac) = (self.side.node(), tunnel_mac(self.side));
        let device = format!(
            "link add vxlan0 address {mac} type vxlan id {VNI} local {near} dev eth0 \
             dstport {VXLAN_PORT} nolearning\n"
        );
        if let Err(error) = self.node.ip(&device) {
            return skip(format!("no device vxlan: {error:#}"));
        }
        let far_mac = tunnel_mac(self.side.other());
        self.node.ip(&format!(
            "addr add {own}.0/32 dev vxlan0\n\
             link set vxlan0 up\n\
             neigh replace {peer}.0 lladdr {far_mac} dev vxlan0 nud permanent\n\
             route add {peer}.0/24 via {peer}.0 dev vxlan0 onlink\n"
        ))?;
        let learnt = ["fdb", "append", &far_mac, "dev", "vxlan0", "dst", far];
        self.node.run("bridge", &learnt).map(drop)
    }

    /// The pod, once one was laid.
    pub fn pod(&self) -> Result<&Netns> {
        self.pod.as_ref().context("no pod was laid yet")
    }

    /// Removes what was laid, or a part of it.
    fn clear(&mut self) -> Result<()> {
        self.pod = None;
        // They may not be there, or be gone with the pod.
        let _ = self.node.ip("link del pod0\n");
        let _ = self.node.ip("link del vxlan0\n");
        self.node.ip(&format!("route flush root {PODS}\n"))
    }
}

/// The hardware address of a node's end of the tunnel.
fn tunnel_mac(side: Side) -> String {
    written([0x0a, 0x64, 0, 0, 0, side.number()])
}

impl Drop for Machine {
    fn drop(&mut self) {
        // To the namespace that process 1 is in, where the next one looks for it.
        if let Err(error) = self.node.ip("link set eth0 netns 1\n") {
            eprintln!("skbtrace-tests: eth0 is not given back: {error:#}");
        }
    }
}
