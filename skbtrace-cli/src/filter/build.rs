//! The kernel side's filter, built from parsed values.
//!
//! Its lists have a fixed size, because the verifier wants bounded loops; too many values is the
//! one thing that can go wrong, and it is an error rather than a filter that silently lacks some.

use skbtrace_common::config::{Filter, List, MAX_VALUES, Net4, Net6};
use thiserror::Error;

use super::{Interface, MarkBits, Prefix, Protocol, prefix::Net};

/// The values of each filter option, in the order given; an empty list is an option not given.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// `--host`.
    pub host: Vec<Prefix>,
    /// `--src`.
    pub src: Vec<Prefix>,
    /// `--dst`.
    pub dst: Vec<Prefix>,
    /// `--port`.
    pub port: Vec<u16>,
    /// `--sport`.
    pub sport: Vec<u16>,
    /// `--dport`.
    pub dport: Vec<u16>,
    /// `--proto`.
    pub proto: Vec<Protocol>,
    /// `--icmpid`.
    pub icmpid: Vec<u16>,
    /// `--iface`.
    pub iface: Vec<Interface>,
    /// `--netns`, resolved to inode numbers.
    pub netns: Vec<u32>,
    /// `--pid`.
    pub pid: Vec<u32>,
    /// `--mark`.
    pub mark: Vec<MarkBits>,
}

/// An option has more values than the kernel side can compare with.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "--{option}: too many values; at most {MAX_VALUES} different ones can be given, \
     use fewer or run skbtrace twice"
)]
pub struct TooMany {
    /// Its long name.
    pub option: &'static str,
}

/// Builds the filter.
///
/// # Errors
/// When an option has more than [`MAX_VALUES`] different values (of one address family).
pub fn build(values: &Values) -> Result<Filter, TooMany> {
    let mut filter = Filter::accept_all();
    let f = &mut filter;
    prefixes("host", &values.host, &mut f.host4, &mut f.host6)?;
    prefixes("src", &values.src, &mut f.src4, &mut f.src6)?;
    prefixes("dst", &values.dst, &mut f.dst4, &mut f.dst6)?;
    fill("port", values.port.iter().copied(), &mut f.port)?;
    fill("sport", values.sport.iter().copied(), &mut f.sport)?;
    fill("dport", values.dport.iter().copied(), &mut f.dport)?;
    fill("proto", protocols(&values.proto), &mut f.proto)?;
    fill("icmpid", values.icmpid.iter().copied(), &mut f.icmpid)?;
    fill(
        "iface",
        values.iface.iter().map(|name| name.0),
        &mut f.iface,
    )?;
    fill("netns", values.netns.iter().copied(), &mut f.netns)?;
    fill("pid", values.pid.iter().copied(), &mut f.pid)?;
    fill("mark", values.mark.iter().map(|mark| mark.0), &mut f.mark)?;
    Ok(filter)
}

/// The numbers; none when one of the alternatives is "any".
fn protocols(values: &[Protocol]) -> impl Iterator<Item = u16> {
    let restricted = !values.contains(&Protocol::Any);
    values.iter().filter_map(move |value| match value {
        Protocol::Number(number) if restricted => Some(u16::from(*number)),
        Protocol::Number(_) | Protocol::Any => None,
    })
}

fn prefixes(
    option: &'static str,
    values: &[Prefix],
    list4: &mut List<Net4>,
    list6: &mut List<Net6>,
) -> Result<(), TooMany> {
    let nets = values.iter().map(|prefix| prefix.net());
    let v4 = nets.clone().filter_map(|net| match net {
        Net::V4(net) => Some(net),
        Net::V6(_) => None,
    });
    let v6 = nets.filter_map(|net| match net {
        Net::V6(net) => Some(net),
        Net::V4(_) => None,
    });
    fill(option, v4, list4)?;
    fill(option, v6, list6)
}

/// Appends the values that are not there yet.
fn fill<T: Copy + PartialEq>(
    option: &'static str,
    values: impl Iterator<Item = T>,
    list: &mut List<T>,
) -> Result<(), TooMany> {
    for value in values {
        if !list.as_slice().contains(&value) && !list.push(value) {
            return Err(TooMany { option });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_accepts_everything() {
        use skbtrace_common::Plain;

        let built = build(&Values::default()).map(|filter| filter.as_bytes().to_vec());
        assert_eq!(built, Ok(Filter::accept_all().as_bytes().to_vec()));
    }

    #[test]
    fn prefixes_go_to_the_list_of_their_family() {
        let values = Values {
            host: vec![
                "10.0.0.1".parse().expect("accepted"),
                "fd00::/8".parse().expect("accepted"),
            ],
            src: vec!["fd00::1".parse().expect("accepted")],
            dst: vec!["10.0.0.0/8".parse().expect("accepted")],
            ..Values::default()
        };
        let filter = build(&values).expect("accepted");
        let lengths = [
            filter.host4.len,
            filter.host6.len,
            filter.src4.len,
            filter.src6.len,
            filter.dst4.len,
            filter.dst6.len,
        ];
        assert_eq!(lengths, [1, 1, 0, 1, 1, 0]);
    }

    #[test]
    fn any_protocol_lifts_the_restriction() {
        let values = |proto| Values {
            proto,
            ..Values::default()
        };
        let udp = Protocol::Number(17);
        let filter = build(&values(vec![udp, Protocol::Number(6)])).expect("accepted");
        assert_eq!(filter.proto.as_slice(), [17, 6]);
        assert!(
            build(&values(vec![udp, Protocol::Any]))
                .expect("accepted")
                .proto
                .is_empty()
        );
    }

    #[test]
    fn too_many_values_are_an_error_and_repetitions_do_not_count() {
        let values = |count: u16| Values {
            port: (0..count).chain(0..count).collect(),
            ..Values::default()
        };
        assert_eq!(build(&values(16)).expect("accepted").port.len, 16);
        assert_eq!(
            build(&values(17)).map(|_| ()),
            Err(TooMany { option: "port" })
        );
    }
}
