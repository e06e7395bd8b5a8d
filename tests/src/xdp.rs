//! A program of XDP or tc that does the same with everything, on one interface for as long as this
//! value lives.
//!
//! A few instructions need no compiler; they are loaded and attached with bpf(2). XDP's attached
//! generically see a packet that is an `sk_buff` already; in the driver, one that is none.

use std::ffi::CStr;
use std::fs::File;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _};

use anyhow::{Context as _, Result};
use nix::libc::{self, SYS_bpf, c_long, syscall};
use nix::net::if_::if_nametoindex;

use crate::netns::Netns;

const BPF_PROG_LOAD: c_long = 5;
const BPF_OBJ_PIN: c_long = 6;
const BPF_LINK_CREATE: c_long = 28;
const PROGRAM_TYPE_TC: u32 = 3;
const PROGRAM_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const ATTACH_TCX_INGRESS: u32 = 46;

/// Where a program runs (`XDP_FLAGS_*`, include/uapi/linux/if_link.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// Behind the driver.
    Generic = 1 << 1,
    /// In the driver.
    Driver = 1 << 2,
}

/// `r0 = XDP_DROP; exit`.
const DROP: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];
/// `r0 = TC_ACT_SHOT; exit`.
const SHOOT: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
/// `r0 = XDP_TX; exit`.
const BOUNCE: [u64; 2] = [0x0000_0003_0000_00b7, 0x0000_0000_0000_0095];
/// `r0 = XDP_PASS; exit`.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// `r1 = ifindex; r2 = 0; r0 = bpf_redirect(r1, r2); exit`.
const fn redirect(ifindex: u32) -> [u64; 4] {
    [
        (ifindex as u64) << 32 | 0x01b7,
        0x0000_0000_0000_02b7,
        0x0000_0017_0000_0085,
        0x0000_0000_0000_0095,
    ]
}

/// `union bpf_attr` for BPF_PROG_LOAD, as far as it is needed (include/uapi/linux/bpf.h).
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The same for BPF_LINK_CREATE (5.9 and later for XDP).
#[repr(C)]
struct Link {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The same for BPF_OBJ_PIN.
#[repr(C)]
struct Pin {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The program, attached; dropping it detaches it.
pub struct XdpDrop {
    _link: File,
}

/// Before 5.11 programs count as locked memory, others' of the same user too: a tracer may still be
/// detaching.
fn unlimit_locked_memory() {
    let unlimited = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a pointer to a whole rlimit. Should it fail, loading says so.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
}

impl XdpDrop {
    /// Drops all that comes in at `iface` of `net`.
    pub fn attach(net: &Netns, iface: &str) -> Result<Self> {
        Self::with(&DROP, net, iface, Mode::Generic)
    }

    /// Sends all that comes in at `iface` of `net` out there again.
    pub fn bounce(net: &Netns, iface: &str) -> Result<Self> {
        Self::with(&BOUNCE, net, iface, Mode::Generic)
    }

    /// Lets all that comes in at `iface` of `net` pass.
    pub fn pass(net: &Netns, iface: &str, mode: Mode) -> Result<Self> {
        Self::with(&PASS, net, iface, mode)
    }

    /// Sends all that comes in at `iface` of `net` out at `to`.
    pub fn redirect(net: &Netns, iface: &str, to: &str, mode: Mode) -> Result<Self> {
        let to = net.enter(|| if_nametoindex(to).context("no such interface"))?;
        Self::with(&redirect(to), net, iface, mode)
    }

    fn with(instructions: &[u64], net: &Netns, iface: &str, mode: Mode) -> Result<Self> {
        net.enter(|| {
            let program = load(instructions, PROGRAM_TYPE_XDP, ATTACH_XDP)?;
            let link = link(&program, iface, ATTACH_XDP, mode as u32)
                .with_context(|| format!("cannot attach an XDP program to {iface}"))?;
            Ok(Self { _link: link })
        })
    }
}

/// A program of tc that drops everything.
pub struct TcDrop(File);

impl TcDrop {
    /// Loads it.
    pub fn load() -> Result<Self> {
        load(&SHOOT, PROGRAM_TYPE_TC, 0).map(Self)
    }

    /// Attaches it to what comes in at `iface` of `net`, without a queueing discipline (6.6 and later).
    pub fn attach(&self, net: &Netns, iface: &str) -> Result<File> {
        net.enter(|| link(&self.0, iface, ATTACH_TCX_INGRESS, 0))
            .context("tcx")
    }

    /// Gives it a name in a file system of type bpf.
    pub fn pin(&self, path: &CStr) -> Result<()> {
        let attributes = Pin {
            path: path.as_ptr() as u64,
            descriptor: descriptor(&self.0)?,
            flags: 0,
        };
        call(BPF_OBJ_PIN, &attributes).map(drop).context("pinning")
    }
}

fn link(program: &File, iface: &str, attach_type: u32, flags: u32) -> Result<File> {
    let attributes = Link {
        prog_fd: descriptor(program)?,
        target_ifindex: if_nametoindex(iface).context("no such interface")?,
        attach_type,
        flags,
    };
    bpf(BPF_LINK_CREATE, &attributes)
}

fn descriptor(file: &File) -> Result<u32> {
    u32::try_from(file.as_raw_fd()).context("a descriptor")
}

fn load(instructions: &[u64], prog_type: u32, expected_attach_type: u32) -> Result<File> {
    unlimit_locked_memory();
    let attributes = Load {
        prog_type,
        insn_cnt: u32::try_from(instructions.len()).context("too many instructions")?,
        insns: instructions.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: *b"skbtrace_drop\0\0\0",
        prog_ifindex: 0,
        expected_attach_type,
    };
    bpf(BPF_PROG_LOAD, &attributes).context("cannot load a program")
}

/// Makes a call.
fn call<T>(command: c_long, attributes: &T) -> Result<i32> {
    let size = size_of::<T>();
    // SAFETY: `attributes` is a prefix of `union bpf_attr` of this size; what it points to lives on.
    let answer = unsafe { syscall(SYS_bpf, command, attributes, size) };
    let answer = i32::try_from(answer).context("an int")?;
    if answer < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(answer)
}

/// Makes a call that yields a descriptor.
fn bpf<T>(command: c_long, attributes: &T) -> Result<File> {
    let descriptor = call(command, attributes)?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}
