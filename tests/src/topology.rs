//! The article's cluster, built out of network namespaces.
//!
//! Two nodes with a bridge `cbr0` each, two pods on the first and one on the second, a link between
//! the nodes, and two Services that the first node translates to pod addresses:
//!
//! ```text
//!  client 172.18.0.15   server 172.18.0.12            server2 172.18.0.66
//!       eth0                 eth0                          eth0
//!        |                    |                             |
//!  vethdfe06191         veth19678f6d                  vethe9f5bdcc
//!        `------- cbr0 -------'                            cbr0
//!             172.18.0.1/24                           172.18.0.65/26
//!                 node1 eth0 10.0.2.96 ------ 10.0.2.138 eth0 node2
//! ```
//!
//! Neighbour entries are permanent and [`Cluster::warm_up`] fills the bridge's forwarding database
//! and the header caches, so that a trace started afterwards holds only the traffic it is about.
//!
//! Smaller networks for one idea each are in [`link`], [`node`], [`nodes`] and [`tunnel`].

pub mod bgp;
pub mod bridged;
pub mod link;
pub mod machine;
pub mod node;
pub mod nodes;
pub mod tunnel;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::process;
use crate::traffic;

/// Address of the client pod.
pub const CLIENT: &str = "172.18.0.15";
/// Address of the server pod on the same node.
pub const SERVER: &str = "172.18.0.12";
/// Address of the server pod on the other node.
pub const SERVER2: &str = "172.18.0.66";
/// Service in front of [`SERVER`].
pub const SERVICE: &str = "172.18.253.6";
/// Service in front of [`SERVER2`].
pub const SERVICE2: &str = "172.18.253.158";
/// IPv6 address of the client pod, with [`Plan::ipv6`].
pub const CLIENT6: &str = "fd00:172:18::15";
/// IPv6 address of the server pod, with [`Plan::ipv6`].
pub const SERVER6: &str = "fd00:172:18::12";
/// IPv6 address of node1's bridge, with [`Plan::ipv6`].
pub const BRIDGE6: &str = "fd00:172:18::1";
/// Port that the Services translate and the servers listen on.
pub const PORT: u16 = 9999;
/// Source port of the traced datagram.
pub const CLIENT_PORT: u16 = 40547;
/// The client's veth in node1.
pub const CLIENT_VETH: &str = "vethdfe06191";
/// The server's veth in node1.
pub const SERVER_VETH: &str = "veth19678f6d";
/// Hardware address of node1's bridge.
pub const BRIDGE_MAC: &str = "2e:74:df:86:96:4b";
/// Hardware address of the client pod.
pub const CLIENT_MAC: &str = "0a:58:ac:12:00:0f";
/// Hardware address of the server pod.
pub const SERVER_MAC: &str = "0a:47:5e:bb:26:b0";

const SERVER2_MAC: &str = "0a:f5:ce:8f:00:f6";
const BRIDGE2_MAC: &str = "2e:b8:00:12:00:41";
const NODE1_MAC: &str = "52:54:00:3c:00:8f";
const NODE2_MAC: &str = "52:54:00:b8:00:ae";
const WARM_UP_PORT: u16 = 9;

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip {
    /// Version 4.
    V4,
    /// Version 6.
    V6,
}

impl Ip {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// What ends the name of a trial, which is IPv4's unless it says otherwise.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "",
            Self::V6 => "_ipv6",
        }
    }

    /// The one of the two that is this version's.
    pub fn of<T>(self, v4: T, v6: T) -> T {
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }
}

/// What to build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// Services and a FORWARD chain through this iptables; without, br_netfilter stays out too.
    pub frontend: Option<Frontend>,
    /// `cbr0` promiscuous.
    pub promiscuous: bool,
    /// The second node with its pod.
    pub second_node: bool,
    /// IPv6 addresses besides; otherwise IPv6 is off, which keeps its own chatter out.
    pub ipv6: bool,
    /// Leave neighbour resolution to the kernel.
    pub dynamic_neighbours: bool,
}

/// The second node and its pod.
pub struct SecondNode {
    /// Pod `server2`.
    pub server2: Netns,
    /// Node `node2`.
    pub node2: Netns,
}

/// The cluster; dropping it removes everything.
pub struct Cluster {
    /// Pod `client`.
    pub client: Netns,
    /// Pod `server`.
    pub server: Netns,
    /// Node `node1`.
    pub node1: Netns,
    /// The other node, where the plan has one.
    pub second: Option<SecondNode>,
    plan: Plan,
}

impl Cluster {
    /// Sends so many datagrams from the client to the server, each seen to arrive.
    pub fn send(&self, how_many: usize) -> Result<()> {
        let receiver = traffic::udp_socket(&self.server, at(SERVER, PORT)?)?;
        let sender = traffic::udp_socket(&self.client, at(CLIENT, 0)?)?;
        for _ in 0..how_many {
            traffic::send(&sender, at(SERVER, PORT)?, b"datagram")?;
            traffic::receive(&receiver)?;
        }
        Ok(())
    }

