//! Traffic of every kind that the rig has, one part after the other.
//!
//! What a kernel cannot do is said and left out; the rows that it would have lit then stay dark, and
//! whether they may is not decided here.

use anyhow::Result;

use super::{extras, wrapped};
use crate::frame::Frame;
use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::topology::link::{LEFT, LEFT_MAC, LEFT6, Link, RIGHT, RIGHT_MAC, RIGHT6};
use crate::topology::node::{self, Routed};
use crate::topology::{
    CLIENT, CLIENT_PORT, CLIENT6, Cluster, Ip, PORT, Plan, SERVER, SERVER6, SERVICE, at, ip,
};
use crate::traffic::{self, exchange::Exchange, stream};
use crate::wait::{self, LONG};
use crate::xdp::XdpDrop;

/// A kind of traffic, and its name for what is said of it.
type Part = (&'static str, fn() -> Result<()>);

/// All of it.
pub fn all() {
    let parts: [Part; 13] = [
        ("bridge", bridge),
        ("sockets", sockets),
        ("queues", queues),
        ("classifiers", classifiers),
        ("devices", devices),
        ("tables", tables),
        ("translation", translation),
        ("flow table", flow_table),
        ("balancer", balancer),
        ("tunnels", wrapped::tunnels),
        ("more tunnels", wrapped::more_tunnels),
        ("encryption", wrapped::encryption),
        ("offload", offload),
    ];
    for (name, part) in parts {
        if let Err(error) = part() {
            println!("LIT {name}: {error:#}");
        }
    }
}

/// Runs each line as a command inside `net`; says which of them this kernel refuses.
pub fn set(net: &Netns, script: &str) {
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some((program, arguments)) = words.split_first()
            && let Err(error) = net.run(program, arguments)
        {
            println!("LIT {error:#}");
        }
    }
}

/// Does what may fail because of what the part is about: a packet that is dropped on purpose.
pub fn attempt<T>(work: Result<T>) {
    let _ = work;
}

/// A datagram from one host to an address, whatever becomes of it.
pub fn datagram(from: &Netns, to: std::net::SocketAddr, length: usize) -> Result<()> {
    let sender = traffic::udp_socket(from, traffic::any(to))?;
    attempt(traffic::send(&sender, to, &vec![b'x'; length]));
    Ok(())
}

fn bridge() -> Result<()> {
    let cluster = Cluster::build(Plan {
        frontend: Frontend::Legacy.probe().ok().map(|()| Frontend::Legacy),
        promiscuous: true,
        ipv6: true,
        dynamic_neighbours: true,
        ..Plan::default()
    })?;
    let (client, server, node) = (&cluster.client, &cluster.server, &cluster.node1);
    set(
        node,
        "ip6tables-legacy -A FORWARD -p udp -j ACCEPT
         ip6tables-legacy -t nat -A PREROUTING -p udp --dport 1 -j ACCEPT
         ebtables-legacy -A FORWARD -p IPv4 -j ACCEPT
         arptables-legacy -A INPUT -j ACCEPT
         nft add table bridge litbridge
         nft add chain bridge litbridge forward { type filter hook forward priority 0 ; }
         nft add chain bridge litbridge in { type filter hook input priority 0 ; }
         ip link set cbr0 type bridge mcast_snooping 1 mcast_querier 1
         ip -6 route add fd00:99::/64 dev cbr0
         bridge mdb add dev cbr0 port vethdfe06191 grp 239.1.1.1 permanent
         bridge mdb add dev cbr0 port veth19678f6d grp 239.1.1.1 permanent",
    );
    attempt(node.sysctl("bridge/bridge-nf-call-arptables", "1"));
    for net in [client, server, node] {
        set(net, "ip neigh flush all");
    }
    for (from, to, own, address) in [
        (client, server, CLIENT, SERVER),
        (client, server, CLIENT6, SERVER6),
    ] {
        let exchange = Exchange::open((from, at(own, CLIENT_PORT)?), (to, at(address, PORT)?))?;
        let seen = exchange.ask(at(address, PORT)?)?;
        exchange.answer(seen, at(address, PORT)?)?;
        // In pieces, put together for the firewall and cut again.
        exchange.ask_with(at(address, PORT)?, &[b'x'; 4000])?;
        traffic::tcp_conversation(from, at(address, PORT)?, to, at(address, PORT)?)?;
        traffic::ping(from, ip(address)?, 7)?;
    }
    if cluster.client.run("ip", &["route", "get", SERVICE]).is_ok() {
        let exchange = Exchange::open(
            (client, at(CLIENT, CLIENT_PORT)?),
            (server, at(SERVER, PORT)?),
        )?;
        attempt(exchange.ask(at(SERVICE, PORT)?));
    }
    // Through the node, to nobody.
    set(client, "ip -6 route add default via fd00:172:18::1");
    datagram(client, at("fd00:99::9", PORT)?, 100)?;
    // To a group that the sender is in too, and to the bridge itself as LLDP is.
    extras::to_group(client, CLIENT, "239.1.1.1")?;
    let to_bridge = ([1, 0x80, 0xc2, 0, 0, 0xe], [0x0a, 0x58, 0xac, 0x12, 0, 0xf]);
    Frame::new(to_bridge, (CLIENT, 1), (SERVER, 2))?.transmit(client, "eth0")
}

