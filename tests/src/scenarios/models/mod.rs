//! The network models of Kubernetes: how a packet gets from a pod to another one, and back.
//!
//! From pods that share everything, over bridges, overlays and plain routes, to a Service: each model
//! is a network, a question and its answer. Trials play them under a tracer that explains, and want
//! every step of the way, the right ends, and no finding, as nothing is wrong. The demo plays one for
//! whoever wants to see it, and the corpus has them recorded.

mod bridged;
mod overlay;
mod routed;
mod scene;
mod service;

use anyhow::{Context as _, Result};
use libtest_mimic::Trial;

use super::turns::Turns;
pub use scene::Scene;

/// A network model.
pub struct Model {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub title: &'static str,
    /// Options for skbtrace: what a reader can take in.
    pub options: &'static [&'static str],
    /// Builds its network, in which it can then be played.
    pub build: fn() -> Result<Scene>,
}

/// All of them.
pub const MODELS: &[Model] = &[
    Model {
        name: "pod_loopback",
        title: "two containers of one pod, over its loopback device",
        options: bridged::LOOPBACK,
        build: bridged::loopback,
    },
    Model {
        name: "pod_bridge",
        title: "two pods at the bridge of their node",
        options: bridged::BRIDGE,
        build: bridged::bridge,
    },
    Model {
        name: "tun_overlay",
        title: "pods of two nodes, over an overlay in user space: a tun device and UDP",
        options: overlay::TUN,
        build: overlay::tun,
    },
    Model {
        name: "proxy_arp",
        title: "two pods of one node by routes alone, with a gateway that nobody has",
        options: routed::PROXY_ARP,
        build: routed::proxy_arp,
    },
    Model {
        name: "vxlan_100",
        title: "pods of two nodes, over the kernel's VXLAN with the number 100",
        options: overlay::VXLAN,
        build: overlay::vxlan,
    },
    Model {
        name: "kube_proxy_iptables",
        title: "a Service as kube-proxy makes it by iptables",
        options: service::TABLES,
        build: service::iptables,
    },
    Model {
        name: "kube_proxy_nft",
        title: "a Service as kube-proxy makes it by nftables",
        options: service::TABLES,
        build: service::nftables,
    },
    Model {
        name: "kube_proxy_ipvs",
        title: "a Service as kube-proxy makes it by IPVS",
        options: service::IPVS,
        build: service::ipvs,
    },
];

/// The model of that name.
pub fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

/// What each is to show, and all addresses that somebody asks from.
const OPTIONS: &[&str] = &[
    "--set=route,tunnel,neigh,iptable,nat,ipvs",
    "-H",
    "127.0.0.1,172.18.0.15,10.0.1.2,10.50.1.10,10.72.1.2,10.72.2.2",
    "--explain",
];

pub fn trials() -> Vec<Trial> {
    let mut trials = Turns::with_trees(OPTIONS);
    for model in MODELS {
        trials.trial(format!("model_{}", model.name), |turn| {
            let scene = (model.build)().context("building it")?;
            scene.judge(turn)
        });
    }
    trials.trials()
}
