//! What a packet carries, in TRACE_INFO behind the function's name; the packet itself is in PKT_INFO.
//!
//! | Tunnel                         | Text                                             |
//! |--------------------------------|--------------------------------------------------|
//! | VXLAN, GENEVE                  | `,vni=100,inner=U:10.0.0.1:9999->10.0.0.2:53`    |
//! | GRE with a key, without one    | `,key=7,inner=…`, `,inner=…`                     |
//! | IP in IP                       | `,inner=…`                                       |
//! | encrypted, or not known        | nothing                                          |

use super::{digits::decimal, packet};
use crate::event::{Encapsulation, Tunnel};

/// Appends the fields, each after a comma.
pub fn push(tunnel: &Tunnel, out: &mut Vec<u8>) {
    match tunnel.encapsulation {
        Encapsulation::None => {}
        Encapsulation::Vni(vni) => {
            out.extend_from_slice(b",vni=");
            decimal(u64::from(vni), out);
        }
        Encapsulation::Key(key) => {
            out.extend_from_slice(b",key=");
            decimal(u64::from(key), out);
        }
    }
    if let Some(inner) = &tunnel.inner {
        out.extend_from_slice(b",inner=");
        packet::push(inner, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{IpPacket, Packet, Ports, Transport};

    #[test]
    fn numbers_and_packets() {
        let inner = Some(Packet::Ip(IpPacket {
            src: Some([10, 0, 0, 1].into()),
            dst: Some([10, 0, 0, 2].into()),
            transport: Transport::Udp(Ports { src: 9999, dst: 53 }),
        }));
        let text = |encapsulation, inner| {
            let mut out = Vec::new();
            push(
                &Tunnel {
                    encapsulation,
                    inner,
                },
                &mut out,
            );
            String::from_utf8(out).expect("text")
        };
        let packet = "inner=U:10.0.0.1:9999->10.0.0.2:53";
        assert_eq!(
            text(Encapsulation::Vni(100), inner),
            format!(",vni=100,{packet}")
        );
        assert_eq!(
            text(Encapsulation::Key(7), inner),
            format!(",key=7,{packet}")
        );
        assert_eq!(text(Encapsulation::None, inner), format!(",{packet}"));
        assert_eq!(text(Encapsulation::Vni(1), None), ",vni=1");
        assert_eq!(text(Encapsulation::None, None), "");
    }
}
