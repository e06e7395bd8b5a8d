//! The corpus: small recordings of what the suite is about, made on the kernel at hand.
//!
//! Each is made as a trial would: a network, `skbtrace -w`, a packet or a few. What the run printed
//! (`--wide`) goes with it, so that a replay elsewhere can be held to it. The files leave a guest over
//! its console, as lines `corpus FILE HEX`, ended by `corpus FILE .`.

use std::fs;
use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::demo::{self, SCENARIOS};
use crate::frontend::Frontend;
use crate::pair::Pair;
use crate::scenarios::Skip;
use crate::scenarios::drops::{self, Shot};
use crate::scenarios::explained::{self, Stage};
use crate::scenarios::machines;
use crate::scenarios::models::{self, MODELS, Model};
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::machine::Way;
use crate::topology::node::{self, Routed};
use crate::topology::nodes;
use crate::topology::tunnel::{Kind, Tunnel};
use crate::topology::{self, CLIENT_PORT, Cluster, Ip, PORT, Plan, at};
use crate::tracer::{Scratch, Tracer};
use crate::traffic::{self, exchange::Exchange};

/// Bytes of a file that go in a line.
const LINE: usize = 512;
/// Datagrams sent at a tracer that stands still: more than its buffer holds.
const TOO_MANY: usize = 40;

/// What is recorded.
struct Scene {
    name: String,
    options: &'static [&'static str],
    /// Sets the scene; what is traced comes from firing the shot.
    prepare: Box<dyn Fn() -> Result<Shot>>,
    /// The tracer stands still meanwhile.
    stopped: bool,
    /// What the run printed is kept too.
    printed: bool,
}

impl Scene {
    fn new(
        name: impl Into<String>,
        options: &'static [&'static str],
        prepare: impl Fn() -> Result<Shot> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            options,
            prepare: Box::new(prepare),
            stopped: false,
            printed: true,
        }
    }

    /// A network model, whose recording is told as a tree elsewhere.
    fn of(model: &'static Model) -> Self {
        let set = || Ok(Shot::new((model.build)()?, models::Scene::play));
        Self {
            printed: false,
            ..Self::new(format!("model_{}", model.name), model.options, set)
        }
    }

    /// The recording, and what the run printed.
    fn record(&self) -> Result<[Vec<u8>; 2]> {
        let shot = (self.prepare)()?;
        let scratch = Scratch::create()?;
        let files = ["recording", "printed"].map(|name| scratch.path().join(name));
        let [recording, printed] = files
            .each_ref()
            .map(|path| path.to_str().unwrap_or_default());
        let keep = ["-w", recording, "--print", "--wide", "-o", printed];
        let tracer = Tracer::start(&[self.options, &keep].concat())?;
        if self.stopped {
            tracer.signal(Signal::SIGSTOP)?;
        }
        let fired = shot.fire();
        if self.stopped {
            tracer.signal(Signal::SIGCONT)?;
        }
        let outcome = tracer.stop_unparsed()?;
        fired?;
        outcome.explain((|| {
            ensure!(outcome.code == Some(0), "exit code {:?}", outcome.code);
            let lost = outcome.lost.context("no account")?;
            ensure!((lost > 0) == self.stopped, "{lost} events were lost");
            Ok(())
        })())?;
        let [recording, printed] = files
            .map(|path| fs::read(&path).with_context(|| format!("cannot read {}", path.display())));
        Ok([recording?, printed?])
    }
}

