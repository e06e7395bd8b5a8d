//! The command line: one definition that parses it, prints its help and writes the completions and
//! the manual page.
//!
//! Tracing needs no subcommand, so its options stand at the top. The options that choose sets of
//! hooks are made from the catalogue: **a new set there is a new option here**.
//!
//! A value that is wrong by itself is refused here, by clap, with the option's name in front; what
//! depends on the machine or on other options is for [`Settings`](crate::settings::Settings).

mod explain;
mod files;
mod help;
mod sets;
mod value;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use regex::Regex;

pub use explain::ExplainArgs;
pub use files::RecordingArgs;
pub use help::{SECTIONS, version};
pub use sets::Sets;

use crate::{
    filter::{Interface, MarkBits, Prefix, Protocol, value as filter_value},
    kernel::netns::NetnsSpec,
    settings::{Backend, ColorChoice, FormatChoice, Transport},
};

/// What was asked for.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// Trace packets.
    Trace(TraceArgs),
    /// List the hooks.
    Hooks {
        /// Bits of the catalogue's sets.
        sets: u32,
        /// `--btf`.
        btf: Option<PathBuf>,
    },
    /// Tell what this kernel can do.
    Check {
        /// `--btf`.
        btf: Option<PathBuf>,
    },
    /// Print a completion script.
    Completions(Shell),
    /// Print the manual page.
    Man,
    /// Tell what a recording holds.
    Replay(ReplayArgs),
    /// Print the schema of the lines of JSON.
    Schema,
    /// Show packets while they pass.
    Top(TopArgs),
}

/// The options of tracing.
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// Where to listen.
    #[command(flatten)]
    pub hooks: HookArgs,
    /// Which packets.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// What is printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Stacks.
    #[command(flatten)]
    pub stacks: StackArgs,
    /// What is explained.
    #[command(flatten)]
    pub explain: ExplainArgs,
    /// What is kept.
    #[command(flatten)]
    pub recording: RecordingArgs,
    /// How it is done.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Tell more about what is done; repeat for still more
    #[arg(short, long, action = ArgAction::Count, help_heading = "Other")]
    pub verbose: u8,
}

/// Where to listen.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Hooks")]
pub struct HookArgs {
    /// One option for each set.
    #[command(flatten)]
    pub sets: Sets,
    /// Every function that takes a packet, and the sets named
    #[arg(id = sets::EVERYTHING, long = sets::EVERYTHING)]
    pub all: bool,
    /// Of --all, only those of this module, or of vmlinux
    #[arg(
        long = "module",
        value_name = "MOD",
        value_delimiter = ',',
        requires = sets::EVERYTHING
    )]
    pub modules: Vec<String>,
    /// Of those, only functions whose name matches
    #[arg(long, value_name = "REGEX", value_parser = value::regex)]
    pub func: Option<Regex>,
}

/// Which packets: options combine with AND, values of one option with OR.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Source or destination is in this IPv4 or IPv6 prefix
    #[arg(
        short = 'H',
        long,
        alias = "ipaddr",
        value_name = "ADDR[/LEN]",
        value_delimiter = ','
    )]
    pub host: Vec<Prefix>,
    /// Source is in it
    #[arg(long, value_name = "ADDR[/LEN]", value_delimiter = ',')]
    pub src: Vec<Prefix>,
    /// Destination is in it
    #[arg(long, value_name = "ADDR[/LEN]", value_delimiter = ',')]
    pub dst: Vec<Prefix>,
    /// Source or destination port
    #[arg(short = 'P', long, value_name = "PORT", value_delimiter = ',', value_parser = filter_value::port)]
    pub port: Vec<u16>,
    /// Source port
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = filter_value::port)]
    pub sport: Vec<u16>,
    /// Destination port
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = filter_value::port)]
    pub dport: Vec<u16>,
    /// tcp, udp, icmp, icmp6, any or a number
    #[arg(long, value_name = "PROTO", value_delimiter = ',')]
    pub proto: Vec<Protocol>,
    /// Identifier of ICMP and ICMPv6 echo messages
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = filter_value::icmp_id)]
    pub icmpid: Vec<u16>,
    /// Interface the packet is at
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    pub iface: Vec<Interface>,
    /// Network namespace: inode, name, path or pid:PID
    #[arg(short = 'N', long, value_name = "NETNS", value_delimiter = ',')]
    pub netns: Vec<NetnsSpec>,
    /// Process running when the packet passes (see below)
    #[arg(short, long, value_name = "PID", value_delimiter = ',', value_parser = filter_value::pid)]
    pub pid: Vec<u32>,
    /// Packet mark, of which the bits in MASK count
    #[arg(long, value_name = "V[/MASK]", value_delimiter = ',')]
    pub mark: Vec<MarkBits>,
}

