//! Programs and filters that drop: which one it was.

use std::cell::RefCell;
use std::net::UdpSocket;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};

use super::super::stage::Stage;
use super::{lost, near::tc};
use crate::scenarios::skip;
use crate::told::Told;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::traffic;
use crate::xdp::{TcDrop, XdpDrop};

/// Hosts at both ends of a cable, and whatever drops what the one sends to the other.
struct Scene<T> {
    link: Link,
    sender: UdpSocket,
    /// Made before there is a packet, or when it is about to be sent.
    drops: RefCell<Option<T>>,
}

impl<T> Scene<T> {
    fn build() -> Result<Self> {
        let link = Link::build()?;
        let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
        let drops = RefCell::new(None);
        Ok(Self {
            link,
            sender,
            drops,
        })
    }

    fn send(&self) -> Result<()> {
        lost(|| traffic::send(&self.sender, at(RIGHT, PORT)?, b"anybody?"))
    }
}

/// The one finding names what did it.
fn names(told: &[Told], text: &str) -> Result<()> {
    let [told] = told else {
        anyhow::bail!("one finding, and not {}", told.len());
    };
    ensure!(
        told.sentence.contains(text),
        "{} names {text}",
        told.sentence
    );
    ensure!(told.confidence == "certain", "{}", told.confidence);
    Ok(())
}

/// A filter that drops, among others that cannot; all were there before the tracer.
pub fn tc_filter() -> Result<Stage> {
    Stage::build_to_cure(
        || {
            let scene = Scene::<()>::build()?;
            tc(&scene.link.right, "qdisc add dev eth0 clsact")?;
            for filter in [
                "ingress protocol ip pref 1 flower ip_proto udp dst_port 7 action pass",
                "ingress protocol ip pref 2 flower ip_proto udp action drop",
                "egress protocol ip pref 3 flower ip_proto udp action drop",
            ] {
                tc(&scene.link.right, &format!("filter add dev eth0 {filter}"))?;
            }
            Ok(scene)
        },
        Scene::send,
        |_, told| {
            names(
                told,
                "the tc filter flower (pref 2, handle 0x1) at ingress of eth0",
            )
        },
    )
}

/// Two that could have dropped it.
pub fn tc_filters() -> Result<Stage> {
    Stage::build_to_cure(
        || {
            let scene = Scene::<()>::build()?;
            tc(&scene.link.left, "qdisc add dev eth0 clsact")?;
            for filter in [
                "pref 1 flower ip_proto udp dst_port 7 action drop",
                "pref 2 matchall action drop",
            ] {
                let filter = format!("filter add dev eth0 egress protocol ip {filter}");
                tc(&scene.link.left, &filter)?;
            }
            Ok(scene)
        },
        |scene| {
            lost(|| {
                // The sender is told.
                let _ = traffic::send(&scene.sender, at(RIGHT, PORT)?, b"anybody?");
                Ok(())
            })
        },
        |_, told| {
            names(told, "a tc filter or program at egress of eth0")?;
            let check = told.first().map_or("", |told| &told.check);
            let both = "one of: tc filter flower (pref 1, handle 0x1), tc filter matchall (pref 2, handle 0x1)";
            ensure!(check.contains(both), "{check}");
            Ok(())
        },
    )
}

/// A program in a queueing discipline's place, that came when the tracer was there.
pub fn tc_program() -> Result<Stage> {
    const FILES: &str = "/tmp/skbtrace-bpf";
    Stage::build_to_cure(
        || {
            let scene = Scene::build()?;
            std::fs::create_dir_all(FILES)?;
            mount(
                Some("bpf"),
                FILES,
                Some("bpf"),
                MsFlags::empty(),
                None::<&str>,
            )
            .context("a file system of type bpf")?;
            tc(&scene.link.right, "qdisc add dev eth0 clsact")?;
            Ok(scene)
        },
        |scene| {
            let program = TcDrop::load()?;
            program.pin(c"/tmp/skbtrace-bpf/drop")?;
            let filter = "filter add dev eth0 ingress pref 5 bpf da object-pinned";
            tc(&scene.link.right, &format!("{filter} {FILES}/drop"))?;
            scene.drops.replace(Some(program));
            scene.send()
        },
        |_, told| {
            names(told, "the tc program ")?;
            names(told, " (pref 5, handle 0x1, id ")
        },
    )
}

/// A program without a discipline.
pub fn tcx_program() -> Result<Stage> {
    Stage::build_to_cure(
        Scene::build,
        |scene| {
            let program = TcDrop::load()?;
            match program.attach(&scene.link.right, "eth0") {
                Ok(link) => scene.drops.replace(Some(link)),
                Err(error) => return skip(format!("{error:#}")),
            };
            scene.send()
        },
        |_, told| names(told, "the tcx program skbtrace_drop (id "),
    )
}

/// One of XDP, where there is an `sk_buff`.
pub fn xdp_program() -> Result<Stage> {
    Stage::build_to_cure(
        Scene::build,
        |scene| {
            let program = XdpDrop::attach(&scene.link.right, "eth0")?;
            scene.drops.replace(Some(program));
            scene.send()
        },
        |_, told| names(told, "the XDP program skbtrace_drop (id "),
    )
}
