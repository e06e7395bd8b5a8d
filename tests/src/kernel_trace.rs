//! The kernel's own account of what it dropped: the tracepoint `skb:kfree_skb`, read in tracefs.
//!
//! It is the second opinion on `--drop`. Every kernel has it: 5.10 tells packet and place, since
//! 5.17 there is a reason too (include/trace/events/skb.h). A trial that compares the two does not
//! have to know where this build of the kernel drops what.

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};

use crate::wait::{self, SOON};

const INSTANCES: &str = "/sys/kernel/tracing/instances";

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A packet that the kernel says it dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelDrop {
    /// Address of the `sk_buff`; none where tracefs does not tell (5.10 always does, later kernels
    /// with `options/hash-ptr` off).
    pub skb: Option<u64>,
    /// The protocol, as in Ethernet.
    pub protocol: u16,
    /// The reason's name; none on a kernel without reasons.
    pub reason: Option<String>,
    /// The function that dropped it, without a compiler's suffix.
    pub function: String,
    /// How far in the function the code was.
    pub offset: u64,
}

/// The kernel's trace, on for as long as this value lives.
pub struct KernelTrace {
    instance: PathBuf,
    /// Functions by address, read when first needed: newer kernels print names.
    symbols: RefCell<Symbols>,
}

/// Functions by address, and the modules that were loaded when they were read: a module brings
/// new ones.
#[derive(Default)]
struct Symbols {
    modules: String,
    known: OnceCell<Vec<(u64, String)>>,
}

impl KernelTrace {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("skbtrace-tests-{}-{serial}", std::process::id());
        let instance = Path::new(INSTANCES).join(name);
        fs::create_dir(&instance)
            .with_context(|| format!("cannot create {}", instance.display()))?;
        let trace = Self {
            instance,
            symbols: RefCell::default(),
        };
        trace.set("buffer_size_kb", "2048")?;
        trace.set("events/skb/kfree_skb/enable", "1")?;
        Ok(trace)
    }

    /// Whether this kernel gives reasons.
    pub fn has_reasons() -> Result<bool> {
        const FORMAT: &str = "/sys/kernel/tracing/events/skb/kfree_skb/format";
        let format = fs::read_to_string(FORMAT).with_context(|| format!("cannot read {FORMAT}"))?;
        Ok(format.contains(" reason;"))
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.instance.join(file);
        fs::write(&path, value)
            .with_context(|| format!("cannot write {value} to {}", path.display()))
    }

    /// What was dropped so far.
    pub fn drops(&self) -> Result<Vec<KernelDrop>> {
        const HASHED: &str = "options/hash-ptr";
        let modules = fs::read_to_string("/proc/modules").context("cannot read /proc/modules")?;
        let modules = modules.lines().filter_map(|line| line.split(' ').next());
        let modules = modules.collect::<Vec<_>>().join(" ");
        if self.symbols.borrow().modules != modules {
            let known = OnceCell::new();
            self.symbols.replace(Symbols { modules, known });
        }
        if !self.instance.join(HASHED).exists() {
            let lines = self.lines()?;
            return lines.iter().map(|line| self.drop_of(line, line)).collect();
        }
        // 6.1 prints either the addresses or the reason: without hashing, what `__print_symbolic`
        // made is lost (kernel/trace/trace.c, trace_event_format).
        self.set(HASHED, "1")?;
        let mut hashed: VecDeque<String> = self.lines()?.into();
        self.set(HASHED, "0")?;
        let mut drops = Vec::new();
        // The second reading may have more; both are in the order of time.
        for line in self.lines()? {
            let Some(with_reason) = hashed.pop_front() else {
                break;
            };
            drops.push(self.drop_of(&line, &with_reason)?);
        }
        Ok(drops)
    }

    fn lines(&self) -> Result<Vec<String>> {
        let path = self.instance.join("trace");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let lines = text.lines().filter(|line| line.contains("kfree_skb: "));
        Ok(lines.map(str::to_owned).collect())
    }

    /// The event of `line`, with the reason that `with_reason` tells; the two are one event.
    fn drop_of(&self, line: &str, with_reason: &str) -> Result<KernelDrop> {
        // The task's name may be known at one reading and not at the other.
        let when = |line: &str| {
            let (head, _) = line.split_once("kfree_skb: ")?;
            let (_, when) = head.rsplit_once(" [")?;
            Some(when.to_owned())
        };
        ensure!(
            when(line) == when(with_reason),
            "two events: {line} and {with_reason}"
        );
        let mut drop = parse(line, &self.symbols.borrow().known, symbols)
            .with_context(|| format!("not understood: {line}"))?;
        drop.reason = field(with_reason, "reason: ").map(str::to_owned);
        Ok(drop)
    }

    /// Waits until `wanted` has been dropped `count` times, and yields everything dropped so far.
    pub fn wait_for(
        &self,
        count: usize,
        wanted: impl Fn(&KernelDrop) -> bool,
    ) -> Result<Vec<KernelDrop>> {
        let mut last = Vec::new();
        let waited = wait::until("the kernel to drop it", SOON, || {
            last = self.drops()?;
            let found = last.iter().filter(|drop| wanted(drop)).count();
            Ok((found >= count).then_some(()))
        });
        waited.with_context(|| format!("the kernel dropped {last:#?}"))?;
        Ok(last)
    }
}

