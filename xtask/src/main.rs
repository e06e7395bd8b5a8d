//! The project's task runner, `cargo xtask`.
//!
//! It exists so that everything a contributor does besides `cargo build` (installing the toolchain,
//! booting a real kernel, the demo, the whole test matrix, the benchmarks) is one command that says
//! what it lacks and what to do about it. Nothing here is part of the shipped program.

// A test may panic: that is how it fails.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod apt;
mod bench;
mod bird;
mod cable;
mod cli;
mod compile;
mod console;
mod corpus;
mod cpio;
mod demo;
mod fetch;
mod fuzz;
mod guest;
mod initramfs;
mod kernels;
mod modules;
mod paths;
mod peers;
mod picture;
mod process;
mod qemu;
mod report;
mod setup;
mod sources;
mod test;
mod userland;
mod vm;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Task};

fn main() -> ExitCode {
    // `cargo xtask … | head` is no error; end silently like other tools.
    // SAFETY: sets a default disposition before any other thread exists.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let outcome = match Cli::parse().task {
        Task::Setup => setup::run(),
        Task::Build => compile::build().map(|_| ExitCode::SUCCESS),
        Task::Vm(args) => vm::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Corpus(args) => corpus::run(&args),
        Task::Picture(args) => picture::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
