//! A capture (`--pcapng`), read back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::{Block, PcapNgReader};

/// A packet of a capture.
#[derive(Debug)]
pub struct Captured {
    /// What its interface is called: `eth0@NETNS`.
    pub interface: String,
    /// What it says of it.
    pub about: String,
    /// Whether it begins with an Ethernet header, and not with an IP header.
    pub is_ethernet: bool,
    /// Since 1970.
    pub time: Duration,
    /// How long it was.
    pub length: u32,
    /// What was captured of it.
    pub data: Vec<u8>,
    /// The event.
    pub comment: String,
}

impl Captured {
    /// What happened, as in the column TRACE_INFO: the comment's second word.
    pub fn what(&self) -> &str {
        self.comment.split(' ').nth(1).unwrap_or_default()
    }
}

/// Reads all of a capture, which has to end with a whole block.
pub fn read(bytes: &[u8]) -> Result<Vec<Captured>> {
    let mut reader = PcapNgReader::new(bytes).context("no section header")?;
    let mut interfaces = Vec::new();
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.context("not a whole block")?.0 {
            Block::InterfaceDescription(block) => interfaces.push(block.into_owned()),
            Block::EnhancedPacket(block) => {
                let interface = interfaces
                    .get(usize::try_from(block.interface_id)?)
                    .context("an interface that was not described")?;
                ensure!(
                    [DataLink::ETHERNET, DataLink::RAW].contains(&interface.linktype),
                    "link type {:?}",
                    interface.linktype
                );
                let (mut name, mut about) = (String::new(), String::new());
                for option in &interface.options {
                    match option {
                        InterfaceDescriptionOption::IfName(text) => name = text.to_string(),
                        InterfaceDescriptionOption::IfDescription(text) => about = text.to_string(),
                        _ => {}
                    }
                }
                let comment = block.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Common(CommonOption::Comment(text)) => Some(text),
                    _ => None,
                });
                packets.push(Captured {
                    interface: name,
                    about,
                    is_ethernet: interface.linktype == DataLink::ETHERNET,
                    time: block.timestamp,
                    length: block.original_len,
                    comment: comment.context("no comment")?.to_string(),
                    data: block.data.to_vec(),
                });
            }
            _ => {}
        }
    }
    Ok(packets)
}