impl Drop for KernelTrace {
    fn drop(&mut self) {
        let ended = self
            .set("events/skb/kfree_skb/enable", "0")
            .and_then(|()| Ok(fs::remove_dir(&self.instance)?));
        if let Err(error) = ended {
            eprintln!(
                "skbtrace-tests: {} is left behind: {error:#}",
                self.instance.display()
            );
        }
    }
}

/// Parses `… kfree_skb: skbaddr=ADDRESS … protocol=N location=PLACE reason: NAME`, where PLACE is an
/// address up to 6.0 or so and `function+0x1/0x2` later.
fn parse(
    line: &str,
    known: &OnceCell<Vec<(u64, String)>>,
    read: fn() -> Result<Vec<(u64, String)>>,
) -> Result<KernelDrop> {
    let skb = field(line, "skbaddr=").context("no address")?;
    let protocol = field(line, "protocol=").context("no protocol")?;
    let location = field(line, "location=").context("no place")?;
    let (function, offset) = match location.split_once("+0x") {
        Some((function, rest)) => (function, rest.split('/').next().and_then(hex)),
        None => {
            let symbols = match known.get() {
                Some(symbols) => symbols,
                None => {
                    let symbols = read()?;
                    known.get_or_init(|| symbols)
                }
            };
            let address = hex(location).context("the place")?;
            let after = symbols.partition_point(|(start, _)| *start <= address);
            let before = after.checked_sub(1).and_then(|index| symbols.get(index));
            let (start, name) = before.context("a place before all functions")?;
            (name.as_str(), Some(address - start))
        }
    };
    Ok(KernelDrop {
        // A hashed pointer has 32 bits.
        skb: hex(skb).filter(|address| address >> 56 == 0xff),
        protocol: protocol.parse().context("the protocol")?,
        reason: field(line, "reason: ").map(str::to_owned),
        // Without what the compiler put behind it.
        function: function.split('.').next().unwrap_or(function).to_owned(),
        offset: offset.context("the place's offset")?,
    })
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits.trim_start_matches("0x"), 16).ok()
}

/// The word behind `name`.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(name)?;
    rest.split_whitespace().next()
}

/// Functions of this kernel by address.
fn symbols() -> Result<Vec<(u64, String)>> {
    let text = fs::read_to_string("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
    let mut symbols: Vec<(u64, String)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let code = matches!(words.next()?, "t" | "T" | "w" | "W");
            code.then_some((address, words.next()?.to_owned()))
        })
        .collect();
    ensure!(
        symbols.iter().any(|(address, _)| *address != 0),
        "/proc/kallsyms hides its addresses"
    );
    symbols.sort();
    Ok(symbols)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> KernelDrop {
        let read = || Ok(vec![(0xffff_ffff_8100_0000, "ip_rcv.isra.0".to_owned())]);
        parse(line, &OnceCell::new(), read).expect("parses")
    }

    #[test]
    fn without_reasons() {
        let drop = parsed(
            "ping-115 [001] ..s1 2.859366: kfree_skb: skbaddr=ffff97ee33431200 protocol=2048 \
             location=ffffffff8100002a",
        );
        assert_eq!(drop.skb, Some(0xffff_97ee_3343_1200));
        assert_eq!((drop.function.as_str(), drop.offset), ("ip_rcv", 0x2a));
        assert_eq!((drop.protocol, drop.reason), (2048, None));
    }

    #[test]
    fn with_reasons() {
        let drop = parsed(
            "ping-179 [000] ..s1. 3.137201: kfree_skb: skbaddr=0000000051a5c7fc \
             rx_sk=0000000000000000 protocol=2048 location=icmp_rcv+0x1e6/0x350 reason: NO_SOCKET",
        );
        assert_eq!(drop.skb, None);
        assert_eq!((drop.function.as_str(), drop.offset), ("icmp_rcv", 0x1e6));
        assert_eq!(drop.reason.as_deref(), Some("NO_SOCKET"));
    }
}
