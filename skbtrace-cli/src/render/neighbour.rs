//! What is known of a packet's neighbour, in TRACE_INFO, behind the function.
//!
//! | Event                              | Text                                               |
//! |------------------------------------|----------------------------------------------------|
//! | state and link-layer address       | `neigh_resolve_output,state=REACHABLE,lladdr=0a7100000002` |
//! | states                             | `NONE`, `INCOMPLETE`, `STALE\|PERMANENT`, …        |
//! | no address; not known              | `lladdr=-`; `state=?`, `lladdr=?`                  |

use super::digits;
use crate::event::{LinkAddress, Neighbour};

/// Appends its fields, each after a comma.
pub fn push(neighbour: &Neighbour<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",state=");
    match neighbour.state {
        None => out.push(b'?'),
        Some(state) => {
            let start = out.len();
            for name in state.names() {
                if out.len() > start {
                    out.push(b'|');
                }
                out.extend_from_slice(name.as_bytes());
            }
            if out.len() == start {
                out.extend_from_slice(b"NONE");
            }
        }
    }
    out.extend_from_slice(b",lladdr=");
    match neighbour.address {
        LinkAddress::None => out.push(b'-'),
        LinkAddress::Unknown => out.push(b'?'),
        LinkAddress::Known(address) => {
            for &byte in address {
                out.extend_from_slice(&digits::hex2(byte));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::NudState;

    fn text(state: Option<u8>, address: LinkAddress<'_>) -> String {
        let mut out = Vec::new();
        let state = state.map(NudState);
        push(&Neighbour { state, address }, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn texts() {
        let mac = LinkAddress::Known(&[0x0a, 0x71, 0, 0, 0, 2]);
        assert_eq!(text(Some(2), mac), ",state=REACHABLE,lladdr=0a7100000002");
        let none = LinkAddress::None;
        assert_eq!(text(Some(0), none), ",state=NONE,lladdr=-");
        assert_eq!(text(Some(0x84), none), ",state=STALE|PERMANENT,lladdr=-");
        assert_eq!(text(None, LinkAddress::Unknown), ",state=?,lladdr=?");
    }
}