fn sockets() -> Result<()> {
    let link = Link::build_with_ipv6()?;
    let (left, right) = (&link.left, &link.right);
    set(
        left,
        "ip neigh del 10.71.0.2 dev eth0
         ip neigh del fd00:71::2 dev eth0",
    );
    let _packets = extras::packet_sockets(right, "eth0")?;
    for (own, peer) in [(LEFT, RIGHT), (LEFT6, RIGHT6)] {
        let exchange = Exchange::open((left, at(own, CLIENT_PORT)?), (right, at(peer, PORT)?))?;
        let seen = exchange.ask(at(peer, PORT)?)?;
        exchange.answer(seen, at(peer, PORT)?)?;
        exchange.ask_with(at(peer, PORT)?, &[b'x'; 4000])?;
        traffic::tcp_conversation(left, at(peer, PORT)?, right, at(peer, PORT)?)?;
        traffic::ping(left, ip(peer)?, 7)?;
        datagram(left, at(peer, 7)?, 10)?;
        attempt(stream::refused(left, at(peer, 8)?));
        stream::send_at_once(left, at(peer, PORT)?, right, at(peer, PORT)?, 4 << 20)?;
        // On the way through the loopback device too.
        traffic::ping(left, ip(own)?, 8)?;
    }
    extras::to_group(left, LEFT, "239.1.1.1")?;
    datagram(left, at("10.71.0.77", PORT)?, 100)?;
    extras::full_sockets(left, right, RIGHT)?;
    extras::bypass(left, "eth0")?;
    Frame::new((RIGHT_MAC, LEFT_MAC), (LEFT, 1), (RIGHT, 2))?.transmit(left, "eth0")?;
    // Answered by nobody, so it is sent again.
    set(right, "iptables-nft -A INPUT -p tcp --dport 4444 -j DROP");
    extras::retransmit(left, at(RIGHT, 4444)?)
}

fn queues() -> Result<()> {
    let link = Link::build()?;
    let left = &link.left;
    for kind in ["pfifo_fast", "fq_codel", "prio"] {
        set(left, &format!("tc qdisc replace dev eth0 root {kind}"));
        for _ in 0..5 {
            datagram(left, at(RIGHT, 7)?, 100)?;
        }
    }
    // One waits for its turn, the next ones find no room.
    set(
        left,
        "tc qdisc replace dev eth0 root tbf rate 8kbit burst 1600 limit 1600",
    );
    for _ in 0..5 {
        datagram(left, at(RIGHT, 7)?, 1000)?;
    }
    // A discipline that lets packets through when it is empty must not be the outermost.
    for kind in ["fq_codel", "pfifo_fast"] {
        set(
            left,
            &format!(
                "tc qdisc replace dev eth0 root handle 1: tbf rate 1gbit burst 16000 limit 16000
                 tc qdisc replace dev eth0 parent 1:1 {kind}"
            ),
        );
        traffic::ping(left, ip(RIGHT)?, 3)?;
    }
    // What is spoilt must not be spoilt for the sender, which keeps a copy to send again.
    set(left, "tc qdisc replace dev eth0 root netem corrupt 100%");
    extras::retransmit(left, at(RIGHT, 8)?)
}

