//! Layout: where this kernel keeps the fields that skbtrace reads, and how its functions take a
//! packet.
//!
//! Everything is read from BTF once at the start and the BTF is dropped again. A kernel without
//! BTF of its modules (before 5.11) is known by constants for the few module structures that
//! matter; see [`skbtrace_common::layout::Field::without_module_btf`].

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use skbtrace_common::{
    hooks::{Arg, HOOKS, Site},
    layout::{ABSENT, DETAILS, FIELDS, Layout, WINDOW},
};

use super::{
    btf::{Btf, BtfError, PacketArgument},
    drop_reasons::{self, DropReasons},
    sections::{self, Sections, VMLINUX},
};

/// A structure of kernel/bpf/btf.c that there is since 5.11 where modules carry BTF: tells so even
/// while none is loaded.
const MODULE_BTF: &str = "btf_module";

/// The kernel's function that lets memory be read by plain loads, since 6.3, and the structure that
/// memory is then taken for ([`skbtrace_common::config::Config::cast_type`]).
const CAST: &str = "bpf_rdonly_cast";
const CAST_STRUCTURE: &str = "new_utsname";

/// The kernel's functions for programs that run at a function's entry and return, since 6.10.
const SESSION_IS_RETURN: &str = "bpf_session_is_return";
const SESSION_COOKIE: &str = "bpf_session_cookie";

/// A function of kernel/bpf/trampoline.c that there is where one fentry program can be attached to
/// many functions (7.2).
const FENTRY_MULTI: &str = "bpf_tracing_multi_attach";

/// Size of `nf_hook_state.hook` up to 5.12; one byte later.
const OLD_HOOK_SIZE: u32 = 4;

/// What BTF says about this kernel.
#[derive(Debug)]
pub struct Types {
    /// Offsets of fields.
    pub layout: Layout,
    /// How functions take a packet, by name without suffix; functions that are not described are
    /// missing.
    pub arguments: HashMap<String, PacketArgument>,
    /// Where functions are described, by name.
    pub functions: HashMap<String, FunctionId>,
    /// How memory can be read by plain loads, where it can.
    pub cast: Option<Cast>,
    /// What programs at a function's entry and return ask the kernel, where there can be such.
    pub session: Option<Session>,
    /// Whether one fentry program can be attached to many functions.
    pub has_fentry_multi: bool,
    /// Whether the kernel describes its modules.
    pub has_module_btf: bool,
    /// Whether netfilter's structures are as they were up to 5.12.
    pub has_old_hook_state: bool,
    /// Modules whose BTF was used.
    pub modules: BTreeSet<String>,
    /// Names of the reasons for drops; empty when they were not asked for.
    pub drop_reasons: DropReasons,
}

/// A function's number in the BTF that describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionId {
    /// The module it is in; `None` for the kernel itself.
    pub module: Option<&'static str>,
    /// Its number.
    pub id: u32,
    /// How many arguments it takes.
    pub arguments: u8,
}

/// Numbers in the kernel's BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// Of `bpf_rdonly_cast`.
    pub function: u32,
    /// Of `struct new_utsname`.
    pub structure: u32,
}

/// Numbers in the kernel's BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Of `bpf_session_is_return`.
    pub is_return: u32,
    /// Of `bpf_session_cookie`.
    pub cookie: u32,
}

/// Why there is no layout.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The kernel has no BTF.
    #[error(
        "{VMLINUX}: {0}; this kernel carries no type information (CONFIG_DEBUG_INFO_BTF): \
         give its BTF with --btf FILE"
    )]
    NoBtf(io::Error),
    /// A file could not be read.
    #[error("{}: {reason}; --btf wants a file of raw BTF, as {VMLINUX} is", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// A file is no BTF.
    #[error("{}: {reason}; --btf wants a file of raw BTF, as {VMLINUX} is", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: BtfError,
    },
    /// A field without which nothing works.
    #[error(
        "{}: no field {field} in it; is it the BTF of this kernel, or of an older one than 5.10?",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
    },
    /// The fields are somewhere unexpected.
    #[error("{}: {what}; please report this kernel", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What is unexpected.
        what: String,
    },
}

impl Types {
    /// What the running kernel's BTF says, or a file in its place.
    pub fn read(file: Option<&Path>) -> Result<Self, LayoutError> {
        Self::of(&Self::sections(file, false)?, false)
    }

