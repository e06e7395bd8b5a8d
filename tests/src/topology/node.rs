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
//! With IPv6, all of them have an address of that version besides.
//!
//! The node's side of the cluster of [`super::Cluster`] without its bridge: here every packet is
//! routed, so what happens to it happens in plain IP. The Service is the node's choice: DNAT by
//! either iptables, or IPVS; leaving `eth0`, the client may be masqueraded.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};

use super::{CLIENT_PORT, Ip, PORT, at, link::written, quiet};
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

/// The addresses of one version of IP.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The client pod's.
    pub client: &'static str,
    /// The node's on the client's side.
    pub node: &'static str,
    /// The node's on the server's side, which masquerading gives to the client.
    pub node_out: &'static str,
    /// The server pod's.
    pub server: &'static str,
    /// The Service's.
    pub service: &'static str,
    /// How many bits the pods' networks have in common.
    prefix: u8,
}

/// Those of IPv4.
pub const V4: Addresses = Addresses {
    client: CLIENT,
    node: NODE,
    node_out: NODE_OUT,
    server: SERVER,
    service: SERVICE,
    prefix: 24,
};

/// Those of IPv6.
pub const V6: Addresses = Addresses {
    client: "fd00:72:1::2",
    node: "fd00:72:1::1",
    node_out: "fd00:72:2::1",
    server: "fd00:72:2::2",
    service: "fd00:96::10",
    prefix: 64,
};

impl Addresses {
    /// The client pod's, with its port.
    pub fn client(&self) -> Result<SocketAddr> {
        at(self.client, CLIENT_PORT)
    }

    /// The server pod's, with its port.
    pub fn server(&self) -> Result<SocketAddr> {
        at(self.server, PORT)
    }

    /// The Service's, with its port.
    pub fn service(&self) -> Result<SocketAddr> {
        at(self.service, PORT)
    }
}

/// Addresses of both versions' pods: each datagram through the node has one of them.
pub const ENDS: &str = "10.72.1.2,10.72.2.2,fd00:72:1::2,fd00:72:2::2";

const NODE_OUT_MAC: [u8; 6] = [0x0a, 0x72, 2, 0, 0, 1];
/// Hardware address of the server.
pub const SERVER_MAC: [u8; 6] = [0x0a, 0x72, 2, 0, 0, 2];

/// The three namespaces; dropping it removes everything.
pub struct Routed {
    /// The client pod.
    pub client: Netns,
    /// The node.
    pub node: Netns,
    /// The server pod.
    pub server: Netns,
    ip: Ip,
}

impl Routed {
    /// Builds it, with IPv4 alone and without a Service.
    pub fn build() -> Result<Self> {
        Self::build_for(Ip::V4)
    }

    /// Builds it for traffic over this version of IP, without a Service.
    pub fn build_for(ip: Ip) -> Result<Self> {
        let routed = Self {
            client: Netns::create("client")?,
            node: Netns::create("node")?,
            server: Netns::create("server")?,
            ip,
        };
        for net in [&routed.client, &routed.node, &routed.server] {
            quiet(net, ip == Ip::V6)?;
        }
        routed.cables().context("cannot lay the cables")?;
        routed.give(&V4)?;
        if ip == Ip::V6 {
            routed.node.sysctl("ipv6/conf/all/forwarding", "1")?;
            routed.give(&V6)?;
        }
        routed.warm_up().context("the new network does not work")?;
        Ok(routed)
    }