/// What is printed, and how long.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Stop after N events
    #[arg(short, long, alias = "catch-count", value_name = "N", value_parser = value::count)]
    pub count: Option<u64>,
    /// Stop after so many seconds, like 10 or 0.5
    #[arg(long, value_name = "SECONDS", value_parser = value::duration)]
    pub duration: Option<Duration>,
    /// Print seconds since boot, with microseconds
    #[arg(short, long, conflicts_with = "time")]
    pub timestamp: bool,
    /// Print the wall clock, HH:MM:SS.micro (default)
    #[arg(short = 'T', long)]
    pub time: bool,
    /// table; wide: with CPU, LEN, MARK, PID, COMM, the netns
    /// name, ID, STAGE and LINK; json: an object a line;
    /// tree: one block a packet; summary: what became of
    /// all, at the end
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    pub format: FormatChoice,
    /// The same as --format wide
    #[arg(long, conflicts_with = "format")]
    pub wide: bool,
    /// auto, always or never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub color: ColorChoice,
    /// Leave out the line of column names
    #[arg(long)]
    pub no_header: bool,
    /// Print to FILE
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Stacks under events.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct StackArgs {
    /// Print the stack under each drop (implies --drop)
    #[arg(id = sets::DROP_STACK, long = sets::DROP_STACK)]
    pub drop_stack: bool,
    /// Print the stack under every event
    #[arg(long = "callstack")]
    pub call_stack: bool,
}

/// The options of a replay.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// What --write wrote; of several files of a run all, in their order; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Show only what these sets listen to
    #[arg(
        long = "set",
        value_name = "SET",
        value_delimiter = ',',
        value_parser = sets::named(),
        hide_possible_values = true,
        help_heading = "Hooks"
    )]
    pub sets: Vec<String>,
    /// Show only functions whose name matches
    #[arg(long, value_name = "REGEX", value_parser = value::regex, help_heading = "Hooks")]
    pub func: Option<Regex>,
    /// Which packets.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// Show only what matches the filter itself, not what becomes of it
    #[arg(long, help_heading = "Filters")]
    pub no_follow: bool,
    /// What is printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// What is explained.
    #[command(flatten)]
    pub explain: ExplainArgs,
    /// What is kept.
    #[command(flatten)]
    pub recording: RecordingArgs,
    /// Tell more about the run
    #[arg(short, long, action = ArgAction::Count, help_heading = "Other")]
    pub verbose: u8,
}

impl ReplayArgs {
    /// Bits of the sets that are shown.
    #[must_use]
    pub fn set_bits(&self) -> u32 {
        sets::bits(&self.sets)
    }
}

/// The options of the live view.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// Where to listen.
    #[command(flatten)]
    pub hooks: HookArgs,
    /// Which packets.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// Also say why packets are lost, doubled, late or sent elsewhere
    #[arg(long, help_heading = "Explaining")]
    pub explain: bool,
    /// How it is done.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Tell more about the run, before and after
    #[arg(short, long, action = ArgAction::Count, help_heading = "Other")]
    pub verbose: u8,
}

