//! Sockets that refuse, and TCP that is reset, or sent again.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::libc::linger;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};

use super::super::stage::Stage;
use super::guards;
use crate::counters;
use crate::frame::Frame;
use crate::frontend::Frontend;
use crate::kernel_trace::KernelTrace;
use crate::scenarios::skip;
use crate::topology::link::{LEFT, LEFT_MAC, Link, RIGHT, RIGHT_MAC};
use crate::topology::{self, CLIENT_PORT, Ip, at};
use crate::traffic;
use crate::wait::{self, SOON};

const PORT: u16 = 9080;

/// A connection over a cable: the cable, the client's end, and the server's.
fn connected() -> Result<(Link, TcpStream, TcpStream)> {
    let link = Link::build()?;
    let to = at(RIGHT, PORT)?;
    let (client, server, _) = traffic::connect(&link.left, to, &link.right, to)?;
    for end in [&client, &server] {
        end.set_read_timeout(Some(SOON))?;
    }
    Ok((link, client, server))
}

/// The server hangs up in the midst of it.
pub fn reset() -> Result<Stage> {
    Stage::build(
        || {
            let (link, client, server) = connected()?;
            Ok((link, client, std::cell::RefCell::new(Some(server))))
        },
        |(_, client, server)| {
            let server = server.take().context("it hung up already")?;
            let at_once = linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(&server, sockopt::Linger, &at_once).context("cannot set SO_LINGER")?;
            drop(server);
            match (&mut &*client).read(&mut [0; 1]) {
                Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
                other => bail!("no reset: {other:?}"),
            }
        },
    )
}

/// The first of what is sent is lost, and sent again by its sender: that is no duplicate.
pub fn lost() -> Result<Stage> {
    Stage::build(connected, |(link, client, server)| {
        let tc = |words: &[&str]| link.left.run("tc", words).map(drop);
        tc(&[
            "qdisc", "add", "dev", "eth0", "root", "netem", "loss", "100%",
        ])?;
        (&mut &*client).write_all(b"ping").context("cannot send")?;
        // Nothing is heard of it until the queue lets it pass.
        tc(&["qdisc", "del", "dev", "eth0", "root"])?;
        let mut heard = [0; 4];
        (&mut &*server).read_exact(&mut heard).context("TCP data")?;
        Ok(())
    })
}

/// A program that wants none of what its socket gets.
pub fn filtered() -> Result<Stage> {
    Stage::build(
        || {
            let link = Link::build()?;
            let receiver = traffic::udp_socket(&link.right, at(RIGHT, topology::PORT)?)?;
            traffic::keep_only(&receiver, 0)?;
            let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
            Ok((link, receiver, sender))
        },
        |(link, _, sender)| {
            counters::until_told(&link.right, ("Udp", "InErrors"), || {
                traffic::send(sender, at(RIGHT, topology::PORT)?, b"unwanted")
            })
        },
    )
}

/// A protocol that the host does not speak: no rule knows of it, but the kernel has a reason.
pub fn no_protocol() -> Result<Stage> {
    /// Kept for experiments (RFC 3692).
    const UNKNOWN: u8 = 253;
    Stage::build(
        || {
            if !KernelTrace::has_reasons()? {
                return skip("this kernel gives no reasons (before 5.17)");
            }
            Link::build()
        },
        |link| {
            let macs = (RIGHT_MAC, LEFT_MAC);
            let frame = Frame {
                protocol: UNKNOWN,
                ..Frame::new(macs, (LEFT, CLIENT_PORT), (RIGHT, topology::PORT))?
            };
            counters::until_told(&link.right, ("Icmp", "OutDestUnreachs"), || {
                frame.transmit(&link.left, "eth0")
            })
        },
    )
}

/// A connection whose first segment a rule drops.
pub fn dropped_tcp() -> Result<Stage> {
    Stage::build_to_cure(
        || {
            let link = Link::build()?;
            let frontend = Frontend::first_that_works()?;
            let rule = format!("-t filter -A INPUT -p tcp --dport {PORT} -j DROP\n");
            frontend.apply(&link.right, &rule)?;
            Ok((link, frontend))
        },
        |(link, frontend)| unanswered(link, *frontend, Ip::V4, at(RIGHT, PORT)?),
        |(_, frontend), told| guards::by_the_first_rule(*frontend, Ip::V4, told),
    )
}

/// Begins a connection from the left host, and gives it up once a rule of the right one's INPUT has
/// counted its first segment.
pub fn unanswered(link: &Link, frontend: Frontend, ip: Ip, to: SocketAddr) -> Result<()> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let begun = link.left.enter(|| {
        let flags = SockFlag::SOCK_NONBLOCK;
        let begun = socket(family, SockType::Stream, flags, None).context("no TCP socket")?;
        match connect(begun.as_raw_fd(), &SockaddrStorage::from(to)) {
            Err(Errno::EINPROGRESS) => Ok(begun),
            other => bail!("connecting to {to}: {other:?}"),
        }
    })?;
    wait::until("a rule to count", SOON, || {
        let list = ["-w", "-t", "filter", "-vxnL", "INPUT"];
        let rules = link.right.run(frontend.command_for(ip), &list)?;
        let counts = rules.lines().find(|line| line.contains("DROP"));
        let first = counts.and_then(|line| line.split_whitespace().next());
        Ok(first.is_some_and(|count| count != "0").then_some(()))
    })?;
    drop(begun);
    Ok(())
}