    /// The addresses that the traffic is between.
    pub fn addresses(&self) -> &'static Addresses {
        self.ip.of(&V4, &V6)
    }

    /// Opens the client's socket and the server's, to talk through the node or the Service.
    pub fn exchange(&self) -> Result<Exchange> {
        let ends = self.addresses();
        Exchange::open(
            (&self.client, ends.client()?),
            (&self.server, ends.server()?),
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
             link set eth0 up\n",
            self.client.name(),
            self.server.name(),
        ))?;
        for pod in [&self.client, &self.server] {
            pod.ip("link set lo up\nlink set eth0 up\n")?;
        }
        Ok(())
    }

    /// Gives everybody their address, and their neighbours' besides.
    fn give(&self, addresses: &Addresses) -> Result<()> {
        let [client_mac, node_mac, out_mac, server_mac] =
            [CLIENT_MAC, NODE_MAC, NODE_OUT_MAC, SERVER_MAC].map(written);
        let Addresses {
            client,
            node,
            node_out,
            server,
            prefix,
            ..
        } = addresses;
        // What nobody else can have is not asked for.
        let nodad = if client.contains(':') { "nodad" } else { "" };
        self.node.ip(&format!(
            "addr add {node}/{prefix} dev pod0 {nodad}\n\
             addr add {node_out}/{prefix} dev eth0 {nodad}\n\
             neigh replace {client} lladdr {client_mac} dev pod0 nud permanent\n\
             neigh replace {server} lladdr {server_mac} dev eth0 nud permanent\n"
        ))?;
        let pods = [
            (&self.client, client, node, node_mac),
            (&self.server, server, node_out, out_mac),
        ];
        for (pod, own, gateway, gateway_mac) in pods {
            pod.ip(&format!(
                "addr add {own}/{prefix} dev eth0 {nodad}\n\
                 route add default via {gateway}\n\
                 neigh replace {gateway} lladdr {gateway_mac} dev eth0 nud permanent\n"
            ))?;
        }
        Ok(())
    }

    fn warm_up(&self) -> Result<()> {
        let ends = self.addresses();
        let ways = [
            (&self.client, &self.server, ends.server),
            (&self.server, &self.client, ends.client),
        ];
        for (from, to, address) in ways {
            traffic::exchange_one(from, to, at(address, super::WARM_UP_PORT)?)?;
        }
        Ok(())
    }

    /// The Service by DNAT, through this iptables. Skips where it does not work.
    pub fn serve_by_dnat(&self, frontend: Frontend) -> Result<()> {
        if let Err(error) = frontend.probe_for(self.ip) {
            return skip(format!("{error:#}"));
        }
        let ends = self.addresses();
        let (service, server) = (ends.service, ends.server()?);
        let mut rules = String::new();
        for protocol in ["udp", "tcp"] {
            rules.push_str(&format!(
                "-t nat -A PREROUTING -d {service} -p {protocol} --dport {PORT} \
                 -j DNAT --to-destination {server}\n"
            ));
        }
        frontend.apply_for(self.ip, &self.node, &rules)
    }

    /// What leaves through the node's `eth0` gets the node's address.
    pub fn masquerade(&self, frontend: Frontend) -> Result<()> {
        if let Err(error) = frontend.probe_for(self.ip) {
            return skip(format!("{error:#}"));
        }
        let client = self.addresses().client;
        let rule = format!("-t nat -A POSTROUTING -s {client} -o eth0 -j MASQUERADE\n");
        frontend.apply_for(self.ip, &self.node, &rule)
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
        let ends = self.addresses();
        let (service, server) = (ends.service()?.to_string(), ends.server()?.to_string());
        for protocol in ["-u", "-t"] {
            let add: &[&str] = &["-A", protocol, &service, "-s", "rr"];
            if let Err(error) = self.node.run("ipvsadm", add) {
                return skip(format!("no IPVS here: {error:#}"));
            }
            let real = ["-a", protocol, &service, "-r", &server, "-m"];
            self.node.run("ipvsadm", &real)?;
        }
        // IPVS takes what is for the node itself.
        let own = match self.ip {
            Ip::V4 => format!("{}/32", ends.service),
            Ip::V6 => format!("{}/128", ends.service),
        };
        self.node.ip(&format!(
            "link add ipvs0 type dummy\n\
             addr add {own} dev ipvs0\n"
        ))
    }
}
