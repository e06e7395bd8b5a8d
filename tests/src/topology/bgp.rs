//! Two nodes that tell each other by BGP where their pods are, as Calico's nodes do: BIRD learns the
//! other's routes and gives them to the kernel.
//!
//! The nodes of [`super::nodes`], as namespaces with a cable between them.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::nodes::Side;
use crate::netns::Netns;
use crate::process;
use crate::scenarios::skip;
use crate::tracer::Scratch;
use crate::traffic::exchange::Exchange;
use crate::wait::{self, LONG, SOON};

/// The two nodes; dropping it removes everything.
pub struct Bgp {
    // The daemons end before their namespaces.
    birds: [Bird; 2],
    nodes: [Netns; 2],
    pods: [Netns; 2],
}

impl Bgp {
    /// Builds the nodes and waits until each has learnt its route. Skips where there is no BIRD.
    pub fn build() -> Result<Self> {
        let sides = [Side::First, Side::Second];
        let nodes = [sides[0].create()?, sides[1].create()?];
        nodes[0].ip(&format!(
            "link add eth0 address {} type veth peer name eth0 address {} netns {}\n",
            sides[0].node_mac(),
            sides[1].node_mac(),
            nodes[1].name(),
        ))?;
        for (side, node) in sides.iter().zip(&nodes) {
            side.connect(node)?;
        }
        let pods = [sides[0].give_pod(&nodes[0])?, sides[1].give_pod(&nodes[1])?];
        let birds = [
            Bird::start(sides[0], &nodes[0])?,
            Bird::start(sides[1], &nodes[1])?,
        ];
        let bgp = Self { birds, nodes, pods };
        for side in sides {
            let learnt = wait::until("a route by BGP", LONG, || {
                Ok((!bgp.routes(side)?.is_empty()).then_some(()))
            });
            learnt.with_context(|| bgp.bird(side).said())?;
        }
        bgp.exchange()?.ask(Side::Second.pod()?)?;
        Ok(bgp)
    }

    /// Opens the pods' sockets.
    pub fn exchange(&self) -> Result<Exchange> {
        let [first, second] = &self.pods;
        Exchange::open((first, Side::First.pod()?), (second, Side::Second.pod()?))
    }

    /// The routes that a node's kernel got from BIRD, as `ip` tells them.
    pub fn routes(&self, side: Side) -> Result<String> {
        let told = self
            .node(side)
            .run("ip", &["route", "show", "proto", "bird"])?;
        Ok(told.trim().to_owned())
    }

    /// Ends a node's BIRD, which takes back what it told, and waits until the other has forgotten it.
    pub fn withdraw(&self, side: Side) -> Result<()> {
        self.bird(side).end()?;
        wait::until("the route to be withdrawn", SOON, || {
            Ok(self.routes(side.other())?.is_empty().then_some(()))
        })
    }

    /// A node.
    pub fn node(&self, side: Side) -> &Netns {
        &self.nodes[usize::from(side == Side::Second)]
    }

    /// Its pod.
    pub fn pod(&self, side: Side) -> &Netns {
        &self.pods[usize::from(side == Side::Second)]
    }

    fn bird(&self, side: Side) -> &Bird {
        &self.birds[usize::from(side == Side::Second)]
    }
}

/// A running BIRD.
struct Bird {
    child: Child,
    directory: Scratch,
}

impl Bird {
    fn start(side: Side, node: &Netns) -> Result<Self> {
        if let Err(error) = process::run("bird", &["--version"]) {
            return skip(format!(
                "no BIRD here (cargo xtask setup fetches it): {error:#}"
            ));
        }
        let directory = Scratch::create()?;
        let file = |name| directory.path().join(name);
        let log = file("log").display().to_string();
        fs::write(file("conf"), configuration(side, &log)).context("cannot write bird's file")?;
        let mut command = Command::new("bird");
        command
            .arg("-f")
            .arg("-c")
            .arg(file("conf"))
            .arg("-s")
            .arg(file("control"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Of its own, so that Ctrl-C does not end it before the namespaces are removed.
        command.process_group(0);
        let child = node.enter(|| command.spawn().context("cannot run bird"))?;
        Ok(Self { child, directory })
    }

    /// What it wrote to its log.
    fn said(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log"));
        format!("bird said:\n{}", log.unwrap_or_default())
    }

    fn end(&self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process id")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("cannot end bird")
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        // Nothing to do about a failure: either it is gone or it cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a node tells: the network of its pods' device. What it takes: all that the other one tells.
fn configuration(side: Side, log: &str) -> String {
    let peer = side.other();
    let (own_system, peer_system) = (
        64511 + u32::from(side.number()),
        64511 + u32::from(peer.number()),
    );
    let (own, peer) = (side.node(), peer.node());
    format!(
        "log \"{log}\" all;\n\
         router id {own};\n\
         protocol device {{ }}\n\
         protocol direct {{ ipv4; interface \"pod0\"; }}\n\
         protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}\n\
         protocol bgp {{\n\
           local {own} as {own_system};\n\
           neighbor {peer} as {peer_system};\n\
           connect delay time 1;\n\
           connect retry time 1;\n\
           error wait time 1, 2;\n\
           ipv4 {{ import all; export where source = RTS_DEVICE; }};\n\
         }}\n"
    )
}
