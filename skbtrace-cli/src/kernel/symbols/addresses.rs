//! Addresses: which function a code address is in.
//!
//! For drops and stacks. The kernel prints all its symbols, megabytes of text, so they are read
//! when the first address is asked for and never at the start, and are kept in a few blocks. An
//! address in no known function may be of a module that was loaded since: the symbols are then
//! read again, and what is new is kept beside what was known.
//!
//! By hand, because no more than this text is needed: the crate blazesym would do the same
//! reading, and bring along what it has for ELF, DWARF and processes.
//!
//! **Invariant:** where it is not sure that an address is in a function, there is no answer. One
//! doubt remains: code of a module that took an unloaded one's place carries the old names.

use std::{
    cell::{Cell, OnceCell},
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader},
    time::{Duration, Instant},
};

use crate::event::Symbol;

const KALLSYMS: &str = "/proc/kallsyms";
/// How long the kernel's answer is believed; twice as long each time it brought nothing new.
const BELIEVED: Duration = Duration::from_secs(1);
/// No function is longer, bytes: bounds those behind which no other symbol stands.
const LONGEST: u64 = 1 << 20;
/// Modules' code begins and ends with pages (`CONFIG_STRICT_MODULE_RWX`).
const PAGE: u64 = 4096;

/// Opens the kernel's symbols.
type Source = Box<dyn Fn() -> io::Result<Box<dyn BufRead>>>;

/// The functions of the running kernel, as far as addresses were asked for.
pub struct Addresses {
    source: Source,
    known: OnceCell<Known>,
    /// When the symbols were last read.
    read: Cell<Option<Instant>>,
    believed: Cell<Duration>,
}

/// What one reading brought, and what later ones added.
struct Known {
    functions: Functions,
    newer: OnceCell<Box<Known>>,
}

impl Addresses {
    /// Those of the running kernel. Reads nothing yet.
    pub fn of_kernel() -> Self {
        let source = || -> io::Result<Box<dyn BufRead>> {
            Ok(Box::new(BufReader::with_capacity(
                1 << 16,
                File::open(KALLSYMS)?,
            )))
        };
        Self::new(Box::new(source), BELIEVED)
    }

    fn new(source: Source, believed: Duration) -> Self {
        Self {
            source,
            known: OnceCell::new(),
            read: Cell::new(None),
            believed: Cell::new(believed),
        }
    }

    /// The function that an address is in.
    pub fn find(&self, address: u64) -> Option<Symbol<'_>> {
        // No code is in the lower half.
        if address >> 63 == 0 {
            return None;
        }
        let first = self.known.get_or_init(|| {
            let known = Known::new(self.functions(false));
            self.read.set(Some(Instant::now()));
            known
        });
        let mut last = first;
        loop {
            if let Some(found) = last.functions.find(address) {
                return Some(found);
            }
            match last.newer.get() {
                Some(newer) => last = newer,
                None => break,
            }
        }
        // Where addresses are hidden (kernel.kptr_restrict), they will stay so.
        if first.functions.is_empty() || !self.is_due() {
            return None;
        }
        let functions = self.functions(true);
        self.read.set(Some(Instant::now()));
        if functions.find(address).is_none() {
            self.believed.set(self.believed.get().saturating_mul(2));
            return None;
        }
        let newer = last.newer.get_or_init(|| Box::new(Known::new(functions)));
        newer.functions.find(address)
    }

    fn is_due(&self) -> bool {
        self.read
            .get()
            .is_none_or(|at| at.elapsed() >= self.believed.get())
    }

    /// The symbols as they are now; those that were read when an error came.
    fn functions(&self, modules_only: bool) -> Functions {
        let mut functions = Functions::default();
        if let Ok(mut text) = (self.source)() {
            functions.read(&mut text, modules_only);
        }
        functions
    }
}

impl Known {
    fn new(functions: Functions) -> Self {
        Self {
            functions,
            newer: OnceCell::new(),
        }
    }
}

/// Functions by their addresses.
#[derive(Debug, Default)]
struct Functions {
    /// In the order of addresses, each address once.
    all: Vec<Function>,
    /// All names, one behind the other.
    names: String,
    /// Names of modules; the first is the kernel's own and empty.
    modules: Vec<String>,
}