fn classifiers() -> Result<()> {
    let link = Link::build()?;
    let (left, right) = (&link.left, &link.right);
    set(
        right,
        "tc qdisc add dev eth0 clsact
         tc filter add dev eth0 ingress prio 2 protocol ip flower ip_proto udp dst_port 5001 action mirred egress redirect dev eth0",
    );
    for way in ["ingress", "egress"] {
        let filter = [
            "filter",
            "add",
            "dev",
            "eth0",
            way,
            "prio",
            "1",
            "bpf",
            "bytecode",
            "1,6 0 0 0,",
        ];
        if let Err(error) = right.run("tc", &filter) {
            println!("LIT {error:#}");
        }
    }
    for port in [5000, 5001] {
        datagram(left, at(RIGHT, port)?, 100)?;
    }
    traffic::ping(left, ip(RIGHT)?, 3)?;
    for attach in [XdpDrop::attach, XdpDrop::bounce] {
        let program = attach(right, "eth0")?;
        datagram(left, at(RIGHT, 5002)?, 100)?;
        drop(program);
    }
    Ok(())
}

fn devices() -> Result<()> {
    let link = Link::build()?;
    let (left, right) = (&link.left, &link.right);
    for (host, end) in [(left, 1), (right, 2)] {
        set(
            host,
            &format!(
                "ip link add link eth0 name vlan5 type vlan id 5
                 ip link set vlan5 up
                 ip addr add 10.81.1.{end}/24 dev vlan5
                 ip link add link eth0 name mac0 type macvlan mode bridge
                 ip link set mac0 up
                 ip addr add 10.81.2.{end}/24 dev mac0"
            ),
        );
    }
    for address in ["10.81.1.2", "10.81.2.2"] {
        attempt(traffic::ping(left, ip(address)?, 9));
    }
    for host in [left, right] {
        set(host, "ip link del mac0");
    }
    for (host, end) in [(left, 1), (right, 2)] {
        set(
            host,
            &format!(
                "ip link add link eth0 name ipv0 type ipvlan mode l2
                 ip link set ipv0 up
                 ip addr add 10.81.3.{end}/24 dev ipv0"
            ),
        );
    }
    attempt(traffic::ping(left, ip("10.81.3.2")?, 9));
    set(
        left,
        &format!(
            "ip link add nk0 type netkit peer name nk1 netns {}
             ip addr add 10.81.4.1/24 dev nk0
             ip link set nk0 up",
            right.name()
        ),
    );
    set(
        right,
        "ip addr add 10.81.4.2/24 dev nk1\nip link set nk1 up",
    );
    datagram(left, at("10.81.4.2", PORT)?, 10)?;
    extras::tun(left)
}

fn tables() -> Result<()> {
    let link = Link::build_with_ipv6()?;
    let (left, right) = (&link.left, &link.right);
    set(
        right,
        "nft add table ip lit4
         nft add chain ip lit4 in { type filter hook input priority 0 ; }
         nft add table ip6 lit6
         nft add chain ip6 lit6 in { type filter hook input priority 0 ; }
         nft add table inet litinet
         nft add chain inet litinet in { type filter hook input priority 1 ; }
         nft add table arp litarp
         nft add chain arp litarp in { type filter hook input priority 0 ; }
         nft add table netdev litdev
         nft add chain netdev litdev in { type filter hook ingress device eth0 priority 0 ; }
         nft add rule ip lit4 in udp dport 5001 queue num 7
         nft add rule ip lit4 in udp dport 5002 log prefix lit
         nft add rule ip lit4 in udp dport 5003 reject
         nft add rule ip lit4 in tcp dport 5004 reject with tcp reset",
    );
    set(left, "ip neigh flush all");
    for port in [5001, 5002, 5003] {
        datagram(left, at(RIGHT, port)?, 10)?;
    }
    attempt(stream::refused(left, at(RIGHT, 5004)?));
    set(left, "ip neigh del 10.71.0.2 dev eth0");
    traffic::ping(left, ip(RIGHT)?, 5)?;
    traffic::ping(left, ip(RIGHT6)?, 5)?;
    unanswered(left)
}

/// Neighbours that are not there, until the kernel has given up on them.
fn unanswered(net: &Netns) -> Result<()> {
    const ABSENT: [&str; 2] = ["10.71.0.78", "fd00:71::78"];
    for address in ABSENT {
        datagram(net, at(address, PORT)?, 10)?;
    }
    for address in ABSENT {
        wait::until("a neighbour to be given up", LONG, || {
            let shown = net.run("ip", &["neigh", "show", address])?;
            Ok(shown.contains("FAILED").then_some(()))
        })?;
    }
    Ok(())
}

