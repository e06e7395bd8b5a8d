//! The kernel side's object: its maps, created, and its programs, ready to be bound and loaded.
//!
//! aya loads a program once; here one program is loaded once for every function, with a different
//! constant in it, so the object is taken apart by aya-obj and loaded by ourselves.

mod constants;
mod maps;

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, HashMap},
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::maps::{MapData, MapError};
use aya_obj::{Object, generated::bpf_insn};
use skbtrace_common::{
    Plain as _,
    config::{Config, USE_PERF},
    hooks::Binding,
};

pub use self::{
    constants::KernelFunctions,
    maps::{MapName, size_of_followed},
};
use self::{
    constants::{bind, configure, is_placeholder, set_row},
    maps::{DEBUG, FOLLOWED, PERF, RING, create, placeholder},
};
use super::{
    specialise::specialise,
    sys::{self, ProgramKind},
};

/// Room for the verifier's explanation of a refusal.
const LOG_SIZE: usize = 1 << 20;

/// Why the object could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The embedded object is not as the build left it.
    #[error("the embedded kernel object is damaged: {0}")]
    Damaged(String),
    /// A map could not be created.
    #[error("map {name}: {source}{}", map_hint(source))]
    Map {
        /// The map.
        name: String,
        /// What the kernel said.
        source: MapError,
    },
    /// A map could not be filled or frozen.
    #[error("map {name}: {source}")]
    Fill {
        /// The map.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why a program was refused.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refused program {program}: {source}{explanation}")]
pub struct LoadError {
    program: &'static str,
    source: io::Error,
    /// The end of the verifier's log, or nothing.
    explanation: String,
}

/// The object with its maps created; programs are loaded from it.
pub struct Loaded {
    programs: HashMap<&'static str, Program>,
    license: CString,
    maps: HashMap<String, MapData>,
    specialise: bool,
    /// Of the first program that was accepted whole and refused specialised.
    refusal: RefCell<Option<LoadError>>,
}

/// A program of the object.
struct Program {
    /// With the configuration in it.
    image: Vec<bpf_insn>,
    /// Specialised for this run; made when it is first loaded, for few programs are.
    specialised: OnceCell<Vec<bpf_insn>>,
    /// Of that what functions need, by their bindings for any row.
    bound: RefCell<BTreeMap<u64, Vec<bpf_insn>>>,
}

impl Program {
    const fn of(image: Vec<bpf_insn>) -> Self {
        Self {
            image,
            specialised: OnceCell::new(),
            bound: RefCell::new(BTreeMap::new()),
        }
    }

    /// For a function, whole.
    fn whole(&self, binding: Binding) -> Vec<bpf_insn> {
        let mut instructions = self.image.clone();
        bind(&mut instructions, binding);
        set_row(&mut instructions, binding);
        instructions
    }

    /// For a function, specialised: once for the run, and once for all functions that differ in their
    /// rows only (54 hooks by fentry on 6.1: ready after 2.04 and not 2.20 seconds of CPU).
    fn specialised(&self, binding: Binding) -> Vec<bpf_insn> {
        let mut bound = self.bound.borrow_mut();
        let of_any_row = bound.entry(binding.of_any_row().0).or_insert_with(|| {
            let of_run = self
                .specialised
                .get_or_init(|| specialise(&self.image, is_placeholder));
            let mut instructions = of_run.clone();
            bind(&mut instructions, binding);
            specialise(&instructions, is_placeholder)
        });
        let mut instructions = of_any_row.clone();
        set_row(&mut instructions, binding);
        instructions
    }
}

/// The programs of the object.
pub const PROGRAMS: [&str; 18] = [
    "hop",
    "neighbour",
    "socket",
    "tunneled",
    "dropped",
    "queue_dropped",
    "freed",
    "fragmented",
    "merged",
    "copy",
    "morph",
    "segments",
    "copied",
    "segmented",
    "table",
    "hook_function",
    "conntrack",
    "nat",
];
/// The program that finds a symbol's address.
pub const RESOLVE: &str = "resolve";

/// What the object is made into, besides its configuration.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Size of the event buffer, bytes.
    pub buffer: usize,
    /// Makes room for the kernel side's debug lines.
    pub debug: bool,
    /// Specialises programs; whole ones are loaded otherwise.
    pub specialise: bool,
    /// Kernel functions that the programs may call.
    pub functions: KernelFunctions,
}

