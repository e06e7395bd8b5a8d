//! System calls: bpf(2), perf_event_open(2) and what little else attaching needs.
//!
//! The one file with unsafe code towards bpf(2) and perf events. Each function is one call
//! with the fields it takes; a file descriptor that comes back is owned at once. Structures are
//! the kernel's own (`include/uapi/linux/bpf.h`), zeroed before use: the kernel refuses nonzero
//! bytes behind the fields it knows, and old kernels accept a longer structure with a zero tail.

use std::{
    ffi::CStr,
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_link_info, bpf_prog_info, bpf_prog_type,
    perf_event_attr,
};

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

/// What a program is and how it will be attached.
#[derive(Clone, Copy, Debug)]
pub struct ProgramKind {
    program: bpf_prog_type,
    attach: Option<bpf_attach_type>,
    /// Id of the traced function in the kernel's BTF, or 0.
    btf_id: u32,
}

impl ProgramKind {
    /// For a kprobe or kretprobe.
    pub const KPROBE: Self = Self {
        program: bpf_prog_type::BPF_PROG_TYPE_KPROBE,
        attach: None,
        btf_id: 0,
    };
    /// For many kprobes at once.
    pub const KPROBE_MULTI: Self = Self {
        program: bpf_prog_type::BPF_PROG_TYPE_KPROBE,
        attach: Some(bpf_attach_type::BPF_TRACE_KPROBE_MULTI),
        btf_id: 0,
    };

    /// For the entry of a function by its BTF id.
    pub const fn fentry(btf_id: u32) -> Self {
        Self {
            program: bpf_prog_type::BPF_PROG_TYPE_TRACING,
            attach: Some(bpf_attach_type::BPF_TRACE_FENTRY),
            btf_id,
        }
    }
}

/// Loads a program. `log` receives the verifier's words when it is not empty.
pub fn load(
    kind: ProgramKind,
    instructions: &[bpf_insn],
    license: &CStr,
    name: &str,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_PROG_LOAD reads.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = kind.program as u32;
    load.expected_attach_type = kind.attach.map_or(0, |attach| attach as u32);
    load.attach_btf_id = kind.btf_id;
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

/// Attaches a program to a function's entry, as loaded ([`ProgramKind::fentry`]).
pub fn attach_tracing(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_RAW_TRACEPOINT_OPEN reads. Unlike BPF_LINK_CREATE it attaches
    // tracing programs on 5.10 too.
    let open = unsafe { &mut attr.raw_tracepoint };
    open.prog_fd = fd_field(program);
    bpf_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// Attaches a program to several functions' entries by name.
pub fn link_kprobe_multi(program: BorrowedFd<'_>, symbols: &[&CStr]) -> io::Result<OwnedFd> {
    let names: Vec<u64> = symbols.iter().map(|name| name.as_ptr() as u64).collect();
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_LINK_CREATE reads.
    let link = unsafe { &mut attr.link_create };
    link.__bindgen_anon_1.prog_fd = fd_field(program);
    link.attach_type = bpf_attach_type::BPF_TRACE_KPROBE_MULTI as u32;
    // SAFETY: the variant for this attach type.
    let multi = unsafe { &mut link.__bindgen_anon_3.kprobe_multi };
    multi.cnt = u32::try_from(names.len()).unwrap_or(0);
    multi.syms = names.as_ptr() as u64;
    bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
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

/// Opens a kprobe (or kretprobe) on a symbol as a perf event, not yet enabled.
///
/// `kind` is the number in `/sys/bus/event_source/devices/kprobe/type`.
pub fn open_kprobe(kind: u32, symbol: &CStr, at_return: bool) -> io::Result<OwnedFd> {
    // SAFETY: plain integers and unions of them; zero is a value of each.
    let mut attr: perf_event_attr = unsafe { mem::zeroed() };
    attr.size = u32::try_from(size_of::<perf_event_attr>()).unwrap_or(0);
    attr.type_ = kind;
    // Bit 0 is "retprobe" (/sys/bus/event_source/devices/kprobe/format/retprobe).
    attr.config = u64::from(at_return);
    attr.__bindgen_anon_3.config1 = symbol.as_ptr() as u64;
    // SAFETY: attr is a whole perf_event_attr; the symbol outlives the call.
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

/// How often a kprobe behind a link was hit while another ran on the CPU and was therefore
/// skipped; `None` where the kernel does not tell (before 6.7).
pub fn missed_hits(link: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: plain integers and unions of them; zero is a value of each.
    let mut info: bpf_link_info = unsafe { mem::zeroed() };
    let length = object_info(link, &mut info).ok()?;
    // SAFETY: the variant of a perf event link; zero where the kernel wrote less.
    let event = unsafe { &info.__bindgen_anon_1.perf_event };
    let perf = event.type_;
    // SAFETY: the variant of a kprobe; zero likewise.
    let missed = unsafe { event.__bindgen_anon_1.kprobe.missed };
    let end = mem::offset_of!(bpf_link_info, __bindgen_anon_1) + 32 + size_of::<u64>();
    // BPF_PERF_EVENT_KPROBE and BPF_PERF_EVENT_KRETPROBE.
    (matches!(perf, 3 | 4) && length >= end).then_some(missed)
}

/// A program's kernel-wide number, and how often it was skipped because a BPF program was already
/// running on the CPU (`recursion_misses`).
pub fn program_info(program: BorrowedFd<'_>) -> io::Result<(u32, u64)> {
    // SAFETY: plain integers; zero is a value of each.
    let mut info: bpf_prog_info = unsafe { mem::zeroed() };
    object_info(program, &mut info)?;
    Ok((info.id, info.recursion_misses))
}

/// Fills `info`; returns how many bytes of it the kernel knows.
fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<usize> {
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_OBJ_GET_INFO_BY_FD reads.
    let query = unsafe { &mut attr.info };
    query.bpf_fd = fd_field(object);
    query.info = std::ptr::from_mut(info) as u64;
    query.info_len = u32::try_from(size_of::<T>()).unwrap_or(0);
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    // SAFETY: the variant just used; the kernel writes back the length.
    Ok(unsafe { attr.info.info_len } as usize)
}

/// Allows as much locked memory as there is: before 5.11 maps count against it.
pub fn unlimit_locked_memory() {
    let unlimited = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a pointer to a whole rlimit. Failure is harmless: creating a map then says EPERM.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
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
