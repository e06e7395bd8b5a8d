//! A client's socket and a server's, for datagrams there and back whose addresses may be changed
//! on the way.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context as _, Result, ensure};

use super::{send, udp_socket};
use crate::netns::Netns;
use crate::wait::{self, SOON};

/// The two sockets.
pub struct Exchange {
    client: UdpSocket,
    server: UdpSocket,
}

impl Exchange {
    /// Opens them: client and server, each with its namespace and its address.
    pub fn open(client: (&Netns, SocketAddr), server: (&Netns, SocketAddr)) -> Result<Self> {
        Ok(Self {
            client: udp_socket(client.0, client.1)?,
            server: udp_socket(server.0, server.1)?,
        })
    }

    /// Sends a datagram to `to`, which is the server or a Service before it; yields the sender's
    /// address as the server sees it.
    pub fn ask(&self, to: SocketAddr) -> Result<SocketAddr> {
        self.ask_with(to, b"question")
    }

    /// The same with these bytes.
    pub fn ask_with(&self, to: SocketAddr, payload: &[u8]) -> Result<SocketAddr> {
        self.say(to, payload)?;
        self.hear(payload)
    }

    /// Sends a datagram to `to`, whether or not it arrives.
    pub fn say(&self, to: SocketAddr, payload: &[u8]) -> Result<()> {
        send(&self.client, to, payload)
    }

    /// Waits for this datagram at the server; yields where it came from.
    pub fn hear(&self, payload: &[u8]) -> Result<SocketAddr> {
        receive_from(&self.server, payload)
    }

    /// Answers to `seen`; the client must see the answer come from `from`.
    pub fn answer(&self, seen: SocketAddr, from: SocketAddr) -> Result<()> {
        send(&self.server, seen, b"answer")?;
        let sender = receive_from(&self.client, b"answer")?;
        ensure!(sender == from, "the answer comes from {sender}");
        Ok(())
    }
}

/// Waits for a datagram, which must be `payload`; yields where it came from.
pub fn receive_from(socket: &UdpSocket, payload: &[u8]) -> Result<SocketAddr> {
    let local = socket.local_addr()?;
    let mut buffer = vec![0; 65536];
    wait::until(&format!("a datagram for {local}"), SOON, || {
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("cannot receive"),
        };
        ensure!(buffer.get(..length) == Some(payload), "another datagram");
        Ok(Some(from))
    })
}