impl From<TopArgs> for TraceArgs {
    /// The run that it looks at: journeys, and nothing printed or kept.
    fn from(args: TopArgs) -> Self {
        Self {
            hooks: args.hooks,
            filters: args.filters,
            output: OutputArgs {
                count: None,
                duration: None,
                timestamp: false,
                time: false,
                format: FormatChoice::Tree,
                wide: false,
                color: ColorChoice::Never,
                no_header: true,
                output: None,
            },
            stacks: StackArgs {
                drop_stack: false,
                call_stack: false,
            },
            explain: ExplainArgs::with_defaults(args.explain),
            recording: RecordingArgs::default(),
            engine: args.engine,
            // More would be written onto the screen.
            verbose: args.verbose.min(1),
        }
    }
}

/// How packets are listened to.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Engine")]
pub struct EngineArgs {
    /// Read the kernel's types from FILE
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Attach by: auto, fentry, kprobe-multi, kprobe
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub backend: Backend,
    /// Show only what matches the filter itself, not what becomes of it
    #[arg(long)]
    pub no_follow: bool,
    /// Packets followed at a time
    #[arg(
        long,
        value_name = "N",
        default_value = "65536",
        value_parser = value::packets,
        conflicts_with = "no_follow"
    )]
    pub follow_max: std::num::NonZeroU32,
    /// Hand over by: auto, ringbuf, perf
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub transport: Transport,
    /// Event buffer, all CPUs together
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = value::size)]
    pub buffer: usize,
    /// Create PATH once all is attached (for scripts)
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
    /// Load whole programs and not specialised ones, as where the kernel refuses these (for tests)
    #[arg(long, hide = true)]
    pub whole_programs: bool,
}

#[derive(Debug, Parser)]
#[command(name = "skbtrace", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    trace: TraceArgs,
    #[command(subcommand)]
    command: Option<Other>,
}

#[derive(Debug, Subcommand)]
enum Other {
    /// List the functions that are listened on, and which of them this kernel has
    Hooks {
        /// Only these sets
        #[arg(long = "set", value_name = "SET", value_delimiter = ',', value_parser = sets::named())]
        sets: Vec<String>,
        /// Read the kernel's types from FILE
        #[arg(long, value_name = "FILE")]
        btf: Option<PathBuf>,
    },
    /// Tell whether this kernel can be traced, and how
    Check {
        /// Read the kernel's types from FILE
        #[arg(long, value_name = "FILE")]
        btf: Option<PathBuf>,
    },
    /// Print what a recording holds, by any of the filters and formats
    Replay(Box<ReplayArgs>),
    /// Show flows, fates and times live, with the tree of any packet
    Top(Box<TopArgs>),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
    /// Print the JSON Schema of the lines of --format json
    Schema,
}

/// The definition, complete with help texts.
#[must_use]
pub fn command() -> Command {
    help::dress(Cli::command())
}

/// Parses a command line, the program's name first.
///
/// # Errors
/// What clap has to say instead: a refusal, but also the help and the version.
pub fn parse<I, T>(line: I) -> Result<Invocation, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let mut command = command();
    let cli = command
        .try_get_matches_from_mut(line)
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|error| error.format(&mut command))?;
    Ok(match cli.command {
        None => Invocation::Trace(cli.trace),
        Some(Other::Hooks { sets, btf }) => Invocation::Hooks {
            sets: sets::bits(&sets),
            btf,
        },
        Some(Other::Check { btf }) => Invocation::Check { btf },
        Some(Other::Completions { shell }) => Invocation::Completions(shell),
        Some(Other::Man) => Invocation::Man,
        Some(Other::Replay(replay)) => Invocation::Replay(*replay),
        Some(Other::Top(top)) => Invocation::Top(*top),
        Some(Other::Schema) => Invocation::Schema,
    })
}

#[cfg(test)]
mod tests;
