//! TCP that is reset, and that is sent again.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, bail};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::super::stage::Stage;
use crate::topology::at;
use crate::topology::link::{Link, RIGHT};
use crate::traffic;
use crate::wait::SOON;

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

/// The first of what is sent is lost.
pub fn retransmitted() -> Result<Stage> {
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