/// Modules while symbols are read. Each module's stand together; what comes later under its name is
/// of code that ran once, when the module was loaded, and is no longer there: ftrace keeps those
/// names if it was in use then (kernel/trace/ftrace.c, ftrace_free_mem, since 4.15), and the memory
/// may be another module's by now.
#[derive(Default)]
struct Modules {
    /// Their places in [`Functions::modules`].
    known: HashMap<String, u16>,
    /// The one whose symbols are being read.
    last: u16,
}

/// Sixteen bytes, as there are a hundred thousand.
#[derive(Clone, Copy, Debug)]
struct Function {
    address: u64,
    /// Where in `names` its name starts, and how long it is.
    name: u32,
    len: u16,
    /// Place in `modules`.
    module: u16,
}

impl Functions {
    /// Reads the text of `/proc/kallsyms`; lines that are not understood are left out.
    fn read(&mut self, text: &mut dyn BufRead, modules_only: bool) {
        let mut modules = Modules::default();
        let mut line = Vec::new();
        self.modules = vec![String::new()];
        while text.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            if let Ok(line) = str::from_utf8(&line) {
                self.line(line, modules_only, &mut modules);
            }
            line.clear();
        }
        // Of several names of one place the first is taken, as the kernel does: stable, therefore.
        self.all.sort_by_key(|function| function.address);
        self.all.dedup_by_key(|function| function.address);
        self.all.shrink_to_fit();
        self.names.shrink_to_fit();
    }

    /// Takes a line: address, kind, name and, of a module, its name in brackets.
    fn line(&mut self, line: &str, modules_only: bool, modules: &mut Modules) -> Option<()> {
        let mut words = line.split_ascii_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let (kind, name, module) = (words.next()?, words.next()?, words.next().unwrap_or(""));
        // Paddings before functions (CONFIG_FUNCTION_PADDING_BYTES, since 6.2) are no code.
        if address == 0
            || !matches!(kind, "t" | "T" | "w" | "W")
            || modules_only && module.is_empty()
            || name.starts_with("__pfx_")
            || name.starts_with("__cfi_")
        {
            return None;
        }
        let module = module.trim_start_matches('[').trim_end_matches(']');
        let module = if module.is_empty() {
            0
        } else if let Some(module) = modules.known.get(module) {
            *module
        } else {
            let number = u16::try_from(self.modules.len()).ok()?;
            self.modules.push(module.to_owned());
            modules.known.insert(module.to_owned(), number);
            modules.last = number;
            number
        };
        if module != 0 && module != modules.last {
            return None;
        }
        self.all.push(Function {
            address,
            name: u32::try_from(self.names.len()).ok()?,
            len: u16::try_from(name.len()).ok()?,
            module,
        });
        self.names.push_str(name);
        Some(())
    }

    fn find(&self, address: u64) -> Option<Symbol<'_>> {
        let after = self.all.partition_point(|other| other.address <= address);
        let function = self.all.get(after.checked_sub(1)?)?;
        let end = self.end(function, self.all.get(after));
        if address >= end {
            return None;
        }
        let from = function.name as usize;
        let module = self.modules.get(usize::from(function.module))?;
        Some(Symbol {
            function: self.names.get(from..from + usize::from(function.len))?,
            offset: address - function.address,
            module: (!module.is_empty()).then_some(module),
        })
    }

    /// Where a function ends at the latest: the kernel prints no sizes.
    fn end(&self, function: &Function, next: Option<&Function>) -> u64 {
        let mut end = function.address.saturating_add(LONGEST);
        if let Some(next) = next {
            end = end.min(next.address);
        }
        let is_last = next.is_none_or(|next| next.module != function.module);
        // The last of a module, or one of those that stand alone ("[bpf]", "[__builtin__kprobes]").
        if function.module != 0 && (is_last || self.stands_alone(function)) {
            end = end.min((function.address | (PAGE - 1)).saturating_add(1));
        }
        end
    }

    /// Whether code of this origin lies in pieces all over the modules' space: what the kernel
    /// made itself (kernel/bpf/core.c, kernel/trace/ftrace.c, kernel/kprobes.c).
    fn stands_alone(&self, function: &Function) -> bool {
        self.modules
            .get(usize::from(function.module))
            .is_some_and(|module| module == "bpf" || module.starts_with("__builtin__"))
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
mod tests;
