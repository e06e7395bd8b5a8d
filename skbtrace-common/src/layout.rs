//! The kernel's fields that skbtrace reads, one row each.
//!
//! User space looks every row up in the running kernel's type information (BTF) and freezes the
//! offsets into the configuration; the kernel side never knows a structure, only offsets. Members
//! of anonymous structs and unions count as members of what holds them, so a row keeps its name
//! when the kernel regroups fields (`sk_buff.headers`, 6.1).

use crate::Plain;

/// Offset of a field that this kernel does not have, or that nobody could tell.
pub const ABSENT: u16 = u16::MAX;

/// A row: which member of which structure, and where the kernel keeps the structure's type.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The structure's name.
    pub structure: &'static str,
    /// Member names from the structure down, joined by dots; only structures held by value are
    /// entered, pointers are not followed.
    pub path: &'static str,
    /// Module whose BTF describes the structure, when it is not the kernel's own.
    pub module: Option<&'static str>,
    /// Whether tracing is impossible without it.
    pub required: bool,
    /// Offset on kernels that have no module BTF (5.10), from that kernel's own debug
    /// information; [`ABSENT`] when there is none.
    pub without_module_btf: u16,
}

macro_rules! layout {
    ($($(#[$doc:meta])* $name:ident: $structure:literal . $path:literal
        $(in $module:literal or $fallback:expr)? , $need:ident;)*) => {
        /// Byte offsets of the fields, [`ABSENT`] where there is none.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Layout { $($(#[$doc])* pub $name: u16,)*
            /// Mask of `sk_buff.pkt_type` within its byte.
            pub skb_pkt_type_mask: u16,
            /// First of the bytes of `sk_buff` that hold all its header positions.
            pub skb_window: u16,
            /// How many these are, at most [`WINDOW`].
            pub skb_window_size: u16,
            /// First of the [`DETAILS`] bytes of `sk_buff` that hold length, type, tag and mark.
            pub skb_details: u16,
            /// Keeps the size a multiple of eight.
            pub reserved: [u16; PADDING],
        }

        /// The rows, in the order of [`Layout`]'s fields.
        pub const FIELDS: &[Field] = &[$(Field {
            structure: $structure,
            path: $path,
            module: layout!(@module $($module)?),
            required: layout!(@need $need),
            without_module_btf: layout!(@fallback $($fallback)?),
        },)*];

        /// Words that fill the layout up to a multiple of eight bytes; four follow the rows.
        const PADDING: usize = (4 - (FIELDS.len() + 4) % 4) % 4;

        impl Layout {
            /// Nothing known.
            pub const UNKNOWN: Self = Self {
                $($name: ABSENT,)*
                skb_pkt_type_mask: 0, skb_window: ABSENT, skb_details: ABSENT, skb_window_size: 0, reserved: [0; PADDING],
            };

            /// The offsets in the order of [`FIELDS`], to be filled in.
            pub fn slots(&mut self) -> [&mut u16; FIELDS.len()] {
                [$(&mut self.$name,)*]
            }
        }
    };
    (@module) => { None };
    (@module $module:literal) => { Some($module) };
    (@fallback) => { ABSENT };
    (@fallback $fallback:expr) => { $fallback };
    (@need required) => { true };
    (@need optional) => { false };
}

/// Most bytes of `sk_buff` that the kernel side reads at once for the header positions.
pub const WINDOW: usize = 48;

/// How many bytes of a matching packet's `sk_buff` it reads at once for the rest.
pub const DETAILS: usize = 64;

