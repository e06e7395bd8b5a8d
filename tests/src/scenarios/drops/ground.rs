//! The networks in which packets are lost, each built once.
//!
//! The ways to lose a packet use them one after the other. What a way changes is its own packet's
//! fate alone, told by the packet's source port, or is put back when its shot is dropped.

use std::cell::OnceCell;
use std::rc::Rc;

use anyhow::Result;

use crate::topology::link::Link;
use crate::topology::node::Routed;
use crate::topology::{self, Cluster};

/// What has been built so far.
#[derive(Default)]
pub struct Ground {
    link: OnceCell<Rc<Link>>,
    routed: OnceCell<Rc<Routed>>,
    bridged: OnceCell<Rc<Cluster>>,
}

fn built<T>(cell: &OnceCell<Rc<T>>, build: fn() -> Result<T>) -> Result<Rc<T>> {
    match cell.get() {
        Some(known) => Ok(Rc::clone(known)),
        None => {
            let new = Rc::new(build()?);
            Ok(Rc::clone(cell.get_or_init(|| new)))
        }
    }
}

impl Ground {
    /// Two hosts and a cable, with IPv6.
    pub fn link(&self) -> Result<Rc<Link>> {
        built(&self.link, Link::build_with_ipv6)
    }

    /// A node between two pods.
    pub fn routed(&self) -> Result<Rc<Routed>> {
        built(&self.routed, Routed::build)
    }

    /// Two pods at a bridge.
    pub fn bridged(&self) -> Result<Rc<Cluster>> {
        built(&self.bridged, topology::pods)
    }
}
