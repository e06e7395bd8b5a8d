//! A named network namespace that is removed with the value that stands for it.
//!
//! Nodes and pods are network namespaces here. They have names below `/run/netns`, so that a user
//! of the demo can look into them with `ip netns exec`; the names carry this process's id, so that
//! runs do not meet and what a killed run left behind is recognised and removed by the next one.

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::process;

const PREFIX: &str = "skbtrace-demo-";
const DIRECTORY: &str = "/run/netns";

static SERIAL: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Inode numbers of the namespaces that this thread has created and not removed.
    static MADE: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Inode numbers of the namespaces that this thread has created and not removed.
pub fn made_here() -> Vec<u32> {
    MADE.with_borrow(Clone::clone)
}

/// A network namespace of our own.
pub struct Netns {
    name: String,
    handle: File,
    inode: u32,
}

impl Netns {
    /// Creates a namespace; `role` ends its name.
    pub fn create(role: &str) -> Result<Self> {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{serial}-{role}", std::process::id());
        add(&name)?;
        match Self::open(&name) {
            Ok((handle, inode)) => {
                MADE.with_borrow_mut(|made| made.push(inode));
                Ok(Self {
                    name,
                    handle,
                    inode,
                })
            }
            Err(error) => {
                remove(&name);
                Err(error)
            }
        }
    }

    fn open(name: &str) -> Result<(File, u32)> {
        let path = Path::new(DIRECTORY).join(name);
        let context = || format!("cannot open {}", path.display());
        let handle = File::open(&path).with_context(context)?;
        let inode = handle.metadata().with_context(context)?.ino();
        let inode = u32::try_from(inode).context("a namespace's inode number has 32 bits")?;
        Ok((handle, inode))
    }

    /// The name below `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The inode number, which is what skbtrace prints.
    pub const fn inode(&self) -> u32 {
        self.inode
    }

    /// Runs `work` on a thread of its own inside the namespace. Sockets opened there stay in the
    /// namespace wherever they are used later; programs started there run in it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.handle, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("cannot enter network namespace {}", self.name))?;
                work()
            });
            inside
                .join()
                .map_err(|_| anyhow!("a thread in network namespace {} panicked", self.name))?
        })
    }

    /// Runs the lines of `script` as commands of `ip`.
    pub fn ip(&self, script: &str) -> Result<()> {
        process::run_with_input("ip", &["-n", &self.name, "-batch", "-"], script)?;
        Ok(())
    }

    /// Runs a program inside the namespace.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        self.enter(|| process::run(program, args))
            .with_context(|| format!("in network namespace {}", self.name))
    }

    /// Sets a setting of `/proc/sys/net`, written with slashes.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{key}");
        self.enter(|| {
            fs::write(&path, value).with_context(|| {
                format!(
                    "cannot write {value} to {path} in network namespace {}",
                    self.name
                )
            })
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // The kernel gives the number to the next one.
        MADE.with_borrow_mut(|made| made.retain(|inode| *inode != self.inode));
        remove(&self.name);
    }
}

/// As `ip netns add`, which takes an emulated guest a tenth of a second: a namespace that has a name.
fn add(name: &str) -> Result<()> {
    let context = || format!("cannot make network namespace {name}");
    let path = Path::new(DIRECTORY).join(name);
    fs::create_dir_all(DIRECTORY).with_context(context)?;
    File::create_new(&path).with_context(context)?;
    let named = thread::scope(|scope| {
        let inside = scope.spawn(|| -> Result<()> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let nothing = None::<&str>;
            let own = "/proc/thread-self/ns/net";
            Ok(mount(Some(own), &path, nothing, MsFlags::MS_BIND, nothing)?)
        });
        inside.join().map_err(|_| anyhow!("a thread panicked"))?
    });
    named
        .inspect_err(|_| drop(fs::remove_file(&path)))
        .with_context(context)
}

/// As `ip netns del`. The namespace lives on as long as something is in it.
fn remove(name: &str) {
    let path = Path::new(DIRECTORY).join(name);
    // A run that was killed may not have come to mounting it; and what is mounted cannot be removed.
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    if let Err(error) = fs::remove_file(&path) {
        eprintln!("skbtrace-tests: network namespace {name} is left behind: {error}");
    }
}

/// Removes the namespaces of earlier runs whose process is gone.
pub fn sweep() {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if let Some(owner) = owner
            && !Path::new("/proc").join(owner).exists()
        {
            remove(name);
        }
    }
}
