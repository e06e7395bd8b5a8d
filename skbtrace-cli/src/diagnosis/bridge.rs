//! Bridges: ports that do not forward, VLANs, and nowhere to go.

use super::{
    Cause,
    loss::Loss,
    words::{device, netns, place, towards},
};
use crate::journey::What;

/// The port is blocked, or learns, or listens.
pub fn port_state(loss: &Loss<'_>) -> Option<Cause> {
    // net/bridge/br_input.c, br_handle_frame: drops for the state of the port, and frames that no
    // host may send, which are no IP.
    let is_it = loss.reason == "BRIDGE_INGRESS_STP_STATE" || loss.is_at(&["br_handle_frame"]);
    if !is_it {
        return None;
    }
    let dev = device(loss.place().device);
    let sentence = format!(
        "the bridge's port {} does not forward: its spanning tree state forbids it",
        place(loss.place(), loss.case.names)
    );
    let check = format!(
        "in that netns: bridge -d link show dev {dev} (state): listening and learning take twice \
         forward_delay after a port comes up; blocking means that another port leads there"
    );
    loss.shows(Cause::certain("bridge-port-state", sentence, check), [])
}

/// The VLAN filter let it not in, or not out.
pub fn vlan(loss: &Loss<'_>) -> Option<Cause> {
    let filters = [
        "br_allowed_ingress",
        "__allowed_ingress",
        "br_handle_vlan",
        "br_handle_ingress_vlan_tunnel",
    ];
    // br_handle_frame_finish (net/bridge/br_input.c) drops before it forwards: what the VLAN filter
    // has not freed itself, locked ports, and ports that are disabled.
    let is_it = loss.is_at(&filters) || loss.is_at(&["br_handle_frame_finish"]);
    if !is_it {
        return None;
    }
    let dev = device(loss.place().device);
    let sentence = format!(
        "the bridge's VLAN filter does not let {} in at its port {}",
        towards(&loss.packet()),
        place(loss.place(), loss.case.names)
    );
    let check = format!(
        "in that netns: bridge vlan show dev {dev}; ip -d link show type bridge (vlan_filtering)"
    );
    let is_certain = loss.is_at(&filters);
    let cause = Cause::known(is_certain, "bridge-vlan", sentence, check);
    loss.shows(cause, [])
}

/// No port may have it: isolated, or the one it came by.
pub fn no_port(loss: &Loss<'_>) -> Option<Cause> {
    let forwards = ["br_forward", "br_flood", "__br_forward"];
    let tried = loss.last_at(&forwards);
    // br_forward ends by freeing, with a jump: the place is then its caller's.
    let is_last = tried.is_some_and(|at| at + 1 == loss.at)
        && loss.is_at(&["br_handle_frame_finish", "br_dev_xmit"]);
    if !is_last && !loss.is_at(&forwards) {
        return None;
    }
    let before = tried.and_then(|at| loss.case.journey.hops.get(at));
    let port = before.filter(|hop| matches!(hop.what, What::Passed { .. }));
    let sentence = format!(
        "the bridge in {} has no port to which it may forward {} from {}: the port is isolated, in \
         no common VLAN, blocked, or the one that it came by",
        netns(loss.place().netns, loss.case.names),
        towards(&loss.packet()),
        device(port.unwrap_or(loss.hop).device),
    );
    let check = "in that netns: bridge -d link (isolated, hairpin, state); bridge fdb; bridge vlan";
    loss.shows(Cause::likely("bridge-no-port", sentence, check), tried)
}
