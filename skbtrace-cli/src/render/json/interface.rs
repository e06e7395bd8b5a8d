//! Where the packet is: network namespace and interface, with what they are called.

use super::text::{name, number, optional, optional_string, put};
use crate::{
    decode::Names,
    event::{Device, Event},
};

/// Texts of recent places: one for each value of a hash, taken over by the next place there.
///
/// A place's names are learnt and may change while the trace runs, so a text is used again only
/// where all of them are known, and while no other answer may be given.
#[derive(Debug)]
pub struct Places([Option<Known>; PLACES]);

const PLACES: usize = 128;

#[derive(Debug)]
struct Known {
    netns: Option<u32>,
    /// Index and name.
    device: Option<(u32, [u8; 16])>,
    /// [`Names::generation`] of the answers.
    generation: u64,
    text: Vec<u8>,
}

impl Places {
    pub fn new() -> Self {
        Self([const { None }; PLACES])
    }

    /// Appends the place of `event`.
    #[inline]
    pub fn push(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
        let generation = names.generation();
        let device = event.device.map(|device| (device.ifindex, *device.name.0));
        let hash = event.netns.unwrap_or(0) ^ device.map_or(0, |(index, _)| index) << 2;
        let Some(place) = self.0.get_mut(hash as usize % PLACES) else {
            return;
        };
        if let Some(known) = place
            && known.netns == event.netns
            && known.device == device
            && known.generation == generation
        {
            return out.extend_from_slice(&known.text);
        }
        let netns_name = event.netns.and_then(|inode| names.netns(inode));
        let link = match (event.netns, event.device) {
            (Some(netns), Some(device)) => names.link(netns, device.ifindex),
            _ => None,
        };
        let start = out.len();
        write(event.netns, netns_name, event.device, link, out);
        // What is not known is asked for again, and so looked for.
        let is_known = event.netns.is_some() == netns_name.is_some()
            && event.netns.and(event.device).is_some() == link.is_some();
        *place = is_known.then(|| Known {
            netns: event.netns,
            device,
            generation,
            text: out.get(start..).unwrap_or(&[]).to_vec(),
        });
    }
}

fn write(
    netns: Option<u32>,
    netns_name: Option<&str>,
    device: Option<Device<'_>>,
    link: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    put(",\"netns\":", out);
    optional(netns, out, |inode, out| {
        put("{\"inode\":", out);
        number(inode, out);
        put(",\"name\":", out);
        optional_string(netns_name.map(str::as_bytes), out);
        put("}", out);
    });
    put(",\"interface\":", out);
    optional(device, out, |device, out| {
        put("{\"name\":", out);
        name(device.name.bytes(), out);
        put(",\"index\":", out);
        number(device.ifindex, out);
        put(",\"link\":", out);
        optional_string(link, out);
        put("}", out);
    });
}
