//! What can be wrong with a value on the command line.
//!
//! clap puts the option and the value in front (`invalid value 'x' for '--host <ADDR>': …`), so a
//! message here says only what is wrong and what to do next.

use thiserror::Error;

/// Why a value was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ValueError {
    /// A host name where an address belongs: its addresses may change while we trace.
    #[error("skbtrace takes addresses, not names (resolve it first: getent hosts {0})")]
    HostName(String),
    /// Neither an address nor a name.
    #[error(
        "not an IPv4 or IPv6 address; give one like 10.0.0.1, 10.0.0.0/8, fd00::1 or fd00::/64"
    )]
    Address,
    /// `fe80::1%eth0`.
    #[error("an address here has no %interface part; add --iface {0} instead")]
    Zone(String),
    /// `10.0.0.1:53`.
    #[error("an address here has no port; add --port {0} instead")]
    AddressPort(String),
    /// The part after the slash.
    #[error("the prefix length after '/' is a number from 0 to {max}")]
    PrefixLength {
        /// Bits of the address family.
        max: u8,
    },
    /// `53-60`.
    #[error("ranges are not supported; list the ports, at most {max}: --port 53,54,55")]
    PortRange {
        /// How many values an option takes.
        max: usize,
    },
    /// Not a number, or one that does not fit.
    #[error("not {what}: a number from {min} {} is needed", end(*max))]
    Number {
        /// What the number is, with its article.
        what: &'static str,
        /// Smallest that fits.
        min: u64,
        /// Largest that fits; `u64::MAX`: any.
        max: u64,
    },
    /// Neither a protocol's number nor one of the known names.
    #[error("not a protocol: tcp, udp, icmp, icmp6, any or a number from 0 to 255 is needed")]
    Protocol,
    /// A name that the kernel would refuse too.
    #[error(
        "not an interface name: 1 to 15 bytes without '/', ':' and blanks are needed; \
         \"ip link\" lists them"
    )]
    Interface,
    /// Not `V` or `V/MASK`.
    #[error("not a mark: V or V/MASK is needed, decimal or hexadecimal, like 0x10/0xff")]
    Mark,
    /// `0x110/0xff`.
    #[error("can never match: the value has bits outside the mask")]
    MarkOutsideMask,
    /// `--duration`.
    #[error("not a duration: seconds are needed, like 10 or 0.5")]
    Duration,
    /// `--buffer`.
    #[error("not a buffer size: 1 byte to 1G is needed, with a suffix K, M or G, like 16M")]
    Size,
    /// `--rotate`.
    #[error("not a file size: 64K or more is needed, with a suffix K, M or G, like 100M")]
    FileSize,
    /// `--func`.
    #[error("not a regular expression: {0}")]
    Regex(String),
}

/// How a range ends.
fn end(max: u64) -> String {
    match max {
        u64::MAX => "on".to_owned(),
        max => format!("to {max}"),
    }
}
