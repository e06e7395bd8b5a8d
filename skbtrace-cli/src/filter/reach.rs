//! Which hooks a filter can never match.
//!
//! A hook that every packet of would be rejected costs each of them a trap for nothing, so it is
//! not attached. The question is answered by trying: is there any kind of packet (network protocol
//! and transport protocol) that both the hook can see and the filter can accept?
//!
//! **Invariant:** the answer errs towards `true`. Only what follows from the packet's protocols
//! counts; interfaces, namespaces, processes and marks exclude no hook.

use skbtrace_common::{
    config::Filter,
    hooks::{Layer3, Layer4},
    proto::{ICMP, ICMP6, TCP, UDP, UDPLITE},
};

/// The network protocol of a packet, as far as the filter tells them apart.
#[derive(Clone, Copy)]
enum Network {
    V4,
    V6,
    Arp,
    Other,
}

/// Whether some packet that passes a hook of these layers could be accepted by `filter`.
#[must_use]
pub fn can_match(filter: &Filter, layer3: Layer3, layer4: Layer4) -> bool {
    let networks: &[Network] = match layer3 {
        Layer3::Any => &[Network::V4, Network::V6, Network::Arp, Network::Other],
        Layer3::V4 => &[Network::V4],
        Layer3::V6 => &[Network::V6],
        Layer3::Arp => &[Network::Arp],
    };
    networks.iter().any(|&network| match network {
        Network::V4 => addresses_v4(filter) && transports(filter, layer4),
        Network::V6 => addresses_v6(filter) && transports(filter, layer4),
        // ARP packets are matched by the IPv4 addresses they speak of.
        Network::Arp => addresses_v4(filter) && !needs_ip(filter) && layer4 == Layer4::Any,
        Network::Other => !needs_address(filter) && !needs_ip(filter) && layer4 == Layer4::Any,
    })
}

/// Every address option that is set has an IPv4 alternative.
fn addresses_v4(filter: &Filter) -> bool {
    (!filter.host4.is_empty() || filter.host6.is_empty())
        && (!filter.src4.is_empty() || filter.src6.is_empty())
        && (!filter.dst4.is_empty() || filter.dst6.is_empty())
}

/// Every address option that is set has an IPv6 alternative.
fn addresses_v6(filter: &Filter) -> bool {
    (!filter.host6.is_empty() || filter.host4.is_empty())
        && (!filter.src6.is_empty() || filter.src4.is_empty())
        && (!filter.dst6.is_empty() || filter.dst4.is_empty())
}

fn needs_address(filter: &Filter) -> bool {
    let lists4 = [&filter.host4, &filter.src4, &filter.dst4];
    let lists6 = [&filter.host6, &filter.src6, &filter.dst6];
    lists4.iter().any(|list| !list.is_empty()) || lists6.iter().any(|list| !list.is_empty())
}

fn needs_ports(filter: &Filter) -> bool {
    [&filter.port, &filter.sport, &filter.dport]
        .iter()
        .any(|list| !list.is_empty())
}

/// The filter asks for something that only IP packets have.
fn needs_ip(filter: &Filter) -> bool {
    needs_ports(filter) || !filter.proto.is_empty() || !filter.icmpid.is_empty()
}

/// Some IP protocol that the hook can see is accepted.
///
/// ICMP in IPv6 and ICMPv6 in IPv4 are not excluded: such packets can be made.
fn transports(filter: &Filter, layer4: Layer4) -> bool {
    let ports = needs_ports(filter);
    let icmp_id = !filter.icmpid.is_empty();
    (0..=u8::MAX).any(|protocol| {
        let passes = match layer4 {
            Layer4::Any => true,
            Layer4::Tcp => protocol == TCP,
            Layer4::Udp => matches!(protocol, UDP | UDPLITE),
            Layer4::Icmp => protocol == ICMP,
            Layer4::Icmp6 => protocol == ICMP6,
        };
        let is_icmp = matches!(protocol, ICMP | ICMP6);
        passes
            && (filter.proto.is_empty() || filter.proto.as_slice().contains(&u16::from(protocol)))
            && !(ports && is_icmp)
            && (!icmp_id || is_icmp)
    })
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
