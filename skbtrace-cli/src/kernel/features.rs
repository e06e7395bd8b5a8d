//! Features: what this machine lets us do, found out by doing it.
//!
//! Asking is not enough: 6.1 loads programs for kprobe.multi and then refuses to attach them, and
//! a symbol in kallsyms may be an empty stub.

use std::{
    ffi::CStr,
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::maps::MapData;
use aya_obj::{
    Map,
    generated::{bpf_insn, bpf_map_type},
};

use crate::attach::{
    kprobe::{self, Kprobes},
    sys::{self, Ends, ProgramKind},
};

const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
/// Capabilities (include/uapi/linux/capability.h).
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
/// A function that exists, and can be traced, on every kernel.
const COMMON: &CStr = c"ip_rcv";

/// Why tracing is not allowed.
#[derive(Debug, thiserror::Error)]
pub enum NotAllowed {
    /// Not root.
    #[error("tracing the kernel needs root (CAP_BPF and CAP_PERFMON): run it with sudo")]
    Privileges,
    /// Locked down.
    #[error(
        "the kernel is in lockdown ({LOCKDOWN}: confidentiality), which forbids reading its \
         memory: boot without lockdown=confidentiality to trace"
    )]
    Lockdown,
}

/// Fails when tracing is not allowed here, with what can be done about it.
pub fn require_privileges() -> Result<(), NotAllowed> {
    if !has_privileges() {
        return Err(NotAllowed::Privileges);
    }
    if lockdown().is_some_and(|mode| mode == "confidentiality") {
        return Err(NotAllowed::Lockdown);
    }
    Ok(())
}

/// Whether this process may load tracing programs.
pub fn has_privileges() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let has = |capability: u32| effective >> capability & 1 == 1;
    has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON))
}

/// The lockdown mode in force; `None` where the kernel has no lockdown.
pub fn lockdown() -> Option<String> {
    let text = fs::read_to_string(LOCKDOWN).ok()?;
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

/// Whether the kernel has ring buffers (5.8).
pub fn has_ring_buffer() -> bool {
    ring_buffer().is_ok()
}

/// Makes a ring buffer.
pub fn ring_buffer() -> io::Result<()> {
    let map = Map::new_from_params(bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32, 0, 0, 4096, 0);
    MapData::create(map, "skbtrace_probe", None)
        .map(drop)
        .map_err(io::Error::other)
}

/// Attaches a kprobe.
pub fn kprobe() -> Result<(), String> {
    let kprobes = Kprobes::new().map_err(|error| error.to_string())?;
    let program = empty(ProgramKind::KPROBE).map_err(|error| error.to_string())?;
    let event = kprobes
        .open(&COMMON.to_string_lossy(), false)
        .map_err(|error| error.to_string())?;
    kprobe::attach(program, event)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Attaches one program by kprobe.multi to [`common_function`], which is at `address`.
pub fn kprobe_multi(address: u64) -> io::Result<()> {
    let program = empty(ProgramKind::KPROBE_MULTI)?;
    sys::link_kprobe_multi(program.as_fd(), Ends::Entry, &[address], &[0]).map(drop)
}

/// Attaches one program by kprobe.session to [`common_function`], which is at `address`.
pub fn kprobe_session(address: u64) -> io::Result<()> {
    let program = empty(ProgramKind::KPROBE_SESSION)?;
    sys::link_kprobe_multi(program.as_fd(), Ends::Both, &[address], &[0]).map(drop)
}

/// Where [`common_function`] is, from `/proc/kallsyms`.
pub fn common_address() -> io::Result<u64> {
    let symbols = fs::read_to_string("/proc/kallsyms")?;
    symbols
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(_, rest)| rest.split(' ').nth(1) == Some(common_function()))
        .and_then(|(address, _)| u64::from_str_radix(address, 16).ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// Attaches a program to a function's entry by fentry; `btf_id` is [`COMMON`]'s.
pub fn fentry(btf_id: u32) -> io::Result<()> {
    let program = empty(ProgramKind::fentry(btf_id, None))?;
    sys::attach_tracing(program.as_fd()).map(drop)
}

/// The function that the probes attach to.
pub fn common_function() -> &'static str {
    COMMON.to_str().unwrap_or_default()
}

/// A program that does nothing.
fn empty(kind: ProgramKind<'_>) -> io::Result<OwnedFd> {
    let instruction = |code: u8| bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off: 0,
        imm: 0,
    };
    // r0 = 0; exit
    let program = [instruction(0xb7), instruction(0x95)];
    sys::load(kind, &program, c"GPL", "skbtrace_probe", &mut [])
}
