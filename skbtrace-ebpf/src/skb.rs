//! The packet's `sk_buff`: where it is, and where its headers are.

use core::{
    mem::MaybeUninit,
    ops::{Deref, DerefMut},
    ptr,
};

use skbtrace_common::{
    config::READ_TOGETHER,
    hooks::Binding,
    layout::{DETAILS, WINDOW},
    proto,
};

use crate::{
    call::Call,
    config,
    follow::{Identity, opaque},
    kernel,
    kernel::{load_8, option, read},
    offset,
};

/// A packet.
pub struct Skb {
    /// Where it is, and where its headers are.
    fields: Fields,
    /// Who it is.
    pub identity: Identity,
    /// The socket in whose queue it stands, where nothing else says what it is; otherwise 0.
    queue: u64,
}

/// A packet's `sk_buff` with its header positions, which one read brings at most.
pub struct Fields {
    /// Its address.
    pub address: u64,
    /// The same address, as the verifier knows it: in some programs, as a pointer to a `struct
    /// sk_buff`, whose fields can be loaded.
    typed: u64,
    /// From where the header positions are loaded.
    positions: *const u8,
    window: MaybeUninit<[u64; WINDOW / 8]>,
}

/// Where the parts of a packet that matched are: `head` and offsets from there.
pub struct Positions {
    pub head: u64,
    pub network: u32,
    /// 0xffff when unset.
    pub mac: u32,
    pub data: u32,
    pub tail: u32,
}

/// What else a record tells of a packet; read once the packet has matched.
pub struct Details {
    positions: *const u8,
    window: MaybeUninit<[u64; DETAILS / 8]>,
}

/// A field that lies in a window, of a given type.
macro_rules! in_window {
    ($holder:expr, $field:ident, $type:ty) => {
        in_window!($holder, $field, $type, skb_window)
    };
    ($holder:expr, $field:ident, $type:ty, $start:ident) => {{
        let within = offset!($field - $start) as usize;
        // SAFETY: user space checks that the field lies within the window; it is filled. Volatile,
        // for the compiler would merge neighbouring fields into one load, which the verifier
        // refuses for a structure.
        unsafe {
            $holder
                .positions
                .wrapping_add(within)
                .cast::<$type>()
                .read_volatile()
        }
    }};
}

impl Deref for Skb {
    type Target = Fields;

    #[inline(always)]
    fn deref(&self) -> &Fields {
        &self.fields
    }
}

impl DerefMut for Skb {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }
}

impl Skb {
    /// A packet at an address that is not known yet. Made where it is used and filled in place:
    /// moved, its window would be copied.
    #[inline(always)]
    pub fn new() -> Self {
        Self {
            fields: Fields::new(),
            identity: Identity::none(),
            queue: opaque(0) as u64,
        }
    }

    /// Finds the packet a function was called with.
    #[inline(always)]
    pub fn find(&mut self, call: Call, binding: Binding) -> bool {
        if !self.fields.find(call, binding) {
            return false;
        }
        if binding.is_queued() && self.is_nobodys() {
            self.queue = call.other();
        }
        true
    }

    /// Whether it has no socket of its own, and no header yet.
    #[inline(always)]
    fn is_nobodys(&self) -> bool {
        self.sk() == 0 && self.field::<u16>(offset!(skb_network_header)) == Some(0)
    }

    /// `dev`, or 0. In a socket's queue there are links of the queue in its place (the `rbnode` of
    /// `struct sk_buff`, include/linux/skbuff.h, all four kernels).
    #[inline(always)]
    pub fn dev(&self) -> u64 {
        if self.queue != 0 {
            return 0;
        }
        self.field::<u64>(offset!(skb_dev)).unwrap_or(0)
    }

    /// The socket that sends it, or 0: its own, or the one in whose queue it stands.
    #[inline(always)]
    pub fn owner(&self) -> u64 {
        if self.queue != 0 {
            return self.queue;
        }
        self.sk()
    }