/// Both iptables and nftables' own, at all four hooks, in both families.
fn translation() -> Result<()> {
    let link = Link::build_with_ipv6()?;
    let (left, right) = (&link.left, &link.right);
    for host in [left, right] {
        set(
            host,
            "iptables-legacy -t nat -A OUTPUT -p udp --dport 6001 -j REDIRECT --to-ports 6002
             iptables-legacy -t nat -A INPUT -p udp --dport 1 -j ACCEPT
             iptables-legacy -t nat -A POSTROUTING -p udp --dport 1 -j MASQUERADE
             ip6tables-legacy -t nat -A PREROUTING -p udp --dport 6001 -j REDIRECT --to-ports 6002
             ip6tables-legacy -t nat -A POSTROUTING -p udp --dport 1 -j MASQUERADE
             nft add table ip litnat
             nft add chain ip litnat pre { type nat hook prerouting priority 5 ; }
             nft add rule ip litnat pre udp dport 6003 redirect to :6004
             nft add table ip6 litnat
             nft add chain ip6 litnat pre { type nat hook prerouting priority 5 ; }",
        );
    }
    for (own, peer) in [(LEFT, RIGHT), (LEFT6, RIGHT6)] {
        for port in [6001, 6003] {
            datagram(left, at(peer, port)?, 10)?;
        }
        let exchange = Exchange::open((left, at(own, CLIENT_PORT)?), (right, at(peer, PORT)?))?;
        exchange.ask(at(peer, PORT)?)?;
        exchange.ask_with(at(peer, PORT)?, &[b'x'; 4000])?;
        traffic::ping(left, ip(peer)?, 5)?;
    }
    Ok(())
}

fn flow_table() -> Result<()> {
    let routed = Routed::build()?;
    set(
        &routed.node,
        "nft add table ip litflow
         nft add flowtable ip litflow f { hook ingress priority 0 ; devices = { pod0, eth0 } ; }
         nft add chain ip litflow forward { type filter hook forward priority 0 ; }
         nft add rule ip litflow forward ip protocol udp flow add @f",
    );
    let exchange = Exchange::open(
        (&routed.client, at(node::CLIENT, CLIENT_PORT)?),
        (&routed.server, at(node::SERVER, PORT)?),
    )?;
    for _ in 0..3 {
        let seen = exchange.ask(at(node::SERVER, PORT)?)?;
        exchange.answer(seen, at(node::SERVER, PORT)?)?;
    }
    // Where there is no route.
    datagram(&routed.client, at("203.0.113.7", PORT)?, 10)
}

fn balancer() -> Result<()> {
    for ip in Ip::BOTH {
        balanced(ip)?;
    }
    Ok(())
}

fn balanced(ip: Ip) -> Result<()> {
    let routed = Routed::build_for(ip)?;
    routed.serve_by_ipvs()?;
    let ends = routed.addresses();
    let (service, server) = (ends.service()?, ends.server()?);
    let exchange = routed.exchange()?;
    let seen = exchange.ask(service)?;
    exchange.answer(seen, service)?;
    traffic::tcp_conversation(&routed.client, service, &routed.server, server)?;
    // From the node itself, and the two other ways to the server.
    datagram(&routed.node, service, 10)?;
    for (port, way) in [(7001, "-g"), (7002, "-i")] {
        let (service, server) = (at(ends.service, port)?, at(ends.server, port)?);
        set(
            &routed.node,
            &format!(
                "ipvsadm -A -u {service} -s rr
                 ipvsadm -a -u {service} -r {server} {way}"
            ),
        );
        datagram(&routed.client, service, 10)?;
    }
    Ok(())
}

/// The sender cuts its packets, the receiver merges them again.
fn offload() -> Result<()> {
    let routed = Routed::build()?;
    routed.cut_at_the_end()?;
    set(&routed.client, "ethtool -K eth0 tso off");
    set(&routed.node, "ethtool -K pod0 gro on");
    set(&routed.server, "ethtool -K eth0 gro on");
    let to = at(node::SERVER, PORT)?;
    stream::send_at_once(&routed.client, to, &routed.server, to, 256 * 1024)?;
    routed.narrow_the_end()?;
    routed.whole_frame(1400)?.transmit(&routed.client, "eth0")
}