impl Loaded {
    /// Takes the object apart, writes the configuration into it and creates its maps.
    pub fn new(bytes: &[u8], config: &Config, shape: Shape) -> Result<Self, ObjectError> {
        let Shape { buffer, debug, .. } = shape;
        let damaged = |error: &dyn std::fmt::Display| ObjectError::Damaged(error.to_string());
        let mut object = Object::parse(bytes).map_err(|e| damaged(&e))?;
        object
            .patch_map_data(HashMap::from([("CONFIG", (config.as_bytes(), true))]))
            .map_err(|e| damaged(&e))?;

        let perf = config.options & USE_PERF != 0;
        let mut maps = HashMap::new();
        let mut created = Vec::new();
        for (name, mut map) in std::mem::take(&mut object.maps) {
            let unused =
                (name == RING && perf) || (name == PERF && !perf) || (name == DEBUG && !debug);
            if name == RING {
                map.set_max_entries(u32::try_from(buffer).unwrap_or(u32::MAX));
            }
            if name == FOLLOWED {
                map.set_value_size(size_of_followed(config));
            }
            let data = if unused {
                create(&name, &placeholder())?
            } else {
                create(&name, &map)?
            };
            created.push((name.clone(), data.fd().as_fd().as_raw_fd(), map));
            maps.insert(name, data);
        }

        let sections = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        object
            .relocate_maps(
                created
                    .iter()
                    .map(|(name, fd, map)| (name.as_str(), *fd, map)),
                &sections,
            )
            .map_err(|e| damaged(&e))?;
        object.relocate_calls(&sections).map_err(|e| damaged(&e))?;

        let mut programs = HashMap::new();
        for name in PROGRAMS.into_iter().chain([RESOLVE]) {
            let program = object
                .programs
                .get(name)
                .ok_or_else(|| ObjectError::Damaged(format!("no program {name}")))?;
            let function = object
                .functions
                .get(&program.function_key())
                .ok_or_else(|| ObjectError::Damaged(format!("no code for {name}")))?;
            let mut image = function.instructions.clone();
            configure(&mut image, config, shape.functions);
            programs.insert(name, Program::of(image));
        }
        Ok(Self {
            programs,
            license: object
                .programs
                .get("hop")
                .map(|p| p.license.clone())
                .unwrap_or_default(),
            maps,
            specialise: shape.specialise,
            refusal: RefCell::new(None),
        })
    }

    /// Loads a program, told what it is attached to. Where the kernel refuses it specialised, it is
    /// tried whole: that has been checked by no more than the compiler, and costs packets more.
    pub fn load(
        &self,
        program: &'static str,
        kind: ProgramKind<'_>,
        binding: Binding,
    ) -> Result<OwnedFd, LoadError> {
        let code = &self.programs[program];
        let load = |instructions: &[bpf_insn]| {
            let load = |log: &mut [u8]| sys::load(kind, instructions, &self.license, program, log);
            load(&mut []).or_else(|_| {
                // Once more, for the verifier's words; writing them takes time, so not at first.
                let mut log = vec![0; LOG_SIZE];
                load(&mut log).map_err(|source| LoadError {
                    program,
                    source,
                    explanation: last_lines(&log),
                })
            })
        };
        if !self.specialise {
            return load(&code.whole(binding));
        }
        let specialised = load(&code.specialised(binding));
        let (loaded, refusal) = or_whole(specialised, || load(&code.whole(binding)))?;
        if let Some(refusal) = refusal {
            self.refusal.borrow_mut().get_or_insert(refusal);
        }
        Ok(loaded)
    }

    /// Why the first program was refused that could then be loaded whole, if any was.
    pub fn take_refusal(&mut self) -> Option<LoadError> {
        self.refusal.take()
    }

    /// Takes a map out: the events of the transport in use, the counters or the debug log.
    pub fn take(&mut self, map: MapName) -> Option<MapData> {
        self.maps.remove(map.in_object())
    }
}

/// What came of a specialised program, or of the whole one, and then with the reason why that was
/// needed. A refusal that has nothing to do with the program is final.
fn or_whole<T>(
    specialised: Result<T, LoadError>,
    whole: impl FnOnce() -> Result<T, LoadError>,
) -> Result<(T, Option<LoadError>), LoadError> {
    match specialised {
        Ok(loaded) => Ok((loaded, None)),
        Err(refusal) if refusal.source.raw_os_error() == Some(libc::EPERM) => Err(refusal),
        Err(refusal) => match whole() {
            Ok(loaded) => Ok((loaded, Some(refusal))),
            // Both have the same fault: the shorter program's log is the one to read.
            Err(_) => Err(refusal),
        },
    }
}

