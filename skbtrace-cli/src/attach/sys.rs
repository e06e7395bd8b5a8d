//! System calls: bpf(2), perf_event_open(2) and what little else attaching needs.
//!
//! With `info`, which asks, the one place with unsafe code towards bpf(2) and perf events. Each function is one call
//! with the fields it takes; a file descriptor that comes back is owned at once. Structures are
//! the kernel's own (`include/uapi/linux/bpf.h`), zeroed before use: the kernel refuses nonzero
//! bytes behind the fields it knows, and old kernels accept a longer structure with a zero tail.

use std::{
    ffi::CStr,
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type, perf_event_attr,
};

mod info;

pub use info::{Tcx, kernel_btf_objects, missed_hits, program_info, program_name, tcx_programs};

/// `_IO('$', 0)` and `_IOW('$', 8, __u32)` of `include/uapi/linux/perf_event.h`.
const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
const PERF_EVENT_IOC_SET_BPF: libc::c_ulong = 0x4004_2408;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<RawFd> {
    // SAFETY: attr is a whole bpf_attr whose pointers the callers keep alive across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // The kernel returns an int.
    #[expect(clippy::cast_possible_truncation, reason = "the kernel returns an int")]
    Ok(result as RawFd)
}

fn bpf_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: the call made this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn zeroed_attr() -> bpf_attr {
    // SAFETY: a union of plain integers; zero is a value of each.
    unsafe { mem::zeroed() }
}

/// `BPF_TRACE_FENTRY_MULTI` of `enum bpf_attach_type`; newer than the bindings.
const BPF_TRACE_FENTRY_MULTI: u32 = 59;

/// `BPF_TRACE_KPROBE_SESSION` likewise (6.10).
const BPF_TRACE_KPROBE_SESSION: u32 = 56;
/// `BPF_F_KPROBE_MULTI_RETURN` of `include/uapi/linux/bpf.h`.
const BPF_F_KPROBE_MULTI_RETURN: u32 = 1;

/// What a program is and how it will be attached.
#[derive(Clone, Copy, Debug)]
pub struct ProgramKind<'a> {
    program: bpf_prog_type,
    /// How it will be attached (`enum bpf_attach_type`), where the kernel wants to know.
    attach: Option<u32>,
    /// Id of the traced function in its BTF, or 0.
    btf_id: u32,
    /// The BTF of the module it is in; `None` for the kernel's own.
    btf: Option<BorrowedFd<'a>>,
    flags: u32,
}

impl<'a> ProgramKind<'a> {
    const PLAIN: Self = Self {
        program: bpf_prog_type::BPF_PROG_TYPE_KPROBE,
        attach: None,
        btf_id: 0,
        btf: None,
        flags: 0,
    };
    /// For a kprobe or kretprobe.
    pub const KPROBE: Self = Self::PLAIN;
    /// For many functions' entries or returns at once.
    pub const KPROBE_MULTI: Self = Self {
        attach: Some(bpf_attach_type::BPF_TRACE_KPROBE_MULTI as u32),
        ..Self::PLAIN
    };
    /// For many functions' entries and returns at once, since 6.10.
    pub const KPROBE_SESSION: Self = Self {
        attach: Some(BPF_TRACE_KPROBE_SESSION),
        ..Self::PLAIN
    };
    /// For a tracepoint, with its arguments as the kernel passes them.
    pub const TRACEPOINT: Self = Self {
        program: bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT,
        ..Self::PLAIN
    };
    /// To be run by [`run`].
    pub const SYSCALL: Self = Self {
        program: bpf_prog_type::BPF_PROG_TYPE_SYSCALL,
        flags: aya_obj::generated::BPF_F_SLEEPABLE,
        ..Self::PLAIN
    };

    /// For many functions at once ([`link_kprobe_multi`]).
    pub const fn multi(ends: Ends) -> Self {
        match ends {
            Ends::Entry | Ends::Return => Self::KPROBE_MULTI,
            Ends::Both => Self::KPROBE_SESSION,
        }
    }

    /// For the entry of a function by its BTF id, of the kernel or a module.
    pub const fn fentry(btf_id: u32, btf: Option<BorrowedFd<'a>>) -> Self {
        Self {
            program: bpf_prog_type::BPF_PROG_TYPE_TRACING,
            attach: Some(bpf_attach_type::BPF_TRACE_FENTRY as u32),
            btf_id,
            btf,
            flags: 0,
        }
    }

