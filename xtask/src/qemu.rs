//! One QEMU process: how it is started, read and never left behind.
//!
//! Always software emulation: it runs anywhere, and it is what makes the instruction counts repeat.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::cable;

pub const PROGRAM: &str = "qemu-system-x86_64";

/// All that can be emulated, without what emulation is slow at: the kernel would copy and clear
/// memory by instructions that are carried out byte by byte, and each miss of the TLB would walk five
/// levels of page tables. Without these, 6.1 attaches in two thirds of the time.
const QUICK: &str = "max,-erms,-fsrm,-la57";

/// What a virtual machine is made of.
pub struct Machine {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub cpus: u32,
    pub memory_mib: u32,
    /// One guest instruction takes one guest nanosecond (and there is one CPU).
    pub icount: bool,
    pub disk: Option<PathBuf>,
    /// What its network device is connected to; without, it has none.
    pub cable: Option<cable::End>,
    /// The terminal's input goes to the guest, Ctrl-C included; Ctrl-A X ends the machine.
    pub interactive: bool,
}

impl Machine {
    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        // Benchmarks keep the processor that their figures were counted with.
        let processor = if self.icount { "max" } else { QUICK };
        command.args(["-cpu", processor]);
        if self.icount {
            command.args([
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=off",
                "-smp",
                "1",
            ]);
        } else {
            // The processors take turns in one thread. With a thread each, QEMU before 8.1 may
            // go on running code the guest has patched since (seen: an oops on an int3 that was
            // no longer there), and this guest patches its kernel all the time.
            command.args([
                "-accel",
                "tcg,thread=single",
                "-smp",
                &self.cpus.to_string(),
            ]);
        }
        command.args(["-m", &self.memory_mib.to_string()]);
        // Two serial lines, so that no kernel message gets into the command's output.
        command.args([
            "-chardev",
            "file,id=kernel,path=/dev/stderr",
            "-serial",
            "chardev:kernel",
        ]);
        command.args([
            "-chardev",
            "stdio,id=command,mux=on,signal=off",
            "-serial",
            "chardev:command",
        ]);
        if self.interactive {
            command.args(["-mon", "chardev=command"]);
        }
        if let Some(disk) = &self.disk {
            let format = if disk.extension().is_some_and(|ext| ext == "qcow2") {
                "qcow2"
            } else {
                "raw"
            };
            command.arg("-drive").arg(format!(
                "file={},if=virtio,format={format},snapshot=on",
                disk.display()
            ));
        }
        if let Some(end) = &self.cable {
            end.plug_into(&mut command);
        }
        command
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initrd);
        command.args([
            "-append",
            "console=ttyS0 quiet panic=-1 random.trust_cpu=on",
        ]);
        command
    }

    pub fn start(&self) -> Result<Running> {
        let mut command = self.command();
        let input = if self.interactive {
            Stdio::inherit()
        } else {
            Stdio::null()
        };
        command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        die_with_parent(&mut command);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {PROGRAM}: run `cargo xtask setup`"))?;
        let (sender, output) = mpsc::channel();
        forward(child.stdout.take(), sender.clone(), Output::Command);
        forward(child.stderr.take(), sender, Output::Kernel);
        Ok(Running { child, output })
    }
}

/// Passes on all that `stream` gives; the channel closes with the last stream.
fn forward(
    stream: Option<impl Read + Send + 'static>,
    sender: mpsc::Sender<Output>,
    kind: fn(Vec<u8>) -> Output,
) {
    let Some(mut stream) = stream else { return };
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if sender.send(kind(buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
}

/// Lets the kernel kill `command` should we die without a chance to do it ourselves.
/// It dies with the *thread* that starts it, so that thread has to see it through.
fn die_with_parent(command: &mut Command) {
    let kill = || {
        // SAFETY: prctl(PR_SET_PDEATHSIG) takes plain numbers and is async-signal-safe.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(kill) };
}

/// A started machine; dropping it kills it.
pub struct Running {
    child: Child,
    output: Receiver<Output>,
}

/// What came out of a machine.
pub enum Output {
    /// On the line of the command (`/dev/ttyS1` in the guest).
    Command(Vec<u8>),
    /// On the line of firmware and kernel, or from QEMU itself.
    Kernel(Vec<u8>),
    /// The machine is gone.
    Closed,
    /// Nothing until the deadline.
    TimedOut,
}

impl Running {
    pub fn read(&self, deadline: Option<Instant>) -> Output {
        let received = match deadline {
            Some(deadline) => self
                .output
                .recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => self
                .output
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(output) => output,
            Err(RecvTimeoutError::Timeout) => Output::TimedOut,
            Err(RecvTimeoutError::Disconnected) => Output::Closed,
        }
    }

    /// All that came out of it and was not read.
    pub fn rest(&self) -> Vec<u8> {
        let bytes = |output| match output {
            Output::Command(bytes) | Output::Kernel(bytes) => bytes,
            Output::Closed | Output::TimedOut => Vec::new(),
        };
        self.output.try_iter().flat_map(bytes).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_instructions_means_one_cpu() {
        let machine = Machine {
            kernel: "vmlinuz".into(),
            initrd: "initrd".into(),
            cpus: 4,
            memory_mib: 512,
            icount: true,
            disk: Some("peers.img".into()),
            cable: None,
            interactive: false,
        };
        let line = crate::process::describe(&machine.command());
        assert!(
            line.contains("-accel tcg,thread=single -icount shift=0,sleep=off -smp 1"),
            "{line}"
        );
        assert!(
            line.contains("file=peers.img,if=virtio,format=raw,snapshot=on"),
            "{line}"
        );
        assert!(!line.contains("-mon"), "{line}");
        assert!(line.contains("-cpu max -accel"), "{line}");
        assert!(!line.contains("-net"), "{line}");
    }
}
