//! Neighbours: state and link-layer address.

use skbtrace_common::record::RawNeighbour;

use crate::event::{Action, LinkAddress, Neighbour, NudState};

/// What a record says of the neighbour that `function` had.
pub fn action<'a>(raw: &'a RawNeighbour, function: &'a str) -> Action<'a> {
    let state = u8::try_from(raw.state).ok().map(NudState);
    let address = match state {
        None => LinkAddress::Unknown,
        // What stands there is no address, or a former one.
        Some(state) if !state.is_valid() => LinkAddress::None,
        Some(_) if raw.length == 0 => LinkAddress::None,
        Some(_) => raw
            .address
            .get(..usize::from(raw.length))
            .filter(|_| raw.has_address == 1)
            .map_or(LinkAddress::Unknown, LinkAddress::Known),
    };
    Action::Neighbour {
        function,
        neighbour: Neighbour { state, address },
    }
}

#[cfg(test)]
mod tests {
    use skbtrace_common::{
        Plain as _,
        record::{HARDWARE_ADDRESS, KIND_NEIGHBOUR},
    };

    use super::*;
    use crate::decode::{
        decode,
        testing::{self, Machine},
    };

    const MAC: &[u8] = &[2, 0, 0, 0, 0, 9];

    fn raw(state: u16, length: u8) -> RawNeighbour {
        let mut event = testing::blank();
        event.kind = KIND_NEIGHBOUR;
        event.hook = testing::row("neigh_resolve_output");
        let mut address = [0xee; HARDWARE_ADDRESS];
        address[..MAC.len()].copy_from_slice(MAC);
        RawNeighbour {
            event,
            neighbour: 0xffff_8881_0000_0000,
            state,
            length,
            has_address: 1,
            reserved: 0,
            address,
        }
    }

    /// States, and the address.
    fn told(raw: &RawNeighbour) -> (Option<Vec<&'static str>>, String) {
        let record = testing::parse(raw.as_bytes());
        let machine = Machine::new();
        let Action::Neighbour {
            function,
            neighbour,
        } = decode(&record, &machine).action
        else {
            panic!("no neighbour");
        };
        assert_eq!(function, "neigh_resolve_output");
        let states = neighbour.state.map(|state| state.names().collect());
        (states, format!("{:?}", neighbour.address))
    }

    #[test]
    fn states_have_the_kernels_names() {
        for (state, names) in [
            (0x00, &[][..]),
            (0x01, &["INCOMPLETE"]),
            (0x02, &["REACHABLE"]),
            (0x04, &["STALE"]),
            (0x08, &["DELAY"]),
            (0x10, &["PROBE"]),
            (0x20, &["FAILED"]),
            (0x40, &["NOARP"]),
            (0x80, &["PERMANENT"]),
            (0x84, &["STALE", "PERMANENT"]),
        ] {
            assert_eq!(told(&raw(state, 6)).0.as_deref(), Some(names));
        }
        assert_eq!(told(&raw(RawNeighbour::UNKNOWN, 6)).0, None);
    }

    #[test]
    fn an_address_is_told_where_it_is_one() {
        let known = format!("{:?}", LinkAddress::Known(MAC));
        for valid in [0x02, 0x04, 0x08, 0x10, 0x40, 0x80] {
            assert_eq!(told(&raw(valid, 6)).1, known, "{valid:#x}");
        }
        for not in [0x00, 0x01, 0x20] {
            assert_eq!(told(&raw(not, 6)).1, "None", "{not:#x}");
        }
        assert_eq!(told(&raw(0x02, 0)).1, "None", "a link without any");
    }

    #[test]
    fn what_could_not_be_read_is_unknown() {
        assert_eq!(told(&raw(RawNeighbour::UNKNOWN, 6)).1, "Unknown");
        assert_eq!(told(&raw(0x02, u8::MAX)).1, "Unknown");
        let mut unread = raw(0x02, 6);
        unread.has_address = 0;
        assert_eq!(told(&unread).1, "Unknown");
    }
}
