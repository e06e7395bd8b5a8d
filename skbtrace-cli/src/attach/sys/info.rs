//! Asking the kernel about its BPF objects: BTF, links, programs, and what is attached where.

use std::{
    ffi::CStr,
    io, mem,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use aya_obj::generated::{bpf_attach_type, bpf_btf_info, bpf_cmd, bpf_link_info, bpf_prog_info};

use super::{bpf, bpf_fd, fd_field, zeroed_attr};

/// The kernel's BTF objects: of itself and of each loaded module that has one, by name.
pub fn kernel_btf_objects() -> Vec<(String, OwnedFd)> {
    let mut objects = Vec::new();
    let mut id = 0;
    loop {
        let mut attr = zeroed_attr();
        attr.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
        if bpf(bpf_cmd::BPF_BTF_GET_NEXT_ID, &mut attr).is_err() {
            return objects;
        }
        // SAFETY: the variant just used; the kernel writes back the next id.
        id = unsafe { attr.__bindgen_anon_6.next_id };
        let mut attr = zeroed_attr();
        attr.__bindgen_anon_6.__bindgen_anon_1.btf_id = id;
        // It may have gone since.
        let Ok(object) = bpf_fd(bpf_cmd::BPF_BTF_GET_FD_BY_ID, &mut attr) else {
            continue;
        };
        let mut name = [0_u8; 64];
        // SAFETY: plain integers; zero is a value of each.
        let mut info: bpf_btf_info = unsafe { mem::zeroed() };
        info.name = name.as_mut_ptr() as u64;
        info.name_len = u32::try_from(name.len()).unwrap_or(0);
        if object_info(object.as_fd(), &mut info).is_ok()
            && info.kernel_btf != 0
            && let Ok(name) = CStr::from_bytes_until_nul(&name)
        {
            objects.push((name.to_string_lossy().into_owned(), object));
        }
    }
}

/// How often the kprobes behind a link were hit while another ran on the CPU and were therefore
/// skipped; `None` where the kernel does not tell (before 6.7).
pub fn missed_hits(link: BorrowedFd<'_>) -> Option<u64> {
    const BPF_LINK_TYPE_PERF_EVENT: u32 = 7;
    const BPF_LINK_TYPE_KPROBE_MULTI: u32 = 8;
    // SAFETY: plain integers and unions of them; zero is a value of each.
    let mut info: bpf_link_info = unsafe { mem::zeroed() };
    let length = object_info(link, &mut info).ok()?;
    let start = mem::offset_of!(bpf_link_info, __bindgen_anon_1);
    let details = &info.__bindgen_anon_1;
    let (missed, end) = match info.type_ {
        BPF_LINK_TYPE_PERF_EVENT => {
            // SAFETY: the variant of a perf event link; zero where the kernel wrote less.
            let event = unsafe { &details.perf_event };
            // BPF_PERF_EVENT_KPROBE and BPF_PERF_EVENT_KRETPROBE.
            if !matches!(event.type_, 3 | 4) {
                return None;
            }
            // SAFETY: the variant of a kprobe; zero likewise.
            (unsafe { event.__bindgen_anon_1.kprobe.missed }, start + 40)
        }
        // SAFETY: the variant of such a link; zero likewise.
        BPF_LINK_TYPE_KPROBE_MULTI => (unsafe { details.kprobe_multi.missed }, start + 24),
        // The program counts for itself.
        _ => return Some(0),
    };
    (length >= end).then_some(missed)
}

/// A program's kernel-wide number, and how often it was skipped because a BPF program was already
/// running on the CPU (`recursion_misses`).
pub fn program_info(program: BorrowedFd<'_>) -> io::Result<(u32, u64)> {
    // SAFETY: plain integers; zero is a value of each.
    let mut info: bpf_prog_info = unsafe { mem::zeroed() };
    object_info(program, &mut info)?;
    Ok((info.id, info.recursion_misses))
}

/// What the program of this kernel-wide number is called: up to 15 bytes, and empty for one without a name.
pub fn program_name(id: u32) -> io::Result<Vec<u8>> {
    let mut attr = zeroed_attr();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    let program = bpf_fd(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr)?;
    // SAFETY: plain integers; zero is a value of each.
    let mut info: bpf_prog_info = unsafe { mem::zeroed() };
    object_info(program.as_fd(), &mut info)?;
    let name = info.name.iter().map(|byte| byte.to_ne_bytes()[0]);
    Ok(name.take_while(|byte| *byte != 0).collect())
}

/// A side of an interface at which programs of tc are attached without a queueing discipline (6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcx {
    /// What comes in.
    Ingress,
    /// What goes out.
    Egress,
}

/// The programs there, by kernel-wide number, of an interface of the network namespace that the thread
/// is in: the first 64, in the order in which they run. An error where the kernel has no such thing.
pub fn tcx_programs(ifindex: u32, side: Tcx) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; 64];
    let mut attr = zeroed_attr();
    // SAFETY: the variant that BPF_PROG_QUERY reads.
    let query = unsafe { &mut attr.query };
    query.__bindgen_anon_1.target_ifindex = ifindex;
    query.attach_type = match side {
        Tcx::Ingress => bpf_attach_type::BPF_TCX_INGRESS,
        Tcx::Egress => bpf_attach_type::BPF_TCX_EGRESS,
    } as u32;
    query.prog_ids = ids.as_mut_ptr() as u64;
    query.__bindgen_anon_2.prog_cnt = u32::try_from(ids.len()).unwrap_or(0);
    let asked = bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr);
    // ENOSPC: there are more, and those that fit were written (bpf_mprog_query(), kernel/bpf/mprog.c).
    if let Err(error) = asked
        && error.raw_os_error() != Some(libc::ENOSPC)
    {
        return Err(error);
    }
    // SAFETY: the variant just used.
    let counts = unsafe { &attr.query.__bindgen_anon_2 };
    // SAFETY: both variants are this number; the kernel writes back how many there are.
    ids.truncate(unsafe { counts.prog_cnt } as usize);
    Ok(ids)
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
