//! The running kernel: its types, code, network namespaces, interfaces and abilities.

pub mod btf;
pub mod code;
pub mod drop_reasons;
pub mod features;
pub mod functions;
pub mod hook_functions;
pub mod interfaces;
pub mod layout;
pub mod netlink;
pub mod netns;
pub mod rulesets;
pub mod sections;
pub mod sockets;
pub mod symbols;
