//! The table of filters: options, wanted packets, unwanted packets.

use super::packet::{Client, Node, Packet, Server, ping, udp};
use crate::topology::{CLIENT, CLIENT6, SERVER};

/// One filter.
pub struct Case {
    /// What it is about.
    pub name: &'static str,
    /// Options for skbtrace.
    pub options: &'static [&'static str],
    /// What must appear.
    pub wanted: &'static [Packet],
    /// What must not.
    pub unwanted: &'static [Packet],
    /// The filter holds all along the path, so wanted datagrams are seen at `udp_rcv`.
    pub whole_path: bool,
    /// Packets are followed, as they are unless told otherwise.
    pub followed: bool,
    /// At every function of the path, and not at some from its top to its bottom: the programs at
    /// all of them compare alike.
    pub everywhere: bool,
}

const fn case(
    name: &'static str,
    options: &'static [&'static str],
    wanted: &'static [Packet],
    unwanted: &'static [Packet],
) -> Case {
    Case {
        name,
        options,
        wanted,
        unwanted,
        whole_path: true,
        followed: false,
        everywhere: false,
    }
}

const fn everywhere(mut case: Case) -> Case {
    case.everywhere = true;
    case
}

const fn followed(mut case: Case) -> Case {
    case.followed = true;
    case.everywhere = true;
    case
}

const fn partial(mut case: Case) -> Case {
    case.whole_path = false;
    case
}

/// All filters that a list of packets can show.
pub const CASES: &[Case] = &[
    everywhere(case(
        "host",
        &["--host", CLIENT],
        &[
            udp(Client, Server, 40001, 7001),
            udp(Server, Client, 40002, 7001),
        ],
        &[
            udp(Node, Server, 40003, 7001),
            udp(Client, Server, 40004, 7001).v6(),
        ],
    )),
    case(
        "host6",
        &["--host", CLIENT6],
        &[
            udp(Client, Server, 40001, 7001).v6(),
            udp(Server, Client, 40002, 7001).v6(),
        ],
        &[
            udp(Node, Server, 40003, 7001).v6(),
            udp(Client, Server, 40004, 7001),
        ],
    ),
    case(
        "host_prefix",
        &["--host", "172.18.0.14/31"],
        &[udp(Client, Server, 40001, 7001)],
        &[udp(Node, Server, 40003, 7001)],
    ),
    case(
        "host6_prefix",
        &["--host", "fd00:172:18::14/127"],
        &[udp(Client, Server, 40001, 7001).v6()],
        &[
            udp(Node, Server, 40003, 7001).v6(),
            udp(Client, Server, 40004, 7001),
        ],
    ),
    case(
        "src",
        &["--src", CLIENT],
        &[udp(Client, Server, 40001, 7001)],
        &[udp(Server, Client, 40002, 7001)],
    ),
    case(
        "src6",
        &["--src", CLIENT6],
        &[udp(Client, Server, 40001, 7001).v6()],
        &[udp(Server, Client, 40002, 7001).v6()],
    ),
    case(
        "dst",
        &["--dst", CLIENT],
        &[udp(Server, Client, 40002, 7001)],
        &[udp(Client, Server, 40001, 7001)],
    ),
    case(
        "dst6",
        &["--dst", CLIENT6],
        &[udp(Server, Client, 40002, 7001).v6()],
        &[udp(Client, Server, 40001, 7001).v6()],
    ),
    everywhere(case(
        "port",
        &["--port", "7001"],
        &[
            udp(Client, Server, 40001, 7001),
            udp(Server, Client, 7001, 40002).v6(),
        ],
        &[
            udp(Client, Server, 40003, 7002),
            udp(Client, Server, 40003, 7002).v6(),
        ],
    )),
    case(
        "sport",
        &["--sport", "40001"],
        &[
            udp(Client, Server, 40001, 7001),
            udp(Client, Server, 40001, 7002).v6(),
        ],
        &[
            udp(Server, Client, 7001, 40001),
            udp(Server, Client, 7001, 40001).v6(),
        ],
    ),
    case(
        "dport",
        &["--dport", "7001"],
        &[
            udp(Client, Server, 40001, 7001),
            udp(Client, Server, 40002, 7001).v6(),
        ],
        &[
            udp(Server, Client, 7001, 40001),
            udp(Server, Client, 7001, 40001).v6(),
        ],
    ),
    case(
        "proto_udp",
        &["--proto", "udp"],
        &[
            udp(Client, Server, 40001, 7001),
            udp(Client, Server, 40001, 7001).v6(),
        ],
        &[ping(Client, Server, 77), ping(Client, Server, 77).v6()],
    ),
    case(
        "proto_icmp",
        &["--proto", "icmp"],
        &[ping(Client, Server, 77)],
        &[
            udp(Client, Server, 40001, 7001),
            ping(Client, Server, 77).v6(),
        ],
    ),
    partial(case(
        "mark",
        &["--mark", "0x15"],
        &[
            udp(Client, Server, 40001, 7001).marked(0x15),
            udp(Client, Server, 40001, 7001).v6().marked(0x15),
        ],
        &[
            udp(Client, Server, 40002, 7001),
            udp(Client, Server, 40003, 7001).marked(0x14),
            udp(Client, Server, 40003, 7001).v6().marked(0x14),
        ],
    )),
    case(
        "eight_ports",
        &[
            "--dport", "7001", "--dport", "7002", "--dport", "7003", "--dport", "7004", "--dport",
            "7005", "--dport", "7006", "--dport", "7007", "--dport", "7008",
        ],
        &[
            udp(Client, Server, 40001, 7001),
            udp(Client, Server, 40002, 7004).v6(),
            udp(Client, Server, 40003, 7008),
        ],
        &[
            udp(Client, Server, 40004, 7009),
            udp(Client, Server, 40004, 7000).v6(),
        ],
    ),
    case(
        "eight_hosts",
        &[
            "--src",
            "192.0.2.1",
            "--src",
            "192.0.2.2",
            "--src",
            "192.0.2.3",
            "--src",
            "2001:db8::1",
            "--src",
            "2001:db8::2",
            "--src",
            "2001:db8:1::/48",
            "--src",
            CLIENT,
            "--src",
            CLIENT6,
        ],
        &[
            udp(Client, Server, 40001, 7001),
            udp(Client, Server, 40002, 7001).v6(),
        ],
        &[
            udp(Server, Client, 40003, 7001),
            udp(Server, Client, 40004, 7001).v6(),
        ],
    ),
    followed(case(
        "all_together",
        &[
            "--src", CLIENT, "--dst", SERVER, "--dport", "7001", "--proto", "udp",
        ],
        &[udp(Client, Server, 40001, 7001)],
        &[
            udp(Node, Server, 40002, 7001),
            udp(Client, Node, 40003, 7001),
            udp(Client, Server, 40004, 7002),
            ping(Client, Server, 77),
        ],
    )),
];
