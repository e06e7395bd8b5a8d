//! Connections that carry a lot at once, and connections that are refused.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::connect;
use crate::netns::Netns;
use crate::wait::SOON;

/// Opens a connection from `from` to `to`, served in `server` at `listen`; sends `length` bytes in
/// one write and sees all of them arrive. Yields the client's address.
pub fn send_at_once(
    from: &Netns,
    to: SocketAddr,
    server: &Netns,
    listen: SocketAddr,
    length: usize,
) -> Result<SocketAddr> {
    let (mut stream, mut accepted, peer) = connect(from, to, server, listen)?;
    accepted.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    let reader = thread::spawn(move || -> Result<usize> {
        let mut received = Vec::new();
        accepted.read_to_end(&mut received).context("TCP data")?;
        Ok(received.len())
    });
    stream.write_all(&vec![b'x'; length])?;
    drop(stream);
    let received = reader
        .join()
        .map_err(|_| anyhow!("the reader panicked"))??;
    ensure!(received == length, "{received} of {length} bytes arrived");
    Ok(peer)
}

/// Tries to connect from `from` to a port where nobody listens.
pub fn refused(from: &Netns, to: SocketAddr) -> Result<()> {
    from.enter(|| match TcpStream::connect_timeout(&to, SOON) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error).with_context(|| format!("connecting to {to}")),
        Ok(_) => bail!("somebody listens at {to}"),
    })
}
