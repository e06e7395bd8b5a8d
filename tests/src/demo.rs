//! The demo: the article's six scenarios, one datagram each, with the trace as it comes.
//!
//! It shows on any machine with a kernel that can be traced what the article showed on a cluster,
//! and it is the first thing that the test suite does too: the same cluster, the same datagram.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::frontend::Frontend;
use crate::pair::Pair;
use crate::scenarios::models::{self, MODELS};
use crate::scenarios::{explained, machines};
use crate::topology::machine::Way;
use crate::topology::{self, CLIENT, CLIENT_PORT, Cluster, PORT, Plan, SERVER, SERVER2};
use crate::tracer::Tracer;
use crate::{traffic, wait};

/// What every demo traces unless the user says otherwise.
pub const OPTIONS: &[&str] = &["--route", "--iptable", "-H", CLIENT, "--proto", "udp"];

/// One of the article's scenarios.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// `cbr0` is promiscuous.
    pub promiscuous: bool,
    /// Where the client sends to.
    pub target: &'static str,
    /// The pod that is to receive.
    pub pod: &'static str,
    /// The scenario in words.
    pub title: &'static str,
}

/// The scenarios 1 to 6.
pub const SCENARIOS: [Scenario; 6] = [
    Scenario::new(
        true,
        topology::SERVICE,
        "a Service whose pod is on the same node",
    ),
    Scenario::new(
        true,
        topology::SERVICE2,
        "a Service whose pod is on the other node",
    ),
    Scenario::new(true, SERVER, "a pod on the same node"),
    Scenario::new(
        false,
        topology::SERVICE,
        "a Service whose pod is on the same node",
    ),
    Scenario::new(
        false,
        topology::SERVICE2,
        "a Service whose pod is on the other node",
    ),
    Scenario::new(false, SERVER, "a pod on the same node"),
];

impl Scenario {
    const fn new(promiscuous: bool, target: &'static str, title: &'static str) -> Self {
        let same_node = !matches!(target.as_bytes(), b"172.18.253.158");
        Self {
            promiscuous,
            target,
            pod: if same_node { SERVER } else { SERVER2 },
            title,
        }
    }

    /// The cluster it takes place in.
    pub fn plan(&self, frontend: Frontend) -> Plan {
        Plan {
            frontend: Some(frontend),
            promiscuous: self.promiscuous,
            second_node: self.pod == SERVER2,
            ..Plan::default()
        }
    }

    /// Sends the datagram; yields how many copies of it the pod received.
    pub fn send(&self, cluster: &Cluster) -> Result<usize> {
        let pod = match &cluster.second {
            Some(second) if self.pod == SERVER2 => &second.server2,
            _ => &cluster.server,
        };
        let receiver = traffic::udp_socket(pod, topology::at(self.pod, PORT)?)?;
        let sender = traffic::udp_socket(&cluster.client, topology::at(CLIENT, CLIENT_PORT)?)?;
        let payload = b"hello from the client";
        traffic::send(&sender, topology::at(self.target, PORT)?, payload)?;
        traffic::count_copies(&receiver, payload)
    }
}

/// What is traced of a cause unless the user says otherwise.
const EXPLAINING: &[&str] = &["--explain", "--format", "tree", "-H", explained::HOSTS];

/// Plays the network model or the scene of that name with the given options for skbtrace, or the
/// usual ones.
pub fn explain(name: &str, options: &[String]) -> Result<()> {
    if name == "list" {
        MODELS.iter().for_each(|model| println!("{}", model.name));
        explained::names().for_each(|name| println!("{name}"));
        println!("{}", machines::NAME);
        return Ok(());
    }
    if name == machines::NAME {
        return two_machines(options);
    }
    let Some(model) = models::find(name) else {
        let stage = explained::stage(name)?;
        return trace(EXPLAINING, options, || stage.play());
    };
    eprintln!("{name}: {}", model.title);
    let scene = (model.build)()?;
    let usual = [&["--explain", "--format", "tree"], model.options].concat();
    trace(&usual, options, || scene.play())
}

/// Traces with the given options, or the usual ones, what `play` makes happen.
fn trace(usual: &[&str], options: &[String], play: impl FnOnce() -> Result<()>) -> Result<()> {
    let options: Vec<&str> = if options.is_empty() {
        usual.to_vec()
    } else {
        options.iter().map(String::as_str).collect()
    };
    let mut tracer = Tracer::spawn(&options, Stdio::inherit(), Stdio::inherit())?;
    tracer.wait_ready()?;
    let played = play();
    let _ = tracer.signal(Signal::SIGTERM);
    let status = tracer.wait_end();
    played?;
    let status = status?;
    wait::check_interrupted()?;
    if !status.success() {
        bail!("skbtrace failed ({status})");
    }
    Ok(())
}

/// Plays an exchange between two machines, and shows what each of them told.
fn two_machines(options: &[String]) -> Result<()> {
    let options: Vec<&str> = if options.is_empty() {
        [machines::OPTIONS, &["--format", "tree"]].concat()
    } else {
        options.iter().map(String::as_str).collect()
    };
    let mut pair = Pair::meet()?;
    pair.lay(Way::Vxlan)?;
    pair.trace(&options)?;
    pair.exchange()?;
    for (outcome, which) in pair.stop()?.iter().zip(["first", "second"]) {
        println!("the {which} machine:\n{}\n", outcome.stdout.join("\n"));
        if outcome.code != Some(0) {
            bail!("skbtrace failed on the {which} machine: {}", outcome.said());
        }
    }
    Ok(())
}

/// Plays scenario `number` (1 to 6) with the given options for skbtrace, or the usual ones.
pub fn play(number: u8, frontend: Option<Frontend>, options: &[String]) -> Result<()> {
    let scenario = usize::from(number)
        .checked_sub(1)
        .and_then(|index| SCENARIOS.get(index))
        .with_context(|| format!("there is no scenario {number}; there are 1 to 6"))?;
    let frontend = frontend.map_or_else(Frontend::first_that_works, Ok)?;
    eprintln!(
        "scenario {number}: {CLIENT} sends one UDP datagram to {}:{PORT}, {}; cbr0 is {}; {}",
        scenario.target,
        scenario.title,
        if scenario.promiscuous {
            "promiscuous"
        } else {
            "not promiscuous"
        },
        frontend.command(),
    );
    let cluster = Cluster::build(scenario.plan(frontend))?;
    let options: Vec<&str> = if options.is_empty() {
        OPTIONS.to_vec()
    } else {
        options.iter().map(String::as_str).collect()
    };
    let mut tracer = Tracer::spawn(&options, Stdio::inherit(), Stdio::inherit())?;
    tracer.wait_ready()?;
    let copies = scenario.send(&cluster);
    // On Ctrl-C the terminal has told skbtrace already, which may be gone by now.
    let _ = tracer.signal(Signal::SIGTERM);
    let status = tracer.wait_end();
    let (copies, status) = (copies?, status?);
    wait::check_interrupted()?;
    println!(
        "server received {copies} {} of 1 datagram",
        if copies == 1 { "copy" } else { "copies" }
    );
    if !status.success() {
        bail!("skbtrace failed ({status})");
    }
    Ok(())
}