    /// Builds what `plan` says and warms it up.
    pub fn build(plan: Plan) -> Result<Self> {
        let cluster = Self {
            client: Netns::create("client")?,
            server: Netns::create("server")?,
            node1: Netns::create("node1")?,
            second: plan.second_node.then(SecondNode::create).transpose()?,
            plan,
        };
        cluster.first_node().context("cannot build node1")?;
        if let Some(second) = &cluster.second {
            cluster.second_node(second).context("cannot build node2")?;
        }
        if let Some(frontend) = plan.frontend {
            filter_bridged(&cluster.node1)?;
            frontend
                .apply(&cluster.node1, &rules())
                .context("cannot write node1's rules")?;
        }
        cluster.warm_up().context("the new network does not work")?;
        Ok(cluster)
    }

    fn first_node(&self) -> Result<()> {
        let nets = [&self.client, &self.server, &self.node1];
        for net in nets {
            quiet(net, self.plan.ipv6)?;
        }
        self.node1.sysctl("ipv4/ip_forward", "1")?;
        let promiscuous = if self.plan.promiscuous { "on" } else { "off" };
        let mut node1 = format!(
            "link set lo up\n\
             link add cbr0 address {BRIDGE_MAC} type bridge\n\
             addr add 172.18.0.1/24 dev cbr0\n\
             link add {CLIENT_VETH} type veth peer name eth0 address {CLIENT_MAC} netns {}\n\
             link add {SERVER_VETH} type veth peer name eth0 address {SERVER_MAC} netns {}\n\
             link set {CLIENT_VETH} master cbr0 up\n\
             link set {SERVER_VETH} master cbr0 up\n\
             link set cbr0 promisc {promiscuous} up\n",
            self.client.name(),
            self.server.name(),
        );
        if !self.plan.dynamic_neighbours {
            node1.push_str(&format!(
                "neigh replace {CLIENT} lladdr {CLIENT_MAC} dev cbr0 nud permanent\n\
                 neigh replace {SERVER} lladdr {SERVER_MAC} dev cbr0 nud permanent\n"
            ));
        }
        self.node1.ip(&node1)?;
        let pods = [
            (&self.client, CLIENT, SERVER, SERVER_MAC),
            (&self.server, SERVER, CLIENT, CLIENT_MAC),
        ];
        for (pod, own, peer, peer_mac) in pods {
            let mut script = format!(
                "link set lo up\n\
                 link set eth0 up\n\
                 addr add {own}/24 dev eth0\n\
                 route add default via 172.18.0.1\n"
            );
            if !self.plan.dynamic_neighbours {
                script.push_str(&format!(
                    "neigh replace 172.18.0.1 lladdr {BRIDGE_MAC} dev eth0 nud permanent\n\
                     neigh replace {peer} lladdr {peer_mac} dev eth0 nud permanent\n"
                ));
            }
            pod.ip(&script)?;
        }
        if self.plan.ipv6 {
            self.add_ipv6()?;
        }
        Ok(())
    }

    fn add_ipv6(&self) -> Result<()> {
        self.node1.sysctl("ipv6/conf/all/forwarding", "1")?;
        self.node1.ip(&format!(
            "addr add {BRIDGE6}/64 dev cbr0 nodad\n\
             neigh replace {CLIENT6} lladdr {CLIENT_MAC} dev cbr0 nud permanent\n\
             neigh replace {SERVER6} lladdr {SERVER_MAC} dev cbr0 nud permanent\n"
        ))?;
        let pods = [
            (&self.client, CLIENT6, SERVER6, SERVER_MAC),
            (&self.server, SERVER6, CLIENT6, CLIENT_MAC),
        ];
        for (pod, own, peer, peer_mac) in pods {
            pod.ip(&format!(
                "addr add {own}/64 dev eth0 nodad\n\
                 neigh replace {BRIDGE6} lladdr {BRIDGE_MAC} dev eth0 nud permanent\n\
                 neigh replace {peer} lladdr {peer_mac} dev eth0 nud permanent\n"
            ))?;
        }
        Ok(())
    }