/// Makes the recordings whose names contain `filter`.
pub fn make(filter: Option<&str>) -> Result<()> {
    for scene in scenes() {
        let name = &scene.name;
        if !filter.is_none_or(|filter| name.contains(filter)) {
            continue;
        }
        match scene.record() {
            Ok([recording, printed]) => {
                show(&format!("{name}.skb"), &recording)?;
                if scene.printed {
                    show(&format!("{name}.wide"), &printed)?;
                }
            }
            Err(error) => match error.downcast_ref::<Skip>() {
                Some(skip) => println!("SKIP {name}: {skip}"),
                None => return Err(error.context(format!("corpus: {name}"))),
            },
        }
    }
    if filter.is_none_or(|filter| machines::NAME.contains(filter)) {
        match on_two_machines() {
            Err(error) if error.is::<Skip>() => println!("SKIP {}: {error}", machines::NAME),
            done => done.context("corpus: on two machines")?,
        }
    }
    if filter.is_none_or(|filter| EXPLAINED.contains(filter)) {
        let [recording, told] = explained::record().context("corpus: what is explained")?;
        show(&format!("{EXPLAINED}.skb"), &recording)?;
        show(&format!("{EXPLAINED}.told"), &told)?;
    }
    Ok(())
}

/// What each of two machines sees of a question through a tunnel between them, and of its answer.
fn on_two_machines() -> Result<()> {
    let mut pair = Pair::meet()?;
    pair.lay(Way::Vxlan)?;
    let kept = pair.record(machines::OPTIONS)?;
    for (kept, which) in kept.iter().zip(["first", "second"]) {
        let name = format!("{}_{which}", machines::NAME);
        show(&format!("{name}.skb"), &kept.recording)?;
        show(&format!("{name}.wide"), &kept.printed)?;
    }
    Ok(())
}

/// The name of the recording of all that is explained.
const EXPLAINED: &str = "explained";

fn show(file: &str, bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in bytes.chunks(LINE) {
        let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "corpus {file} {hex}")?;
    }
    writeln!(out, "corpus {file} .").context("cannot write")
}

fn scenes() -> Vec<Scene> {
    let article = (1..).zip(SCENARIOS).map(|(number, scenario)| {
        Scene::new(format!("article_{number}"), demo::OPTIONS, move || {
            let cluster = Cluster::build(scenario.plan(Frontend::first_that_works()?))?;
            Ok(Shot::new(cluster, move |cluster| {
                scenario.send(cluster).map(drop)
            }))
        })
    });
    let others = [
        Scene::new(
            "service_nft",
            &["--set=route,nft,nat", "-H", node::ENDS, "--proto", "udp"],
            || through_service(Ip::V4),
        ),
        Scene::new(
            "service_ipv6",
            &["--set=route,nft,nat", "-H", node::ENDS, "--proto", "udp"],
            || through_service(Ip::V6),
        ),
        Scene::new(
            "masquerade",
            &["--set=iptable,nat,netfilter,socket", "-H", node::ENDS],
            masqueraded,
        ),
        Scene::new(
            "conntrack",
            &["--set=conntrack,nat", "-H", node::ENDS, "--proto", "udp"],
            || through_service(Ip::V4),
        ),
        Scene::new(
            "drop_by_rule",
            &["--set=route,nft,netfilter,drop", "-H", LEFT],
            || drops::prepare("nft_rule"),
        ),
        Scene::new(
            "drop_no_socket",
            &["--route", "--dropstack", "-H", LEFT],
            || drops::prepare("udp_no_socket"),
        ),
        Scene::new(
            "segments",
            &[
                "--set=route,socket",
                "--src",
                node::CLIENT,
                "--proto",
                "tcp",
            ],
            segments,
        ),
        Scene::new("fragments", &["--route", "-P", "9999"], fragments),
        Scene::new(
            "vxlan",
            &["--set=route,tunnel", "-H", topology::tunnel::SERVERS],
            vxlan,
        ),
        Scene::new(
            "native_bgp",
            &["--route", "--explain", "-H", nodes::PODS],
            || staged("native_bgp"),
        ),
        Scene::new("queue", &["--qdisc", "-H", LEFT, "--proto", "udp"], queue),
        Scene::new(
            "neighbour",
            &["--set=route,neigh", "-H", topology::CLIENT],
            neighbour,
        ),
        Scene {
            stopped: true,
            ..Scene::new(
                "lost",
                &[
                    "--buffer",
                    "4K",
                    "--no-follow",
                    "-H",
                    LEFT,
                    "--proto",
                    "udp",
                ],
                lost,
            )
        },
    ];
    let models = MODELS.iter().map(Scene::of);
    article.chain(others).chain(models).collect()
}