    /// Inode number of the network namespace: the device's, else the socket's, else 0.
    #[inline(always)]
    pub fn netns(&self, dev: u64) -> u32 {
        let net = if dev != 0 {
            read::<u64>(dev + offset!(dev_net))
        } else {
            let sk = self.owner();
            if sk == 0 {
                return 0;
            }
            read::<u64>(sk + offset!(sock_net))
        };
        net.map_or(0, netns_inode)
    }
}

impl Fields {
    /// Those of a packet at an address that is not known yet; made where it is used, like
    /// [`Skb::new`].
    #[inline(always)]
    pub fn new() -> Self {
        let nothing = opaque(0) as u64;
        Self {
            address: nothing,
            typed: nothing,
            positions: nothing as *const u8,
            window: MaybeUninit::uninit(),
        }
    }

    /// Makes it the packet at an address.
    #[inline(always)]
    pub fn take(&mut self, address: u64) {
        self.address = address;
        self.typed = address;
    }

    /// Finds the packet a function was called with.
    #[inline(always)]
    pub fn find(&mut self, call: Call, binding: Binding) -> bool {
        let typed = call.argument(binding.position());
        if binding.has_direct_loads() {
            self.typed = typed;
        }
        let argument = call.number(typed);
        let address = if binding.is_pointer() {
            read::<u64>(argument)
        } else if binding.is_pktinfo() {
            read::<u64>(argument + offset!(nft_pktinfo_skb))
        } else {
            Some(argument)
        };
        let Some(address) = address else {
            return false;
        };
        self.address = address;
        // A few functions are called without a packet.
        address != 0
    }

    /// Reads the header positions.
    #[inline(always)]
    pub fn fill(&mut self) -> bool {
        if kernel::binding().has_direct_loads() {
            self.positions = (self.typed + offset!(skb_window)) as *const u8;
            return true;
        }
        let to = self.window.as_mut_ptr().cast::<u8>();
        let from = self.address + offset!(skb_window);
        let size = config!(layout.skb_window_size) as u32;
        // SAFETY: the window has WINDOW bytes, and user space checks that the size is no larger.
        let Some(positions) = (unsafe { kernel::window(to, size, from) }) else {
            return false;
        };
        self.positions = positions;
        true
    }

    /// All of them, with as few reads as possible.
    #[inline(always)]
    pub fn positions(&self) -> Positions {
        let head = self.head();
        let data = self.data(head);
        if !option(READ_TOGETHER) {
            return Positions {
                head,
                network: self.network_header(),
                mac: self.mac_header(),
                data,
                tail: self.tail(),
            };
        }
        let from = if kernel::binding().has_direct_loads() {
            // Of a structure the verifier lets one field be loaded at a time.
            kernel::cast(self.address + offset!(skb_network_header))
        } else {
            self.positions
                .wrapping_add(offset!(skb_network_header - skb_window) as usize)
        };
        // SAFETY: a cast pointer, with READ_TOGETHER, and within its 64 bytes: so is the window.
        let together = unsafe { load_8(from) };
        Positions {
            head,
            network: together as u32 & 0xffff,
            mac: together as u32 >> 16,
            data,
            tail: (together >> 32) as u32,
        }
    }

    /// `head`, the start of the buffer.
    #[inline(always)]
    pub fn head(&self) -> u64 {
        in_window!(self, skb_head, u64)
    }

    /// `data` as an offset from `head`.
    #[inline(always)]
    pub fn data(&self, head: u64) -> u32 {
        in_window!(self, skb_data, u64).wrapping_sub(head) as u32
    }

    /// `tail`, an offset from `head`.
    #[inline(always)]
    pub fn tail(&self) -> u32 {
        in_window!(self, skb_tail, u32)
    }

    /// `protocol`, network order.
    #[inline(always)]
    pub fn protocol(&self) -> u16 {
        in_window!(self, skb_protocol, u16)
    }

