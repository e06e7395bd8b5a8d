//! Names that the kernel side's numbers stand for in this run.

use std::{cell::OnceCell, collections::HashMap};

use skbtrace_common::{
    hooks::{HOOKS, Kind},
    layout::Layout,
};

use super::attaching::Engine;
use crate::{
    decode::Names,
    kernel::{code::BridgeCode, netns},
};

/// The names of one run.
pub struct SessionNames {
    /// By row of the catalogue.
    hooks: Vec<&'static str>,
    /// Read when the first copy is seen: by then the bridge that made it is there.
    bridge: OnceCell<BridgeCode>,
    netns: HashMap<u32, String>,
    layout: Layout,
}

impl SessionNames {
    /// The names of what is attached; those of network namespaces only when they are shown.
    pub fn new(engine: &Engine, with_netns: bool) -> Self {
        let mut hooks: Vec<_> = HOOKS.iter().map(|hook| hook.name).collect();
        for hooked in &engine.hooks {
            if HOOKS[hooked.row].kind == Kind::Hop {
                hooks[hooked.row] = hooked.site.display_name();
            }
        }
        let netns = if with_netns {
            netns::names().into_iter().collect()
        } else {
            HashMap::new()
        };
        Self {
            hooks,
            bridge: OnceCell::new(),
            netns,
            layout: engine.layout,
        }
    }
}

impl Names for SessionNames {
    fn hook(&self, row: u16) -> &str {
        self.hooks.get(usize::from(row)).copied().unwrap_or("")
    }

    fn is_bridge_code(&self, address: u64) -> bool {
        self.bridge.get_or_init(BridgeCode::read).contains(address)
    }

    fn netns(&self, inode: u32) -> Option<&str> {
        self.netns.get(&inode).map(String::as_str)
    }

    fn sock_layout(&self) -> &Layout {
        &self.layout
    }
}
