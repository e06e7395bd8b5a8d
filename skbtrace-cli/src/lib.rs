//! The command `skbtrace`, as a library: from arguments to the printed path of a packet.
//!
//! The straight line: [`args`] become [`settings`]; a [`session`] attaches to the kernel and hands
//! on records; a [`record`] is bytes with a length; [`decode`] makes it an [`event`]; [`lineage`]
//! numbers its packet, [`journey`] joins its packets' events, [`diagnosis`] explains them; [`render`] writes it, [`top`]
//! shows it or a [`capture`] keeps it. Only [`session`], [`attach`], [`transport`], [`stats`] and
//! [`kernel::features`] know about bpf(2).

mod allowance;
pub mod args;
pub mod attach;
pub mod capture;
mod clock;
pub mod commands;
pub mod decode;
pub mod diagnosis;
pub mod event;
pub mod filter;
pub mod gap;
pub mod journey;
pub mod kernel;
pub mod lineage;
pub mod listening;
pub mod output;
pub mod printer;
mod process;
pub mod record;
pub mod recording;
pub mod render;
pub mod replay;
pub mod row_set;
pub mod session;
pub mod settings;
pub mod stats;
pub mod tell;
pub mod top;
pub mod transport;
pub mod waits;
