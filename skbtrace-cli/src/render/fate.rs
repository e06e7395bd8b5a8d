//! What became of a packet, in words: behind `end:` in the tree, and in the summary's table.
//!
//! | Fate                                     | Text                                                   |
//! |------------------------------------------|--------------------------------------------------------|
//! | a process read it                        | `delivered to 0.0.0.0:9999 of server[412], read by server[412]` |
//! | a socket had it, and it was freed        | `delivered to 0.0.0.0:9999 of server[412]`             |
//! | a socket has it                          | `still alive, in the queue of 0.0.0.0:9999 of server[412]` |
//! | the kernel itself wanted it              | `taken by icmp_rcv`, `taken by tcp_v4_do_rcv for 0.0.0.0:80 of nginx[7]` |
//! | dropped                                  | `dropped for NETFILTER_DROP at nf_hook_slow+0x9d`      |
//! | the kernel gave no reason                | `dropped at …, no reason given`                        |
//! | freed as a part of another one           | `joined to others, and freed with the packet that they made` |
//! | freed in a list                          | `freed in a list at kfree_skb_list+0x1c, not said whether dropped` |
//! | a device got it                          | `sent out of eth0`                                     |
//! | one that is not hardware                 | `sent out of eth0 (veth@eth0.pod-a), and not seen behind it` |
//! | a program has the device                 | `read from tun0 by vpnd[412]: what that sends for it is another packet` |
//! | GRO, pieces, copy                        | `merged into another packet of its flow`, `cut into 3 pieces`, `freed once it was copied` |
//! | handed to a program                      | `still alive, in user space (queue 3)`                 |
//! | freed, and that is all                   | `freed after ip_rcv, not seen why`, `freed, and nothing else was seen of it` |
//! | not freed                                | `still alive, last seen at ip_rcv, eth0`               |
//! | lost, given up                           | `not seen, events were lost after ip_rcv`, `not waited for, last seen at ip_rcv` |
//!
//! A socket of nobody is `… of nobody`, one whose process was not found has none.

use super::{cell::escaped, digits::decimal, sock, stack, trace};
use crate::{
    decode::Names,
    event::{Owner, ShortName, Sock},
    journey::{Delivery, Dropped, Fate, HopDevice, OwnReason, Running},
};

/// Appends the text.
pub fn push(fate: &Fate, names: &dyn Names, color: bool, out: &mut Vec<u8>) {
    match fate {
        Fate::Delivered(delivery) => {
            out.extend_from_slice(b"delivered to ");
            socket(delivery.sock, out);
            if let Some(reader) = delivery.reader {
                out.extend_from_slice(b", read by ");
                running(reader, out);
            }
        }
        Fate::Waiting(Delivery { sock, .. }) => {
            out.extend_from_slice(b"still alive, in the queue of ");
            socket(*sock, out);
        }
        Fate::Taken { by, sock } => {
            out.extend_from_slice(b"taken by ");
            escaped(by.as_bytes(), out);
            if sock.is_some() {
                out.extend_from_slice(b" for ");
                socket(*sock, out);
            }
        }
        Fate::Dropped(dropped) => drop(dropped, color, out),
        Fate::Joined => {
            out.extend_from_slice(b"joined to others, and freed with the packet that they made");
        }
        Fate::FreedInList(dropped) => {
            out.extend_from_slice(b"freed in a list at ");
            stack::push_place(dropped.at.place(), out);
            out.extend_from_slice(b", not said whether dropped");
        }
        Fate::Sent { device, netns } => sent(device, *netns, names, out),
        Fate::HandedOver { device, reader } => {
            out.extend_from_slice(b"read from ");
            escaped(device.name(), out);
            out.extend_from_slice(b" by ");
            running(*reader, out);
            out.extend_from_slice(b": what that sends for it is another packet");
        }
        Fate::Merged => out.extend_from_slice(b"merged into another packet of its flow"),
        Fate::Cut { pieces } => {
            out.extend_from_slice(b"cut into ");
            decimal(*pieces as u64, out);
            out.extend_from_slice(if *pieces == 1 { b" piece" } else { b" pieces" });
        }
        Fate::Copied => out.extend_from_slice(b"freed once it was copied"),
        Fate::InUserSpace { queue } => {
            out.extend_from_slice(b"still alive, in user space (queue ");
            decimal(u64::from(*queue), out);
            out.push(b')');
        }
        Fate::Ended { after: None } => {
            out.extend_from_slice(b"freed, and nothing else was seen of it");
        }
        Fate::Ended { after: Some(after) } => {
            out.extend_from_slice(b"freed after ");
            escaped(after.as_bytes(), out);
            out.extend_from_slice(b", not seen why");
        }
        Fate::Alive { at, device } => {
            out.extend_from_slice(b"still alive, last seen at ");
            escaped(at.as_bytes(), out);
            if let Some(device) = device {
                out.extend_from_slice(b", ");
                escaped(device.name(), out);
            }
        }
        Fate::Unseen { at } => {
            out.extend_from_slice(b"not seen, events were lost after ");
            escaped(at.as_bytes(), out);
        }
        Fate::NotAwaited { at } => {
            out.extend_from_slice(b"not waited for, last seen at ");
            escaped(at.as_bytes(), out);
        }
    }
}

fn drop(dropped: &Dropped, color: bool, out: &mut Vec<u8>) {
    trace::painted(trace::DROP, color, out, |out| {
        out.extend_from_slice(b"dropped");
        if dropped.reason != OwnReason::Unknown {
            out.extend_from_slice(b" for ");
            trace::reason_name(dropped.reason.reason(), out);
        }
    });
    out.extend_from_slice(b" at ");
    stack::push_place(dropped.at.place(), out);
    if dropped.reason == OwnReason::Unknown {
        out.extend_from_slice(b", no reason given");
    }
}

fn sent(device: &HopDevice, netns: Option<u32>, names: &dyn Names, out: &mut Vec<u8>) {
    out.extend_from_slice(b"sent out of ");
    escaped(device.name(), out);
    let link = netns.and_then(|netns| names.link(netns, device.ifindex));
    if let Some(link) = link.filter(|link| is_within(link)) {
        out.extend_from_slice(b" (");
        escaped(link, out);
        out.extend_from_slice(b"), and not seen behind it");
    }
}

/// Whether what goes out of such an interface stays in this machine's network stack.
fn is_within(link: &[u8]) -> bool {
    let kinds: [&[u8]; 4] = [b"veth", b"bridge", b"netkit", b"loopback"];
    kinds.iter().any(|kind| link.starts_with(kind))
}

/// Appends a socket's ends and whose it is.
pub fn socket(sock: Option<Sock>, out: &mut Vec<u8>) {
    let Some(sock) = sock else {
        return out.extend_from_slice(b"a socket");
    };
    sock::name(sock.name, out);
    match sock.owner {
        Owner::Nobody => out.extend_from_slice(b" of nobody"),
        Owner::Unknown => {}
        Owner::Process(process) => {
            out.extend_from_slice(b" of ");
            escaped(process.comm().bytes(), out);
            out.push(b'[');
            decimal(u64::from(process.pid), out);
            if process.others > 0 {
                out.push(b'+');
                decimal(u64::from(process.others), out);
            }
            out.push(b']');
        }
    }
}

/// Appends a task that ran.
pub fn running(running: Running, out: &mut Vec<u8>) {
    escaped(ShortName(&running.comm).bytes(), out);
    out.push(b'[');
    decimal(u64::from(running.pid), out);
    out.push(b']');
}