/// A question to the Service and its answer.
fn through_service(ip: Ip) -> Result<Shot> {
    let routed = Routed::build_for(ip)?;
    routed.serve_by_dnat(Frontend::Nft)?;
    let service = routed.addresses().service()?;
    let exchange = routed.exchange()?;
    Ok(Shot::new((routed, exchange), move |(_, exchange)| {
        let seen = exchange.ask(service)?;
        exchange.answer(seen, service)
    }))
}

/// A question whose sender's address is the node's on its way, and the answer.
fn masqueraded() -> Result<Shot> {
    let routed = Routed::build()?;
    routed.masquerade(Frontend::first_that_works()?)?;
    let server = routed.addresses().server()?;
    let exchange = routed.exchange()?;
    Ok(Shot::new((routed, exchange), move |(_, exchange)| {
        let seen = exchange.ask(server)?;
        exchange.answer(seen, server)
    }))
}

/// A few segments' worth of TCP, sent as one packet that the node cuts.
fn segments() -> Result<Shot> {
    let routed = Routed::build()?;
    routed.cut_at_the_end()?;
    let to = routed.addresses().server()?;
    Ok(Shot::new(routed, move |routed| {
        traffic::stream::send_at_once(&routed.client, to, &routed.server, to, 3000).map(drop)
    }))
}

/// A datagram of three fragments.
fn fragments() -> Result<Shot> {
    let link = Link::build()?;
    let exchange = between(&link)?;
    Ok(Shot::new((link, exchange), |(_, exchange)| {
        exchange.ask_with(at(RIGHT, PORT)?, &[b'x'; 4000]).map(drop)
    }))
}

fn between(link: &Link) -> Result<Exchange> {
    Exchange::open(
        (&link.left, at(LEFT, CLIENT_PORT)?),
        (&link.right, at(RIGHT, PORT)?),
    )
}

fn vxlan() -> Result<Shot> {
    let tunnel = Tunnel::build(Kind::Vxlan)?;
    let exchange = tunnel.exchange()?;
    let [_, server] = tunnel.inner()?;
    Ok(Shot::new((tunnel, exchange), move |(_, exchange)| {
        exchange.ask(server).map(drop)
    }))
}

/// What is explained, as a trial plays it.
fn staged(name: &'static str) -> Result<Shot> {
    Ok(Shot::new(explained::stage(name)?, Stage::play))
}

/// Two datagrams, each of which waits 20 ms.
fn queue() -> Result<Shot> {
    let link = Link::build()?;
    let netem = [
        "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "20ms",
    ];
    link.left.run("tc", &netem)?;
    let exchange = between(&link)?;
    Ok(Shot::new((link, exchange), |(_, exchange)| {
        exchange.ask(at(RIGHT, PORT)?)?;
        exchange.ask(at(RIGHT, PORT)?).map(drop)
    }))
}

/// A datagram that waits until the other pod's hardware address is known.
fn neighbour() -> Result<Shot> {
    let cluster = Cluster::build(Plan {
        dynamic_neighbours: true,
        ..Plan::default()
    })?;
    let server = at(topology::SERVER, PORT)?;
    let receiver = traffic::udp_socket(&cluster.server, server)?;
    let sender = traffic::udp_socket(&cluster.client, at(topology::CLIENT, CLIENT_PORT)?)?;
    cluster.client.ip("neigh flush dev eth0\n")?;
    Ok(Shot::new(
        (cluster, sender, receiver),
        move |(_, sender, receiver)| {
            traffic::send(sender, server, b"who are you?")?;
            traffic::receive(receiver).map(drop)
        },
    ))
}

/// More than the tracer's buffer takes.
fn lost() -> Result<Shot> {
    let link = Link::build()?;
    let exchange = between(&link)?;
    Ok(Shot::new((link, exchange), |(_, exchange)| {
        for _ in 0..TOO_MANY {
            exchange.ask(at(RIGHT, PORT)?)?;
        }
        Ok(())
    }))
}
