//! A node between two pods, which it routes, and a Service that it translates.
//!
//! ```text
//!   client 10.72.1.2       node                    server 10.72.2.2
//!        eth0 ------- pod0  |  eth0 ------------------ eth0
//!                 10.72.1.1 | 10.72.2.1
//!
//!   Service 10.96.0.10:9999  ->  10.72.2.2:9999
//! ```
//!
//! The node's side of the cluster of [`super::Cluster`] without its bridge: here every packet is
//! routed, so what happens to it happens in plain IP. The Service is the node's choice: DNAT by
//! either iptables, or IPVS; leaving `eth0`, the client may be masqueraded.

use anyhow::{Context as _, Result};

use super::{CLIENT_PORT, PORT, at, link::written, quiet};
use crate::frame::Frame;
use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::scenarios::skip;
use crate::traffic::{self, exchange::Exchange};

/// Address of the client pod.
pub const CLIENT: &str = "10.72.1.2";
/// Address of the node on the client's side.
pub const NODE: &str = "10.72.1.1";
/// Address of the node on the server's side, which masquerading gives to the client.
pub const NODE_OUT: &str = "10.72.2.1";
/// Address of the server pod.
pub const SERVER: &str = "10.72.2.2";
/// Address of the Service.
pub const SERVICE: &str = "10.96.0.10";
/// Hardware address of the client.
pub const CLIENT_MAC: [u8; 6] = [0x0a, 0x72, 1, 0, 0, 2];
/// Hardware address of the node on the client's side.
pub const NODE_MAC: [u8; 6] = [0x0a, 0x72, 1, 0, 0, 1];

const NODE_OUT_MAC: [u8; 6] = [0x0a, 0x72, 2, 0, 0, 1];
const SERVER_MAC: [u8; 6] = [0x0a, 0x72, 2, 0, 0, 2];

/// The three namespaces; dropping it removes everything.
pub struct Routed {
    /// The client pod.
    pub client: Netns,
    /// The node.
    pub node: Netns,
    /// The server pod.
    pub server: Netns,
}

impl Routed {
    /// Builds it, without a Service.
    pub fn build() -> Result<Self> {
        let routed = Self {
            client: Netns::create("client")?,
            node: Netns::create("node")?,
            server: Netns::create("server")?,
        };
        for net in [&routed.client, &routed.node, &routed.server] {
            quiet(net, false)?;
        }
        routed.cables().context("cannot lay the cables")?;
        routed.warm_up().context("the new network does not work")?;
        Ok(routed)
    }

    /// Opens the client's socket and the server's, to talk through the node or the Service.
    pub fn exchange(&self) -> Result<Exchange> {
        Exchange::open(
            (&self.client, at(CLIENT, CLIENT_PORT)?),
            (&self.server, at(SERVER, PORT)?),
        )
    }

    fn cables(&self) -> Result<()> {
        let [client_mac, node_mac, out_mac, server_mac] =
            [CLIENT_MAC, NODE_MAC, NODE_OUT_MAC, SERVER_MAC].map(written);
        self.node.sysctl("ipv4/ip_forward", "1")?;
        self.node.ip(&format!(
            "link set lo up\n\
             link add pod0 address {node_mac} type veth peer name eth0 address {client_mac} netns {}\n\
             link add eth0 address {out_mac} type veth peer name eth0 address {server_mac} netns {}\n\
             link set pod0 up\n\
             link set eth0 up\n\
             addr add {NODE}/24 dev pod0\n\
             addr add {NODE_OUT}/24 dev eth0\n\
             neigh replace {CLIENT} lladdr {client_mac} dev pod0 nud permanent\n\
             neigh replace {SERVER} lladdr {server_mac} dev eth0 nud permanent\n",
            self.client.name(),
            self.server.name(),
        ))?;
        let pods = [
            (&self.client, CLIENT, NODE, node_mac),
            (&self.server, SERVER, NODE_OUT, out_mac),
        ];
        for (pod, own, gateway, gateway_mac) in pods {
            pod.ip(&format!(
                "link set lo up\n\
                 link set eth0 up\n\
                 addr add {own}/24 dev eth0\n\
                 route add default via {gateway}\n\
                 neigh replace {gateway} lladdr {gateway_mac} dev eth0 nud permanent\n"
            ))?;
        }
        Ok(())
    }

    fn warm_up(&self) -> Result<()> {
        let ways = [
            (&self.client, &self.server, SERVER),
            (&self.server, &self.client, CLIENT),
        ];
        for (from, to, address) in ways {
            traffic::exchange_one(from, to, at(address, super::WARM_UP_PORT)?)?;
        }
        Ok(())
    }

    /// The Service by DNAT, through this iptables. Skips where it does not work.
    pub fn serve_by_dnat(&self, frontend: Frontend) -> Result<()> {
        if let Err(error) = frontend.probe() {
            return skip(format!("{error:#}"));
        }
        let mut rules = String::new();
        for protocol in ["udp", "tcp"] {
            rules.push_str(&format!(
                "-t nat -A PREROUTING -d {SERVICE} -p {protocol} --dport {PORT} \
                 -j DNAT --to-destination {SERVER}:{PORT}\n"
            ));
        }
        frontend.apply(&self.node, &rules)
    }

    /// What leaves through the node's `eth0` gets the node's address.
    pub fn masquerade(&self, frontend: Frontend) -> Result<()> {
        if let Err(error) = frontend.probe() {
            return skip(format!("{error:#}"));
        }
        let rule = format!("-t nat -A POSTROUTING -s {CLIENT} -o eth0 -j MASQUERADE\n");
        frontend.apply(&self.node, &rule)
    }

    /// Leaving through the node's `eth0`, large TCP packets are cut into segments there.
    pub fn cut_at_the_end(&self) -> Result<()> {
        let off = ["-K", "eth0", "tso", "off"];
        self.node.run("ethtool", &off).map(drop)
    }

    /// Through the node's `eth0` fit 1280 bytes.
    pub fn narrow_the_end(&self) -> Result<()> {
        self.node.ip("link set eth0 mtu 1280\n")
    }

    /// A datagram from the client to the server as one frame, of `length` bytes.
    pub fn whole_frame(&self, length: usize) -> Result<Frame> {
        let macs = (NODE_MAC, CLIENT_MAC);
        Ok(Frame {
            length,
            ..Frame::new(macs, (CLIENT, CLIENT_PORT), (SERVER, PORT))?
        })
    }

    /// The Service by IPVS, masquerading as kube-proxy's IPVS does. Skips where there is none.
    pub fn serve_by_ipvs(&self) -> Result<()> {
        let service = format!("{SERVICE}:{PORT}");
        let server = format!("{SERVER}:{PORT}");
        for protocol in ["-u", "-t"] {
            let add: &[&str] = &["-A", protocol, &service, "-s", "rr"];
            if let Err(error) = self.node.run("ipvsadm", add) {
                return skip(format!("no IPVS here: {error:#}"));
            }
            let real = ["-a", protocol, &service, "-r", &server, "-m"];
            self.node.run("ipvsadm", &real)?;
        }
        // IPVS takes what is for the node itself.
        self.node.ip(&format!(
            "link add ipvs0 type dummy\n\
             addr add {SERVICE}/32 dev ipvs0\n"
        ))
    }
}
