//! UDP, TCP and ICMP, whole and cut.

use super::{PORTS, carried4, carried6, testing};
use crate::event::{Echo, Icmp, TcpFlags, Transport};

#[test]
fn udp_and_tcp() {
    let udp = testing::udp(40547, 9999);
    assert_eq!(carried4(17, &udp), Transport::Udp(PORTS));
    assert_eq!(carried6(17, &udp), Transport::Udp(PORTS));
    let tcp = testing::tcp(40547, 9999, 0x12);
    assert_eq!(
        carried4(6, &tcp),
        Transport::Tcp(PORTS, Some(TcpFlags(0x12)))
    );
    assert_eq!(
        carried6(6, &tcp),
        Transport::Tcp(PORTS, Some(TcpFlags(0x12)))
    );
    assert_eq!(carried4(6, &tcp[..13]), Transport::Tcp(PORTS, None));
    assert_eq!(carried4(6, &tcp[..3]), Transport::Other(Some(6)));
    let names: Vec<_> = TcpFlags(0xff).names().collect();
    assert_eq!(names.join(","), "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR");
}

#[test]
fn icmp() {
    let echo = Some(Echo { id: 77, seq: 1 });
    let message = |v6, kind, code, echo| {
        Transport::Icmp(Icmp {
            v6,
            kind,
            code,
            echo,
        })
    };
    assert_eq!(
        carried4(1, &[8, 0, 0, 0, 0, 77, 0, 1]),
        message(false, 8, 0, echo)
    );
    assert_eq!(
        carried4(1, &[0, 0, 0, 0, 0, 77, 0]),
        message(false, 0, 0, None)
    );
    assert_eq!(
        carried4(1, &[3, 4, 0, 0, 0, 77, 0, 1]),
        message(false, 3, 4, None)
    );
    assert_eq!(
        carried6(58, &[128, 0, 0, 0, 0, 77, 0, 1]),
        message(true, 128, 0, echo)
    );
    assert_eq!(
        carried6(58, &[135, 0, 0, 0, 0, 77, 0, 1]),
        message(true, 135, 0, None)
    );
    assert_eq!(carried4(1, &[8]), Transport::Other(Some(1)));
}