/// The last lines of a verifier's log, which say what it stumbled over.
fn last_lines(log: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(log).map_or_else(|_| "".into(), CStr::to_string_lossy);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(6);
    lines[from..]
        .iter()
        .map(|line| format!("\n    {line}"))
        .collect()
}

fn map_hint(error: &MapError) -> &'static str {
    match error {
        MapError::CreateError { io_error, .. } if io_error.raw_os_error() == Some(libc::EPERM) => {
            "; run as root (CAP_BPF and CAP_PERFMON), and see `skbtrace check`"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use skbtrace_common::{
        config::{Constant, USE_CAST},
        hooks::HOOKS,
    };

    use super::{
        constants::{RDONLY_CAST, SESSION_COOKIE},
        *,
    };

    static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/skbtrace"));

    fn refusal(error: i32) -> LoadError {
        LoadError {
            program: "hop",
            source: io::Error::from_raw_os_error(error),
            explanation: format!(" of {error}"),
        }
    }

    #[test]
    fn a_specialised_program_that_is_refused_is_loaded_whole() {
        let (loaded, told) =
            or_whole(Err(refusal(libc::EACCES)), || Ok("whole")).expect("accepted");
        assert_eq!(loaded, "whole");
        let told = told.map(|refusal| refusal.explanation);
        assert_eq!(told, Some(format!(" of {}", libc::EACCES)));
    }

    #[test]
    fn a_whole_program_is_tried_only_where_it_may_help() {
        let unneeded = || -> Result<&str, LoadError> { panic!("not needed") };
        let (loaded, told) = or_whole(Ok("specialised"), unneeded).expect("accepted");
        assert_eq!((loaded, told.is_none()), ("specialised", true));
        let forbidden = or_whole(Err(refusal(libc::EPERM)), unneeded);
        assert!(forbidden.is_err(), "it is not allowed either");
        let both = || -> Result<&str, LoadError> { Err(refusal(libc::E2BIG)) };
        let refused = or_whole(Err(refusal(libc::EINVAL)), both).expect_err("both are refused");
        assert_eq!(refused.source.raw_os_error(), Some(libc::EINVAL));
    }

    /// The programs as they are in the image, by name, for a kernel that has casts.
    fn programs() -> Vec<(&'static str, Program)> {
        let mut object = Object::parse(OBJECT).expect("an object");
        let sections = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        object.relocate_calls(&sections).expect("functions");
        let config = Config {
            options: USE_CAST,
            ..Config::new()
        };
        let functions = KernelFunctions {
            cast: Some(7),
            session: None,
        };
        let program = |name| {
            let program = &object.programs[name];
            let mut image = object.functions[&program.function_key()]
                .instructions
                .clone();
            configure(&mut image, &config, functions);
            (name, Program::of(image))
        };
        PROGRAMS.map(program).into()
    }

    fn binding(row: u16, name: &str) -> Binding {
        let hook = HOOKS.iter().find(|hook| hook.name == name);
        let hook = hook.expect("a row");
        Binding::new(row, hook, &hook.sites[0])
    }

    /// The image holds the code for every kernel and option; a program gets what it needs.
    #[test]
    fn a_program_is_less_than_its_image() {
        for (name, program) in programs() {
            let before = program.image.len();
            let program = program.specialised(binding(1, "ip_rcv").silent());
            let after = program.len();
            // Those that always report an event have least to lose.
            assert!(after * 5 <= before * 4, "{name}: {after} of {before}");
            assert!(
                program
                    .iter()
                    .all(
                        |i| Constant::recognise(u64::from(i.imm.cast_unsigned())).is_none()
                            && i.imm.cast_unsigned() != (Binding::PLACEHOLDER >> 32) as u32
                            && !(RDONLY_CAST..=SESSION_COOKIE).contains(&i.imm)
                    ),
                "{name} has a placeholder left"
            );
        }
    }

    #[test]
    fn functions_that_differ_in_their_rows_share_what_was_specialised() {
        for (name, program) in programs() {
            let [one, other] = [0x5a01, 0x5a02].map(|row| {
                let program = program.specialised(binding(row, "ip_rcv"));
                program.iter().map(|i| i.imm).collect::<Vec<_>>()
            });
            assert_eq!(program.bound.borrow().len(), 1, "{name}");
            let differ = one.iter().zip(&other).filter(|(one, other)| one != other);
            let differ: Vec<_> = differ.collect();
            let rows = differ.iter().all(|rows| *rows == (&0x5a01, &0x5a02));
            assert!(rows, "{name}: {differ:?}");
            // Some report nothing in this configuration.
            assert!(name != "hop" || !differ.is_empty(), "its row is nowhere");
        }
    }
}