    /// The sections that [`Types::of`] wants.
    pub fn sections(file: Option<&Path>, with_reasons: bool) -> Result<Sections, LayoutError> {
        Sections::read(file, &wanted_names(with_reasons))
    }

    /// What sections say, with the names of drop reasons when they are wanted.
    pub fn of(sections: &Sections, with_reasons: bool) -> Result<Self, LayoutError> {
        let wanted = wanted_names(with_reasons);
        let base = &sections.kernel;
        let has_module_btf = !sections::loaded().is_empty() || base.describes_structure(MODULE_BTF);
        let mut types = Self {
            layout: Layout::UNKNOWN,
            arguments: HashMap::new(),
            functions: HashMap::new(),
            cast: base
                .own_function(CAST)
                .zip(base.structure_id(CAST_STRUCTURE))
                .map(|(function, structure)| Cast {
                    function,
                    structure,
                }),
            session: base
                .own_function(SESSION_IS_RETURN)
                .zip(base.own_function(SESSION_COOKIE))
                .map(|(is_return, cookie)| Session { is_return, cookie }),
            has_fentry_multi: base.own_function(FENTRY_MULTI).is_some(),
            has_module_btf,
            has_old_hook_state: base
                .member("nf_hook_state", "hook")
                .and_then(|place| base.size(place.type_id))
                == Some(OLD_HOOK_SIZE),
            modules: BTreeSet::new(),
            drop_reasons: DropReasons::default(),
        };
        types.take(base, None);
        for module in wanted_modules(with_reasons) {
            // A module without a section only lacks its rows.
            if let Some(btf) = sections.module(module, &wanted) {
                types.take(&btf, Some(module));
                types.modules.insert(module.to_owned());
            }
        }
        if types.is_old() {
            types.fall_back();
        }
        types.check(base, &sections.path)?;
        Ok(types)
    }

    /// Nothing known.
    #[cfg(test)]
    pub(crate) fn unknown() -> Self {
        Self {
            layout: Layout::UNKNOWN,
            arguments: HashMap::new(),
            functions: HashMap::new(),
            cast: None,
            session: None,
            has_fentry_multi: false,
            has_module_btf: true,
            has_old_hook_state: false,
            modules: BTreeSet::new(),
            drop_reasons: DropReasons::default(),
        }
    }

    /// The sites to try on this kernel: with the position that BTF tells, or as the catalogue says
    /// where BTF does not know the function. None where nobody can tell how the function takes its
    /// packet.
    pub fn sites(&self, sites: &'static [Site]) -> Vec<Site> {
        let mut symbols = HashSet::new();
        let mut tried = Vec::new();
        for site in sites {
            let alternatives = || sites.iter().filter(|other| other.symbol == site.symbol);
            let unreadable =
                matches!(site.arg, Arg::NftPktinfo(_)) && self.layout.nft_pktinfo_skb == ABSENT;
            if !symbols.insert(site.symbol) || unreadable {
                continue;
            }
            if site.tracepoint {
                // A function of the same name may take its packet elsewhere (qdisc_drop).
                tried.push(*site);
                continue;
            }
            let described = self.arguments.get(site.display_name());
            let fitting = alternatives().find(|other| described.is_some_and(|d| fits(other, *d)));
            match (fitting, described) {
                (Some(site), _) => tried.push(*site),
                // Not described: the last alternative is the oldest, which had no BTF.
                (None, None) if alternatives().count() > 1 => {
                    if self.is_old() {
                        tried.extend(alternatives().next_back());
                    }
                }
                // A specialised copy may lack arguments that BTF still lists.
                (None, Some(described)) if site.table == 0 && !site.symbol.contains('.') => {
                    tried.push(Site {
                        arg: described.arg(),
                        ..*site
                    });
                }
                (None, _) => tried.push(*site),
            }
        }
        tried
    }

    /// Whether this kernel is as 5.10 is: without BTF of its modules, whose structures and
    /// functions are then taken to be 5.10's.
    fn is_old(&self) -> bool {
        !self.has_module_btf && self.has_old_hook_state
    }

