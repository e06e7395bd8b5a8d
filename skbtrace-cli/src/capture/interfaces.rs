//! The file's interfaces: a device in its network namespace, once for each kind of header.
//!
//! An index or a name alone would not do: every network namespace has an `eth0`. A block that
//! describes an interface tells what is known of it when it is first met.

use pcap_file::{
    DataLink,
    pcapng::{
        PcapNgWriter,
        blocks::interface_description::{
            InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
        },
    },
};
use rustc_hash::FxHashMap;

use super::frame::Link;
use crate::{decode::Names, event::Event, render::comment};

/// An interface: netns, device by index and name, kind of header. What is not known is `None`.
type Key = (Option<u32>, Option<(u32, [u8; 16])>, Link);

/// The interfaces that were described, by number.
pub struct Interfaces {
    numbers: FxHashMap<Key, u32>,
    snaplen: Option<u32>,
}

impl Interfaces {
    pub fn new(snaplen: Option<u32>) -> Self {
        Self {
            numbers: FxHashMap::default(),
            snaplen,
        }
    }

    /// The number of the interface where an event happened; one that is met for the first time is
    /// described. `None` when it cannot be.
    pub fn number(
        &mut self,
        event: &Event<'_>,
        link: Link,
        names: &dyn Names,
        blocks: &mut PcapNgWriter<Vec<u8>>,
    ) -> Option<u32> {
        let device = event.device.map(|device| (device.ifindex, *device.name.0));
        let key = (event.netns, device, link);
        if let Some(number) = self.numbers.get(&key) {
            return Some(*number);
        }
        let linktype = match link {
            Link::Ethernet => DataLink::ETHERNET,
            Link::Ip => DataLink::RAW,
        };
        let text = |write: fn(&Event<'_>, &dyn Names, &mut Vec<u8>)| {
            let mut text = Vec::new();
            write(event, names, &mut text);
            String::from_utf8_lossy(&text).into_owned().into()
        };
        let mut block = InterfaceDescriptionBlock::new(linktype, self.snaplen.unwrap_or(0));
        block.options = vec![
            InterfaceDescriptionOption::IfName(text(comment::interface_name)),
            InterfaceDescriptionOption::IfDescription(text(comment::interface)),
            InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
        ];
        let number = u32::try_from(self.numbers.len()).ok()?;
        blocks.write_pcapng_block(block).ok()?;
        self.numbers.insert(key, number);
        Some(number)
    }
}
