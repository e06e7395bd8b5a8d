//! The command line of `cargo xtask`: one type per task, one place per option.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Build, run and test skbtrace"
)]
pub struct Cli {
    #[command(subcommand)]
    pub task: Task,
}

#[derive(Subcommand)]
pub enum Task {
    /// Install what building and testing need, and say what was missing
    Setup,
    /// Build `skbtrace` and `skbtrace-tests` as static release binaries
    Build,
    /// Run a command (or a shell) inside a real kernel under QEMU
    Vm(VmArgs),
    /// Show one datagram's path through a small Kubernetes-like network
    Demo(DemoArgs),
    /// Unit tests here, then the scenarios on every kernel
    Test(TestArgs),
    /// Count instructions per packet and write docs/benchmarks.md
    Bench(BenchArgs),
    /// Record the corpus (tests/data/recordings) again, on every kernel
    Corpus(CorpusArgs),
    /// Draw the README's picture of a terminal (docs/images) again
    Picture(PictureArgs),
    /// Look for bytes that skbtrace does not survive
    Fuzz(FuzzArgs),
}

/// Which kernel to boot.
#[derive(Args, Clone, Default)]
pub struct KernelArgs {
    /// A kernel of the table (5.10, 6.1, 6.12, 7.x) or one exact release of it
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Option<String>,
    /// A kernel of your own instead of the table's
    #[arg(long, value_name = "FILE", conflicts_with = "kernel")]
    pub kernel_image: Option<PathBuf>,
    /// Its modules: a directory holding lib/modules/VERSION, or that directory itself
    #[arg(long, value_name = "DIR", requires = "kernel_image")]
    pub modules: Option<PathBuf>,
    /// Ask the archive for a newer build even if one is already cached
    #[arg(long)]
    pub refresh: bool,
}

#[derive(Args)]
pub struct VmArgs {
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Number of virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub smp: u32,
    /// Memory of the guest in MiB
    #[arg(long, value_name = "MB", default_value_t = 1024)]
    pub memory: u32,
    /// Make one guest nanosecond one guest instruction (implies one CPU)
    #[arg(long)]
    pub icount: bool,
    /// Give up after this long [default: 600, none for the interactive shell]
    #[arg(long, value_name = "SECS")]
    pub timeout: Option<u64>,
    /// Put a host file into the guest (at /bin/NAME unless DEST is given)
    #[arg(long, value_name = "FILE[:DEST]")]
    pub extra: Vec<String>,
    /// A disk image for /dev/vda; what the guest writes to it is thrown away
    #[arg(long, value_name = "FILE")]
    pub disk: Option<PathBuf>,
    /// Don't build first: take the binaries that are there, if any
    #[arg(long)]
    pub no_build: bool,
    /// The command to run in the guest [default: an interactive shell]
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Args)]
pub struct DemoArgs {
    /// Which of the scenarios to play: 1 to 6 of the article, a network model or a cause by name, or
    /// `two_machines` (list: all names)
    #[arg(long, value_name = "SCENARIO", default_value = "1")]
    pub scenario: String,
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Run on this machine's own kernel (needs root) instead of a guest
    #[arg(long, conflicts_with_all = ["kernel", "kernel_image", "modules"])]
    pub native: bool,
    /// Don't build first: take the binaries that are there
    #[arg(long)]
    pub no_build: bool,
    /// Options for skbtrace
    #[arg(last = true, value_name = "OPTIONS")]
    pub options: Vec<String>,
}

#[derive(Args)]
pub struct TestArgs {
    /// Test on this kernel only; may be repeated [default: all of the table]
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Vec<String>,
    /// Run only the tests whose name contains this
    #[arg(long, value_name = "NAME")]
    pub filter: Option<String>,
    /// How many guests run at the same time [default: as many as there are processors]
    #[arg(long, value_name = "N", default_value_t = default_jobs(), hide_default_value = true)]
    pub jobs: usize,
    /// Only the unit tests, without any guest
    #[arg(long, conflicts_with = "vm_only")]
    pub unit_only: bool,
    /// Only the guests, without the unit tests
    #[arg(long)]
    pub vm_only: bool,
    /// Don't build the guest's binaries first
    #[arg(long)]
    pub no_build: bool,
}

#[derive(Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// On which kernels: one, or all (on the older ones only what a rejected hit costs)
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = BenchKernels::One)]
    pub kernels: BenchKernels,
    /// Measure other tracers too, as the distribution has them (pwru, bpftrace)
    #[arg(long)]
    pub peers: bool,
    /// Don't build first: take the binaries that are there
    #[arg(long)]
    pub no_build: bool,
    /// More options for `skbtrace-tests bench`, like --filter TEXT
    #[arg(last = true, value_name = "OPTIONS")]
    pub options: Vec<String>,
}

#[derive(Args)]
pub struct CorpusArgs {
    /// Record on this kernel only; may be repeated [default: all of the table]
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Vec<String>,
    /// Only the recordings whose name contains this
    #[arg(long, value_name = "NAME")]
    pub filter: Option<String>,
    /// Don't build first: take the binaries that are there
    #[arg(long)]
    pub no_build: bool,
}

#[derive(Args)]
pub struct PictureArgs {
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Don't build first: take the binaries that are there
    #[arg(long)]
    pub no_build: bool,
}

#[derive(Args)]
pub struct FuzzArgs {
    /// Only these targets [default: all of fuzz/fuzz_targets]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// How long each of them runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub seconds: u64,
}

/// On which kernels the benchmark runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchKernels {
    /// The one of `--kernel`
    One,
    /// That and the older ones
    All,
}

/// A guest's two processors take turns on one of ours.
fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