    fn take(&mut self, btf: &Btf<'_>, module: Option<&'static str>) {
        let mut layout = self.layout;
        for (slot, field) in layout.slots().into_iter().zip(FIELDS) {
            if *slot == ABSENT
                && (field.module.is_none() || field.module == module || module.is_none())
                && let Some(place) = btf.member(field.structure, field.path)
                && let Ok(offset) = u16::try_from(place.bit / 8)
            {
                *slot = offset;
            }
        }
        self.layout = layout;
        self.drop_reasons.take(btf);
        for site in HOOKS.iter().flat_map(|hook| hook.sites) {
            let name = site.display_name();
            if let Some(argument) = btf.packet_argument(name) {
                self.arguments.entry(name.to_owned()).or_insert(argument);
            }
            if let Some(id) = btf.own_function(name) {
                let function = FunctionId {
                    module,
                    id,
                    arguments: btf.arguments(id).unwrap_or(u8::MAX),
                };
                self.functions.entry(name.to_owned()).or_insert(function);
            }
        }
    }

    fn fall_back(&mut self) {
        for (slot, field) in self.layout.slots().into_iter().zip(FIELDS) {
            if *slot == ABSENT {
                *slot = field.without_module_btf;
            }
        }
    }

    /// Checks what the kernel side relies on, and fills in what is no plain offset.
    fn check(&mut self, base: &Btf<'_>, path: &Path) -> Result<(), LayoutError> {
        let mut layout = self.layout;
        for (slot, field) in layout.slots().into_iter().zip(FIELDS) {
            if *slot == ABSENT && field.required {
                return Err(LayoutError::Missing {
                    path: path.to_owned(),
                    field: format!("{}.{}", field.structure, field.path),
                });
            }
        }
        let unexpected = |what: &str| LayoutError::Unexpected {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        let pkt_type = base.member("sk_buff", "pkt_type");
        self.layout.skb_pkt_type_mask = match pkt_type {
            Some(place) if place.bits > 0 && place.bits < 8 && place.bit % 8 == 0 => {
                (1 << place.bits) - 1
            }
            _ => {
                return Err(unexpected(
                    "sk_buff.pkt_type is not at the start of its byte",
                ));
            }
        };
        if layout.skb_vlan_tci != layout.skb_vlan_proto + 2 {
            return Err(unexpected("sk_buff.vlan_tci does not follow vlan_proto"));
        }
        (self.layout.skb_window, self.layout.skb_window_size) = window(
            &[
                (layout.skb_protocol, 2),
                (layout.skb_transport_header, 2),
                (layout.skb_network_header, 2),
                (layout.skb_mac_header, 2),
                (layout.skb_tail, 4),
                (layout.skb_head, 8),
                (layout.skb_data, 8),
            ],
            WINDOW,
        )
        .ok_or_else(|| unexpected("the header positions of sk_buff are far apart"))?;
        (self.layout.skb_details, _) = window(
            &[
                (layout.skb_len, 4),
                (layout.skb_pkt_type, 1),
                (layout.skb_vlan_proto, 4),
                (layout.skb_mark, 4),
            ],
            DETAILS,
        )
        .ok_or_else(|| unexpected("length, type and mark of sk_buff are far apart"))?;
        Ok(())
    }
}

/// Where a window over fields (offset, size) starts, and its size: aligned, so that eight bytes in
/// it are as aligned on the kernel side's stack. `None` when it would be larger than `most`.
fn window(fields: &[(u16, u16)], most: usize) -> Option<(u16, u16)> {
    let first = fields.iter().map(|(at, _)| *at).min()? & !7;
    let end = fields.iter().map(|(at, size)| at + size).max()?;
    let size = (end - first).next_multiple_of(8);
    (usize::from(size) <= most).then_some((first, size))
}

fn fits(site: &Site, described: PacketArgument) -> bool {
    site.arg == described.arg()
}

fn wanted_names(with_reasons: bool) -> Vec<&'static str> {
    let structures = FIELDS.iter().map(|field| field.structure);
    let functions = HOOKS
        .iter()
        .flat_map(|hook| hook.sites)
        .map(Site::display_name);
    structures
        .chain(functions)
        .chain(["sk_buff", MODULE_BTF, CAST, CAST_STRUCTURE, FENTRY_MULTI])
        .chain([SESSION_IS_RETURN, SESSION_COOKIE])
        .chain(DropReasons::wanted().filter(|_| with_reasons))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn wanted_modules(with_reasons: bool) -> BTreeSet<&'static str> {
    let of_fields = FIELDS.iter().filter_map(|field| field.module);
    let of_hooks = HOOKS.iter().filter_map(|hook| hook.module);
    let of_reasons = drop_reasons::MODULES.into_iter().filter(|_| with_reasons);
    of_fields.chain(of_hooks).chain(of_reasons).collect()
}

#[cfg(test)]
mod tests;
