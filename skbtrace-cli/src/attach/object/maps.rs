//! The object's maps: what they are called, and how they are created.

use std::os::fd::AsFd as _;

use aya::maps::MapData;
use aya_obj::{EbpfSectionKind, Map, generated::bpf_map_type};
use skbtrace_common::config::Config;

use super::ObjectError;
use crate::attach::sys;

/// Maps by the transport that needs them; the other's stand empty in their place.
pub const RING: &str = "EVENTS";
pub const PERF: &str = "PERF_EVENTS";
pub const DEBUG: &str = "DEBUG";
pub const COUNTERS: &str = "COUNTERS";
/// Variables that start as zero; there is one, `STOPPED`.
pub const SWITCH: &str = ".bss";
/// Which packets are followed.
pub const FOLLOWED: &str = ".bss.followed";
/// Where a symbol's name is put and its address found.
pub const SYMBOL: &str = ".bss.symbol";
/// Size of a bucket of [`FOLLOWED`], bytes: four places with address, identity and parent.
const BUCKET: u32 = 4 * 3 * 8;

/// Maps that user space reads.
#[derive(Clone, Copy, Debug)]
pub enum MapName {
    /// Events, ring buffer.
    Ring,
    /// Events, perf event array.
    Perf,
    /// Numbers of debug lines, ring buffer.
    Debug,
    /// What each CPU counted.
    Counters,
    /// The word that ends the run.
    Switch,
    /// Which packets are followed.
    Followed,
    /// A symbol's name and address.
    Symbol,
}

impl MapName {
    /// Its name in the object.
    pub const fn in_object(self) -> &'static str {
        match self {
            Self::Ring => RING,
            Self::Perf => PERF,
            Self::Debug => DEBUG,
            Self::Counters => COUNTERS,
            Self::Switch => SWITCH,
            Self::Followed => FOLLOWED,
            Self::Symbol => SYMBOL,
        }
    }
}

/// Bytes of the table of packets that are followed.
#[must_use]
pub fn size_of_followed(config: &Config) -> u32 {
    (config.follow_mask + 1).saturating_mul(BUCKET)
}

/// Creates a map, with what it starts with.
pub fn create(name: &str, map: &Map) -> Result<MapData, ObjectError> {
    let short: String = name.chars().take(15).collect();
    let short = short.trim_start_matches('.');
    let mut map = map.clone();
    if map.map_type() == bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32 {
        // aya-ebpf defines it with the size of a pointer; the kernel wants none.
        map.set_value_size(0);
    }
    let data = MapData::create(map.clone(), short, None).map_err(|source| ObjectError::Map {
        name: name.to_owned(),
        source,
    })?;
    let fill = |source| ObjectError::Fill {
        name: name.to_owned(),
        source,
    };
    // What starts as zero is zero, and may have another size by now.
    if !map.data().is_empty() && map.section_kind() != EbpfSectionKind::Bss {
        sys::set_only_element(data.fd().as_fd(), map.data()).map_err(fill)?;
    }
    if map.section_kind() == EbpfSectionKind::Rodata {
        sys::freeze(data.fd().as_fd()).map_err(fill)?;
    }
    Ok(data)
}

/// An array of one element in place of a map that this run does not use: its code is dead, but it
/// still names a map, and the kernel may not know the real one's type.
pub fn placeholder() -> Map {
    Map::new_from_params(bpf_map_type::BPF_MAP_TYPE_ARRAY as u32, 4, 4, 1, 0)
}
