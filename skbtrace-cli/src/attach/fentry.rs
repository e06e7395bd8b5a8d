//! fentry and fexit: a program at a function's entry or return through a trampoline, the cheapest
//! hit there is.
//!
//! Needs the function's description in BTF, the kernel's or its module's. The program's packet is
//! then known to the verifier to be one, so its fields can be read without a helper.

use std::{
    collections::HashMap,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use skbtrace_common::hooks::{Arg, Binding, Kind, Site};

use super::{
    link::Link,
    multi::{self, Target},
    object::Loaded,
    sys::{self, ProgramKind},
};
use crate::kernel::layout::{FunctionId, Types};

/// The last position that the kernel side reads.
const LAST: u8 = 6;

/// What is needed for programs of this kind.
pub struct Trampolines {
    /// The kernel's functions, by name.
    functions: HashMap<String, FunctionId>,
    /// Modules' BTF, by module.
    modules: HashMap<String, OwnedFd>,
    /// Whether one program can be attached to many functions.
    has_multi: bool,
}

impl Trampolines {
    /// Takes what BTF says of this kernel's functions.
    pub fn new(types: &Types) -> Self {
        let modules = if types.has_module_btf {
            sys::kernel_btf_objects().into_iter().collect()
        } else {
            HashMap::new()
        };
        Self {
            functions: types.functions.clone(),
            modules,
            has_multi: types.has_fentry_multi,
        }
    }

    /// Whether BTF describes a function, so that it can be tried.
    pub fn describes(&self, site: &Site) -> bool {
        // A specialised copy (`.constprop.0`) is not the function that BTF describes.
        self.functions.contains_key(site.symbol)
    }

    /// Attaches a program to a function's entry.
    pub fn attach(
        &self,
        loaded: &Loaded,
        program: &'static str,
        site: &Site,
        binding: Binding,
    ) -> Result<Link, String> {
        let (function, btf) = self.find(site)?;
        let mut binding = binding.with_arguments();
        if matches!(site.arg, Arg::Skb(_)) {
            binding = binding.with_direct_loads();
        }
        link(
            loaded,
            program,
            ProgramKind::fentry(function.id, btf),
            binding,
        )
    }

    /// A function's module and its number in BTF, where one program can be attached to many.
    pub fn place(&self, site: &Site) -> Option<(Option<&'static str>, u32)> {
        let function = self.functions.get(site.symbol)?;
        self.has_multi.then_some((function.module, function.id))
    }

    /// Attaches one program to the entries of all targets that will have it, which are of one
    /// module or of the kernel. Returns the links, and the targets that were refused.
    pub fn attach_many(
        &self,
        loaded: &Loaded,
        program: &'static str,
        module: Option<&'static str>,
        binding: Binding,
        targets: &[Target],
    ) -> (Vec<Link>, Vec<Target>) {
        let btf = module.map(|module| self.modules.get(module).map(OwnedFd::as_fd));
        let kind = match btf {
            None => ProgramKind::fentry_multi(None),
            Some(Some(btf)) => ProgramKind::fentry_multi(Some(btf)),
            Some(None) => return (Vec::new(), targets.to_vec()),
        };
        multi::attach_halving(
            targets,
            || loaded.load(program, kind, binding).ok(),
            |program, targets| {
                let ids: Vec<u32> = targets
                    .iter()
                    .filter_map(|target| u32::try_from(target.place).ok())
                    .collect();
                sys::link_fentry_multi(program.as_fd(), &ids, &multi::cookies(targets))
            },
        )
    }

    /// Attaches a program to a function's return, where it finds the arguments and what was
    /// returned. `bind` makes the binding of a site.
    pub fn attach_return(
        &self,
        loaded: &Loaded,
        program: &'static str,
        site: &Site,
        kind: Kind,
        bind: impl Fn(&Site) -> Binding,
    ) -> Result<Link, String> {
        let (function, btf) = self.find(site)?;
        let mut site = *site;
        if kind != Kind::Morph {
            // What was returned stands behind the arguments.
            site.table = Some(function.arguments.saturating_add(1))
                .filter(|position| *position <= LAST)
                .ok_or("too many arguments")?;
        }
        link(
            loaded,
            program,
            ProgramKind::fexit(function.id, btf),
            bind(&site).with_arguments(),
        )
    }

    fn find(&self, site: &Site) -> Result<(&FunctionId, Option<BorrowedFd<'_>>), String> {
        let function = self
            .functions
            .get(site.symbol)
            .ok_or("not described by BTF")?;
        let btf = match function.module {
            None => None,
            Some(module) => {
                let btf = self.modules.get(module).ok_or("no BTF of its module")?;
                Some(btf.as_fd())
            }
        };
        Ok((function, btf))
    }
}

fn link(
    loaded: &Loaded,
    program: &'static str,
    kind: ProgramKind<'_>,
    binding: Binding,
) -> Result<Link, String> {
    let program = loaded
        .load(program, kind, binding)
        .map_err(|error| error.to_string())?;
    let link = sys::attach_tracing(program.as_fd()).map_err(|error| error.to_string())?;
    Ok(Link::new(link, program))
}