    /// For the entries of many functions of the kernel or of one module, since 7.1 or so.
    pub const fn fentry_multi(btf: Option<BorrowedFd<'a>>) -> Self {
        Self {
            attach: Some(BPF_TRACE_FENTRY_MULTI),
            ..Self::fentry(0, btf)
        }
    }

    /// For its return.
    pub const fn fexit(btf_id: u32, btf: Option<BorrowedFd<'a>>) -> Self {
        Self {
            attach: Some(bpf_attach_type::BPF_TRACE_FEXIT as u32),
            ..Self::fentry(btf_id, btf)
        }
    }
}

/// Loads a program. `log` receives the verifier's words when it is not empty.
pub fn load(
    kind: ProgramKind<'_>,
    instructions: &[bpf_insn],
    license: &CStr,
    name: &str,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_PROG_LOAD reads.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = kind.program as u32;
    load.expected_attach_type = kind.attach.unwrap_or(0);
    load.attach_btf_id = kind.btf_id;
    load.prog_flags = kind.flags;
    if let Some(btf) = kind.btf {
        load.__bindgen_anon_1.attach_btf_obj_fd = fd_field(btf);
    }
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(instructions.len()).unwrap_or(u32::MAX);
    load.license = license.as_ptr() as u64;
    // The last byte stays zero.
    for (to, from) in load.prog_name[..15].iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    if !log.is_empty() {
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = u32::try_from(log.len()).unwrap_or(u32::MAX);
    }
    bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Attaches a program to a function's entry or return, as loaded ([`ProgramKind::fentry`]).
pub fn attach_tracing(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_RAW_TRACEPOINT_OPEN reads. Unlike BPF_LINK_CREATE it attaches
    // tracing programs on 5.10 too.
    let open = unsafe { &mut attr.raw_tracepoint };
    open.prog_fd = fd_field(program);
    bpf_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// Attaches a program to a tracepoint ([`ProgramKind::TRACEPOINT`]).
pub fn attach_tracepoint(program: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_RAW_TRACEPOINT_OPEN reads.
    let open = unsafe { &mut attr.raw_tracepoint };
    open.prog_fd = fd_field(program);
    open.name = name.as_ptr() as u64;
    bpf_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// Where a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ends {
    /// At a function's entry.
    Entry,
    /// At its return.
    Return,
    /// At both.
    Both,
}

/// Attaches a program to several functions by address; each has a cookie, which the program can
/// ask for.
pub fn link_kprobe_multi(
    program: BorrowedFd<'_>,
    ends: Ends,
    addresses: &[u64],
    cookies: &[u64],
) -> io::Result<OwnedFd> {
    debug_assert_eq!(addresses.len(), cookies.len(), "a cookie for each address");
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_LINK_CREATE reads.
    let link = unsafe { &mut attr.link_create };
    link.__bindgen_anon_1.prog_fd = fd_field(program);
    link.attach_type = match ends {
        Ends::Entry | Ends::Return => bpf_attach_type::BPF_TRACE_KPROBE_MULTI as u32,
        Ends::Both => BPF_TRACE_KPROBE_SESSION,
    };
    // SAFETY: the variant for these attach types.
    let multi = unsafe { &mut link.__bindgen_anon_3.kprobe_multi };
    if ends == Ends::Return {
        multi.flags = BPF_F_KPROBE_MULTI_RETURN;
    }
    multi.cnt = u32::try_from(addresses.len().min(cookies.len())).unwrap_or(0);
    multi.addrs = addresses.as_ptr() as u64;
    multi.cookies = cookies.as_ptr() as u64;
    bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Attaches a program to several functions' entries by their numbers in BTF
/// ([`ProgramKind::fentry_multi`]); each has a cookie, which the program can ask for.
pub fn link_fentry_multi(
    program: BorrowedFd<'_>,
    ids: &[u32],
    cookies: &[u64],
) -> io::Result<OwnedFd> {
    debug_assert_eq!(ids.len(), cookies.len(), "a cookie for each function");
    /// What BPF_LINK_CREATE reads for this attach type; newer than the bindings.
    #[repr(C)]
    struct TracingMulti {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
        ids: u64,
        cookies: u64,
        count: u32,
        padding: u32,
    }
    const { assert!(size_of::<TracingMulti>() <= size_of::<bpf_attr>()) };
    let mut attr = zeroed_attr();
    let link = TracingMulti {
        program: fd_field(program),
        target: 0,
        attach_type: BPF_TRACE_FENTRY_MULTI,
        flags: 0,
        ids: ids.as_ptr() as u64,
        cookies: cookies.as_ptr() as u64,
        count: u32::try_from(ids.len().min(cookies.len())).unwrap_or(0),
        padding: 0,
    };
    // SAFETY: it starts the union, which is larger and as aligned.
    unsafe { (&raw mut attr).cast::<TracingMulti>().write(link) };
    bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Runs a program once ([`ProgramKind::SYSCALL`]); what it returned.
pub fn run(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_PROG_TEST_RUN reads.
    let test = unsafe { &mut attr.test };
    test.prog_fd = fd_field(program);
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the variant just used; the kernel writes back what was returned.
    Ok(unsafe { attr.test.retval })
}

/// Waits until every program that was running has ended: an RCU grace period, which the kernel
/// offers as a memory barrier. Where it refuses (`nohz_full`), nothing is waited for.
pub fn wait_for_running_programs() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: takes no pointer.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
}

/// Reads the one element of an array map with a single value.
pub fn only_element(map: BorrowedFd<'_>, value: &mut [u8]) -> io::Result<()> {
    let key = 0_u32;
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_MAP_LOOKUP_ELEM reads.
    let lookup = unsafe { &mut attr.__bindgen_anon_2 };
    lookup.map_fd = fd_field(map);
    lookup.key = (&raw const key) as u64;
    lookup.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr).map(drop)
}

/// Writes the one element of an array map with a single value (`.rodata`).
pub fn set_only_element(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    let key = 0_u32;
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_MAP_UPDATE_ELEM reads.
    let update = unsafe { &mut attr.__bindgen_anon_2 };
    update.map_fd = fd_field(map);
    update.key = (&raw const key) as u64;
    update.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Makes a map read-only for user space, so that the verifier may trust its contents.
pub fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_MAP_FREEZE reads.
    let element = unsafe { &mut attr.__bindgen_anon_2 };
    element.map_fd = fd_field(map);
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(drop)
}

/// Where a kprobe is to be.
#[derive(Clone, Copy, Debug)]
pub enum KprobePlace<'a> {
    /// At the start of the function of this name, for which the kernel looks.
    Symbol(&'a CStr),
    /// At this address, a function's start.
    Address(u64),
}

/// Opens a kprobe (or kretprobe) as a perf event, not yet enabled.
///
/// `kind` is the number in `/sys/bus/event_source/devices/kprobe/type`.
pub fn open_kprobe(kind: u32, place: KprobePlace<'_>, at_return: bool) -> io::Result<OwnedFd> {
    // SAFETY: plain integers and unions of them; zero is a value of each.
    let mut attr: perf_event_attr = unsafe { mem::zeroed() };
    attr.size = u32::try_from(size_of::<perf_event_attr>()).unwrap_or(0);
    attr.type_ = kind;
    // Bit 0 is "retprobe" (/sys/bus/event_source/devices/kprobe/format/retprobe).
    attr.config = u64::from(at_return);
    match place {
        KprobePlace::Symbol(symbol) => attr.__bindgen_anon_3.config1 = symbol.as_ptr() as u64,
        KprobePlace::Address(address) => attr.__bindgen_anon_4.config2 = address,
    }
    // SAFETY: attr is a whole perf_event_attr; a symbol outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            -1,
            0,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(clippy::cast_possible_truncation, reason = "the kernel returns an int")]
    // SAFETY: the call made this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches a program to a perf event through a link (5.15 and later; EINVAL before).
pub fn link_perf_event(program: BorrowedFd<'_>, event: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_LINK_CREATE reads.
    let link = unsafe { &mut attr.link_create };
    link.__bindgen_anon_1.prog_fd = fd_field(program);
    link.__bindgen_anon_2.target_fd = fd_field(event);
    link.attach_type = bpf_attach_type::BPF_PERF_EVENT as u32;
    bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Attaches a program to a perf event as every kernel can.
pub fn set_program(event: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes the descriptor by value.
    let result = unsafe {
        libc::ioctl(
            event.as_raw_fd(),
            PERF_EVENT_IOC_SET_BPF,
            program.as_raw_fd(),
        )
    };
    check(result)
}

/// Lets a perf event fire.
pub fn enable(event: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointer.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_ENABLE, 0) };
    check(result)
}

fn fd_field(fd: BorrowedFd<'_>) -> u32 {
    // A valid descriptor is not negative.
    fd.as_raw_fd().unsigned_abs()
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