    fn second_node(&self, second: &SecondNode) -> Result<()> {
        quiet(&second.node2, false)?;
        quiet(&second.server2, false)?;
        second.node2.sysctl("ipv4/ip_forward", "1")?;
        second.node2.ip(&format!(
            "link set lo up\n\
             link add cbr0 address {BRIDGE2_MAC} type bridge\n\
             addr add 172.18.0.65/26 dev cbr0\n\
             link add vethe9f5bdcc type veth peer name eth0 address {SERVER2_MAC} netns {}\n\
             link set vethe9f5bdcc master cbr0 up\n\
             link set cbr0 up\n\
             neigh replace {SERVER2} lladdr {SERVER2_MAC} dev cbr0 nud permanent\n\
             link add eth0 address {NODE2_MAC} type veth \
             peer name eth0 address {NODE1_MAC} netns {}\n\
             link set eth0 up\n\
             addr add 10.0.2.138/24 dev eth0\n\
             neigh replace 10.0.2.96 lladdr {NODE1_MAC} dev eth0 nud permanent\n",
            second.server2.name(),
            self.node1.name(),
        ))?;
        self.node1.ip(&format!(
            "link set eth0 up\n\
             addr add 10.0.2.96/24 dev eth0\n\
             neigh replace 10.0.2.138 lladdr {NODE2_MAC} dev eth0 nud permanent\n\
             route add 172.18.0.64/26 via 10.0.2.138\n"
        ))?;
        second.node2.ip("route add 172.18.0.0/26 via 10.0.2.96\n")?;
        second.server2.ip(&format!(
            "link set lo up\n\
             link set eth0 up\n\
             addr add {SERVER2}/26 dev eth0\n\
             route add default via 172.18.0.65\n\
             neigh replace 172.18.0.65 lladdr {BRIDGE2_MAC} dev eth0 nud permanent\n"
        ))
    }

    /// Sends a datagram along every path that a trial may use, both ways, and sees it arrive.
    fn warm_up(&self) -> Result<()> {
        let mut paths = vec![
            (&self.client, &self.server, SERVER),
            (&self.server, &self.client, CLIENT),
            (&self.node1, &self.server, SERVER),
            (&self.node1, &self.client, CLIENT),
        ];
        if self.plan.ipv6 {
            paths.push((&self.client, &self.server, SERVER6));
            paths.push((&self.server, &self.client, CLIENT6));
        }
        if let Some(second) = &self.second {
            paths.push((&self.node1, &second.server2, SERVER2));
            paths.push((&second.server2, &self.client, CLIENT));
        }
        for (from, to, address) in paths {
            let to_address = SocketAddr::new(ip(address)?, WARM_UP_PORT);
            traffic::exchange_one(from, to, to_address)
                .with_context(|| format!("from {} to {to_address}", from.name()))?;
        }
        Ok(())
    }
}

impl SecondNode {
    fn create() -> Result<Self> {
        Ok(Self {
            server2: Netns::create("server2")?,
            node2: Netns::create("node2")?,
        })
    }
}

/// Parses an address constant.
pub fn ip(address: &str) -> Result<IpAddr> {
    address
        .parse()
        .with_context(|| format!("{address} is no address"))
}

/// An address constant with a port.
pub fn at(address: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(ip(address)?, port))
}

/// Three namespaces around a bridge and nothing else: client, server, node1.
pub fn pods() -> Result<Cluster> {
    Cluster::build(Plan::default())
}

/// Settings that keep unasked-for packets out of the trace.
pub fn quiet(net: &Netns, ipv6: bool) -> Result<()> {
    let mut settings = vec![
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
    ];
    if Path::new("/proc/sys/net/ipv6").exists() {
        let off = if ipv6 { "0" } else { "1" };
        settings.push(("ipv6/conf/all/disable_ipv6", off));
        settings.push(("ipv6/conf/default/disable_ipv6", off));
        settings.push(("ipv6/conf/default/accept_ra", "0"));
    }
    for (key, value) in settings {
        net.sysctl(key, value)?;
    }
    Ok(())
}

/// Sends bridged packets through iptables in `node`, as Kubernetes asks for.
pub fn filter_bridged(node: &Netns) -> Result<()> {
    const SWITCH: &str = "bridge/bridge-nf-call-iptables";
    const SWITCH6: &str = "bridge/bridge-nf-call-ip6tables";
    if !Path::new("/proc/sys/net").join(SWITCH).exists() {
        process::run("modprobe", &["br_netfilter"])
            .context("bridged packets pass iptables only with the module br_netfilter")?;
        // The module switches itself on everywhere; the host's own bridges stay as they were.
        for switch in [SWITCH, SWITCH6] {
            let path = Path::new("/proc/sys/net").join(switch);
            fs::write(&path, "0").with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    node.sysctl(SWITCH, "1")?;
    node.sysctl(SWITCH6, "1")?;
    let inside = node.enter(|| Ok(fs::read_to_string(format!("/proc/sys/net/{SWITCH}"))?))?;
    if inside.trim() != "1" {
        bail!("{SWITCH} cannot be switched on in a network namespace of this kernel");
    }
    Ok(())
}

fn rules() -> String {
    let mut rules = String::from(
        "-t filter -A FORWARD -s 172.18.0.0/16 -j ACCEPT\n\
         -t nat -A POSTROUTING -s 172.18.0.0/16 -d 172.18.0.0/16 -j ACCEPT\n",
    );
    for chain in ["PREROUTING", "OUTPUT"] {
        for (service, pod) in [(SERVICE, SERVER), (SERVICE2, SERVER2)] {
            for protocol in ["udp", "tcp"] {
                rules.push_str(&format!(
                    "-t nat -A {chain} -d {service} -p {protocol} --dport {PORT} \
                     -j DNAT --to-destination {pod}:{PORT}\n"
                ));
            }
        }
    }
    rules
}
