//! kprobe.multi and kprobe.session: one program on many functions, in one call.
//!
//! Functions that take their packet in the same place share a program; which of them was called
//! tells a cookie, or the function's address ([`super::rows`]). Functions are given by address, so
//! that of several with one name the right one is taken, and a module's is told apart.
//!
//! A session's program runs at the entry and at the return, and at the entry it says whether it
//! wants the return. A rejected packet's return then costs nothing, where it costs a kretprobe
//! hundreds of instructions.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::maps::MapData;
use skbtrace_common::hooks::Binding;

use super::{
    link::Link,
    object::{Loaded, MapName, RESOLVE},
    sys::{self, Ends, ProgramKind},
};
use crate::kernel::features;

/// Longest symbol that can be asked for, with the terminating zero (`resolve.rs`).
const NAME: usize = 128;

/// Finds addresses of symbols: the kernel is asked by a program, which takes microseconds where
/// reading `/proc/kallsyms` takes a second.
pub struct Resolver {
    program: OwnedFd,
    question: MapData,
}

impl Resolver {
    /// Loads the program. `None` where the kernel has no such programs (before 5.16), or will not
    /// attach to what they find: 6.1 loads programs for kprobe.multi and then refuses them.
    pub fn new(loaded: &mut Loaded) -> Option<Self> {
        let question = loaded.take(MapName::Symbol)?;
        let program = loaded
            .load(RESOLVE, ProgramKind::SYSCALL, Binding(0))
            .ok()?;
        let resolver = Self { program, question };
        let address = resolver.address(features::common_function(), None)?;
        features::kprobe_multi(address).ok()?;
        Some(resolver)
    }

    /// A symbol's address; of the module's when one is named and has it.
    pub fn address(&self, symbol: &str, module: Option<&str>) -> Option<u64> {
        module
            .and_then(|module| self.ask(&format!("{module}:{symbol}")))
            .or_else(|| self.ask(symbol))
    }

    fn ask(&self, name: &str) -> Option<u64> {
        let mut question = [0; NAME + size_of::<u64>()];
        if name.len() >= NAME {
            return None;
        }
        question[..name.len()].copy_from_slice(name.as_bytes());
        let map = self.question.fd().as_fd();
        sys::set_only_element(map, &question).ok()?;
        if sys::run(self.program.as_fd()).ok()? != 0 {
            return None;
        }
        sys::only_element(map, &mut question).ok()?;
        let address = question.last_chunk::<8>()?;
        Some(u64::from_ne_bytes(*address)).filter(|address| *address != 0)
    }
}

/// A function to listen on.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its address, or for fentry its number in BTF.
    pub place: u64,
    /// The hook's row.
    pub row: u16,
    /// Which of the caller's it is.
    pub index: usize,
}

/// The program whose events tell the function's address.
pub const TELLS_ADDRESS: &str = "hop";

/// A program for several functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shared {
    /// Its name in the object.
    pub program: &'static str,
    /// Where it is run.
    pub ends: Ends,
    binding: u64,
}

impl Shared {
    /// The one that serves a function with this binding, and others that take their packet as it
    /// does.
    pub fn new(program: &'static str, ends: Ends, binding: Binding) -> Self {
        let binding = match ends {
            Ends::Entry => binding,
            Ends::Return => binding.at_return(),
            Ends::Both => binding.with_session(),
        };
        let binding = if program == TELLS_ADDRESS {
            binding.shared_by_address()
        } else {
            binding.shared()
        };
        Self {
            program,
            ends,
            binding: binding.0,
        }
    }

    /// Attaches it to all targets that will have it ([`attach_halving`]).
    pub fn attach(self, loaded: &Loaded, targets: &[Target]) -> (Vec<Link>, Vec<Target>) {
        let kind = ProgramKind::multi(self.ends);
        attach_halving(
            targets,
            || loaded.load(self.program, kind, Binding(self.binding)).ok(),
            |program, targets| {
                let addresses: Vec<u64> = targets.iter().map(|target| target.place).collect();
                sys::link_kprobe_multi(program.as_fd(), self.ends, &addresses, &cookies(targets))
            },
        )
    }
}

/// What tells the program which function was called.
pub fn cookies(targets: &[Target]) -> Vec<u64> {
    targets.iter().map(|target| u64::from(target.row)).collect()
}

/// Attaches a program to all targets that will have it: where the kernel refuses a call for one of
/// its functions, the call is halved until that one is found.
///
/// Returns the links, and the targets that were refused.
pub fn attach_halving(
    targets: &[Target],
    load: impl Fn() -> Option<OwnedFd>,
    link: impl Fn(&OwnedFd, &[Target]) -> io::Result<OwnedFd>,
) -> (Vec<Link>, Vec<Target>) {
    let mut links = Vec::new();
    let mut refused = Vec::new();
    // Loaded, and not taken by a link yet.
    let mut spare = None;
    let mut waiting = vec![targets];
    while let Some(targets) = waiting.pop() {
        let Some(program) = spare.take().or_else(&load) else {
            refused.extend_from_slice(targets);
            continue;
        };
        match link(&program, targets) {
            Ok(link) => links.push(Link::new(link, program)),
            Err(_) => {
                spare = Some(program);
                if targets.len() <= 1 {
                    refused.extend_from_slice(targets);
                } else {
                    let (first, second) = targets.split_at(targets.len() / 2);
                    waiting.extend([second, first]);
                }
            }
        }
    }
    (links, refused)
}
