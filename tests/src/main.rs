//! Scenarios on a real kernel: the demo and the test suite of skbtrace.
//!
//! Everything here runs as root on the kernel it is started on, usually that of a virtual machine,
//! and builds its networks out of network namespaces, which it removes again. Nothing is traced but
//! through the command `skbtrace` itself, so that what is tested is what users get.

mod bench;
mod capture;
mod corpus;
mod counters;
mod demo;
mod disk;
mod family;
mod frame;
mod frontend;
mod kernel_trace;
mod netns;
mod overlay;
mod pair;
mod process;
mod row;
mod scenarios;
mod story;
mod told;
mod topology;
mod tracer;
mod traffic;
mod wait;
mod xdp;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use frontend::Frontend;

/// How many trials a run names with their time.
const SLOWEST: usize = 10;

/// Demonstrates and tests skbtrace in network namespaces. Needs root.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Plays one of the article's scenarios and shows its trace.
    Demo {
        /// 1 to 3 with a promiscuous bridge, 4 to 6 without: to a Service on the same node, to a
        /// Service on another node, to a pod on the same node.
        /// Or a network model, or a cause, by its name: its packets, explained. Or `two_machines`,
        /// where there is a second one. `list` names them all.
        #[arg(long)]
        scenario: String,
        /// Which iptables the node uses [default: legacy where it works].
        #[arg(long)]
        frontend: Option<Frontend>,
        /// Options for skbtrace instead of `--route --iptable -H 172.18.0.15 --proto udp`.
        #[arg(last = true)]
        options: Vec<String>,
    },
    /// Runs the test suite.
    Run {
        /// Only the trials whose name contains this.
        #[arg(long)]
        filter: Option<String>,
        /// Only list the trials.
        #[arg(long)]
        list: bool,
        /// How long each trial took, and not only the slowest.
        #[arg(long)]
        times: bool,
    },
    /// Is the second machine of trials that need two: does what the first one says.
    Second,
    /// Makes the recordings of the corpus and prints them, for `cargo xtask corpus`.
    Corpus {
        /// Only those whose name contains this.
        #[arg(long)]
        filter: Option<String>,
    },
    /// Carries packets from a tun device over UDP; started by those who know how.
    #[command(name = overlay::SUBCOMMAND, hide = true)]
    Overlay,
    /// Counts what skbtrace costs, in instructions; needs one CPU that counts them.
    Bench {
        /// Only what has this in its title.
        #[arg(long)]
        filter: Option<String>,
        /// Only what a rejected hit costs.
        #[arg(long)]
        rejected: bool,
        /// Other tracers too, from the disk at /dev/vda.
        #[arg(long)]
        peers: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.task {
        Task::Demo {
            scenario,
            frontend,
            options,
        } => prepare()
            .and_then(|()| match scenario.parse() {
                Ok(number) => demo::play(number, frontend, &options),
                Err(_) => demo::explain(&scenario, &options),
            })
            .map(|()| ExitCode::SUCCESS),
        Task::Run {
            filter,
            list,
            times,
        } => {
            let prepared = if list { Ok(()) } else { prepare() };
            let told = if times { usize::MAX } else { SLOWEST };
            prepared.map(|()| scenarios::run(filter, list, told))
        }
        Task::Second => prepare()
            .and_then(|()| pair::serve())
            .map(|()| ExitCode::SUCCESS),
        Task::Corpus { filter } => prepare()
            .and_then(|()| corpus::make(filter.as_deref()))
            .map(|()| ExitCode::SUCCESS),
        Task::Overlay => overlay::run().map(|()| ExitCode::SUCCESS),
        Task::Bench {
            filter,
            rejected,
            peers,
        } => prepare()
            .and_then(|()| {
                bench::run(&bench::Options {
                    filter,
                    rejected,
                    peers,
                })
            })
            .map(|all_measured| ExitCode::from(u8::from(!all_measured))),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("skbtrace-tests: {error:#}");
        ExitCode::from(2)
    })
}

fn prepare() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("network namespaces and tracing need root; try again with sudo");
    }
    wait::catch_signals()?;
    netns::sweep();
    Ok(())
}