    /// `network_header`, an offset from `head`.
    #[inline(always)]
    pub fn network_header(&self) -> u32 {
        u32::from(in_window!(self, skb_network_header, u16))
    }

    /// `transport_header`, an offset from `head`; 0xffff when unset.
    #[inline(always)]
    pub fn transport_header(&self) -> u32 {
        u32::from(in_window!(self, skb_transport_header, u16))
    }

    /// `mac_header`, an offset from `head`; 0xffff when unset.
    #[inline(always)]
    pub fn mac_header(&self) -> u32 {
        u32::from(in_window!(self, skb_mac_header, u16))
    }

    /// A field outside the window.
    #[inline(always)]
    pub fn field<T: Copy>(&self, offset: u64) -> Option<T> {
        read::<T>(self.address + offset)
    }

    /// `sk`, or 0.
    #[inline(always)]
    pub fn sk(&self) -> u64 {
        self.field::<u64>(offset!(skb_sk)).unwrap_or(0)
    }

    /// `mark`.
    #[inline(always)]
    pub fn mark(&self) -> u32 {
        self.field::<u32>(offset!(skb_mark)).unwrap_or(0)
    }
}

impl Details {
    /// Nothing known yet; made where it is used, like [`Skb::new`].
    #[inline(always)]
    pub const fn new() -> Self {
        Self {
            positions: ptr::null(),
            window: MaybeUninit::uninit(),
        }
    }

    /// Reads them.
    #[inline(always)]
    pub fn fill(&mut self, skb: &Skb) -> bool {
        let to = self.window.as_mut_ptr().cast::<u8>();
        let from = skb.address + offset!(skb_details);
        // SAFETY: the window has DETAILS bytes.
        let Some(positions) = (unsafe { kernel::window(to, DETAILS as u32, from) }) else {
            return false;
        };
        self.positions = positions;
        true
    }

    /// `len`.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        in_window!(self, skb_len, u32, skb_details)
    }

    /// `pkt_type`.
    #[inline(always)]
    pub fn pkt_type(&self) -> u8 {
        in_window!(self, skb_pkt_type, u8, skb_details) & config!(layout.skb_pkt_type_mask) as u8
    }

    /// `mark`.
    #[inline(always)]
    pub fn mark(&self) -> u32 {
        in_window!(self, skb_mark, u32, skb_details)
    }

    /// `vlan_proto`, 0 without a tag, and `vlan_tci`, which user space checks to follow it.
    #[inline(always)]
    pub fn vlan(&self) -> (u16, u16) {
        let both = in_window!(self, skb_vlan_proto, u32, skb_details);
        (both as u16, (both >> 16) as u16)
    }
}

/// Inode number of a `struct net`, or 0.
#[inline(always)]
pub fn netns_inode(net: u64) -> u32 {
    if net == 0 {
        return 0;
    }
    read::<u32>(net + offset!(net_inum)).unwrap_or(0)
}

/// TCP states of the small structures that stand in for a socket (include/net/tcp_states.h).
const TCP_TIME_WAIT: u8 = 6;
const TCP_NEW_SYN_RECV: u8 = 12;

/// Whether it is a whole socket, which a SYN-ACK's (`request_sock`) and one that is about to be gone
/// (`inet_timewait_sock`) are not: these have the common part alone.
#[inline(always)]
pub fn is_full_sock(sk: u64) -> bool {
    !matches!(
        read::<u8>(sk + offset!(sock_state)),
        None | Some(TCP_TIME_WAIT | TCP_NEW_SYN_RECV)
    )
}

/// IP protocol of a socket, or 0. A SYN-ACK's socket is a `request_sock`, which has only the
/// common part and ends before `sk_protocol`.
#[inline(always)]
pub fn sock_protocol(sk: u64) -> u16 {
    match read::<u8>(sk + offset!(sock_state)) {
        Some(TCP_TIME_WAIT | TCP_NEW_SYN_RECV) => u16::from(proto::TCP),
        _ => read::<u16>(sk + offset!(sock_protocol)).unwrap_or(0),
    }
}