layout! {
    /// Device the packet is on or goes to.
    skb_dev: "sk_buff"."dev", required;
    /// Socket the packet belongs to.
    skb_sk: "sk_buff"."sk", required;
    /// Length, bytes.
    skb_len: "sk_buff"."len", required;
    /// Byte that holds the packet type's bits.
    skb_pkt_type: "sk_buff"."pkt_type", required;
    /// VLAN tag carried beside the frame.
    skb_vlan_tci: "sk_buff"."vlan_tci", required;
    /// Protocol of that tag; nonzero says there is one.
    skb_vlan_proto: "sk_buff"."vlan_proto", required;
    /// The mark.
    skb_mark: "sk_buff"."mark", required;
    /// Ethertype.
    skb_protocol: "sk_buff"."protocol", required;
    /// Offset of the transport header from `head`.
    skb_transport_header: "sk_buff"."transport_header", required;
    /// Offset of the network header from `head`.
    skb_network_header: "sk_buff"."network_header", required;
    /// Offset of the MAC header from `head`.
    skb_mac_header: "sk_buff"."mac_header", required;
    /// End of the linear data, offset from `head`.
    skb_tail: "sk_buff"."tail", required;
    /// Buffer.
    skb_head: "sk_buff"."head", required;
    /// Start of the data.
    skb_data: "sk_buff"."data", required;
    /// Name.
    dev_name: "net_device"."name", required;
    /// Index.
    dev_ifindex: "net_device"."ifindex", required;
    /// Network namespace.
    dev_net: "net_device"."nd_net.net", required;
    /// Length of its hardware addresses, bytes.
    dev_addr_len: "net_device"."addr_len", optional;
    /// State of a neighbour.
    neighbour_state: "neighbour"."nud_state", optional;
    /// Hardware address of a neighbour.
    neighbour_ha: "neighbour"."ha", optional;
    /// Device of a neighbour.
    neighbour_dev: "neighbour"."dev", optional;
    /// Inode number of a network namespace.
    net_inum: "net"."ns.inum", required;
    /// Network namespace of a socket.
    sock_net: "sock"."__sk_common.skc_net.net", required;
    /// IP protocol of a socket.
    sock_protocol: "sock"."sk_protocol", optional;
    /// Address family of a socket.
    sock_family: "sock_common"."skc_family", optional;
    /// TCP state; tells a request from a full socket.
    sock_state: "sock_common"."skc_state", optional;
    /// Remote port, network order.
    sock_dport: "sock_common"."skc_dport", optional;
    /// Local port, host order.
    sock_num: "sock_common"."skc_num", optional;
    /// Remote IPv4 address.
    sock_daddr: "sock_common"."skc_daddr", optional;
    /// Local IPv4 address.
    sock_saddr: "sock_common"."skc_rcv_saddr", optional;
    /// Remote IPv6 address.
    sock_daddr6: "sock_common"."skc_v6_daddr", optional;
    /// Local IPv6 address.
    sock_saddr6: "sock_common"."skc_v6_rcv_saddr", optional;
    /// The process's side of a socket (`struct socket *`); 0 when there is none.
    sock_socket: "sock"."sk_socket", optional;
    /// Memory of received packets, bytes (`sk_rmem_alloc`).
    sock_rmem: "sock"."sk_backlog.rmem_alloc", optional;
    /// How much that may be, bytes.
    sock_rcvbuf: "sock"."sk_rcvbuf", optional;
    /// Memory of packets that wait for the process to let go of the socket, bytes.
    sock_backlog: "sock"."sk_backlog.len", optional;
    /// Inode number of a `struct socket`, which its `struct socket_alloc` begins with.
    socket_inode: "socket_alloc"."vfs_inode.i_ino", optional;
    /// What kind of device it is (`struct rtnl_link_ops *`); 0 for most that drivers make.
    dev_link_ops: "net_device"."rtnl_link_ops", optional;
    /// The kind's name (pointer to characters).
    link_ops_kind: "rtnl_link_ops"."kind", optional;
    /// Hook number of a netfilter walk.
    state_hook: "nf_hook_state"."hook", optional;
    /// Protocol family of a netfilter walk.
    state_pf: "nf_hook_state"."pf", optional;
    /// Network namespace of a netfilter walk.
    state_net: "nf_hook_state"."net", optional;
    /// Connection tracking entry and, in the lowest three bits, `enum ip_conntrack_info`.
    skb_nfct: "sk_buff"."_nfct", optional;
    /// Next packet of a list.
    skb_next: "sk_buff"."next", optional;
    /// End of the linear buffer, offset from `head`: `struct skb_shared_info` starts there.
    skb_end: "sk_buff"."end", optional;
    /// First of the packets that hang on this one.
    shinfo_frag_list: "skb_shared_info"."frag_list", optional;
    /// Status bits of a connection.
    conn_status: "nf_conn"."status", optional;
    /// Mark of a connection.
    conn_mark: "nf_conn"."mark", optional;
    /// Zone of a connection.
    conn_zone: "nf_conn"."zone.id", optional;
    /// The two directions of a connection (`nf_conntrack_tuple_hash`, 56 bytes each).
    conn_tuplehash: "nf_conn"."tuplehash", optional;
    /// The tuple in a direction.
    hash_tuple: "nf_conntrack_tuple_hash"."tuple", optional;
    /// Name of an iptables table (inline characters).
    xt_table_name: "xt_table"."name" in "x_tables" or 56, optional;
    /// Name of an ebtables table (inline characters).
    ebt_table_name: "ebt_table"."name" in "ebtables" or 16, optional;
    /// The packet of an nftables walk.
    nft_pktinfo_skb: "nft_pktinfo"."skb" in "nf_tables" or 0, optional;
    /// The hook state of an nftables walk (`xt.state` on 5.10).
    nft_pktinfo_state: "nft_pktinfo"."state" in "nf_tables" or 32, optional;
    /// Table of an nftables chain.
    nft_chain_table: "nft_chain"."table" in "nf_tables" or 64, optional;
    /// Name of an nftables chain (pointer to characters).
    nft_chain_name: "nft_chain"."name" in "nf_tables" or 88, optional;
    /// Name of an nftables table (pointer to characters).
    nft_table_name: "nft_table"."name" in "nf_tables" or 240, optional;
}

// SAFETY: repr(C), u16 only.
unsafe impl Plain for Layout {}

// It ends the configuration, whose alignment is eight: anything else would leave padding.
const _: () = assert!(size_of::<Layout>().is_multiple_of(8));
