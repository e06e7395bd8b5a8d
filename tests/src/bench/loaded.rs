//! Whether eBPF programs are loaded, which says when nothing is attached any more.
//!
//! skbtrace detaches in a process of its own that outlives the command, so the command's end does
//! not tell. A program lives as long as something it is attached to.

use std::mem::size_of_val;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::libc;

use crate::wait;

/// Of bpf(2).
const BPF_PROG_GET_NEXT_ID: libc::c_int = 11;

/// For detaching hundreds of functions one by one.
const LIMIT: Duration = Duration::from_secs(300);

/// What [`BPF_PROG_GET_NEXT_ID`] takes and gives.
#[repr(C)]
struct NextId {
    start_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// How many programs are loaded.
pub fn programs() -> Result<usize> {
    let mut next = NextId {
        start_id: 0,
        next_id: 0,
        open_flags: 0,
    };
    let mut count = 0;
    loop {
        // SAFETY: the call reads and writes as many bytes as it is told of.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_GET_NEXT_ID,
                &raw mut next,
                size_of_val(&next),
            )
        };
        match Errno::result(result) {
            Ok(_) => count += 1,
            Err(Errno::ENOENT) => return Ok(count),
            Err(error) => return Err(error).context("cannot list eBPF programs"),
        }
        next.start_id = next.next_id;
    }
}

/// Waits until none is.
pub fn wait_for_none() -> Result<()> {
    wait::regardless("all eBPF programs to be gone", LIMIT, || {
        Ok((programs()? == 0).then_some(()))
    })
}
