//! The part of the SCION header that a SNAP reads and writes.
//!
//! Bytes in, values out: this crate has no dependency but a macro, no `unsafe`, no clock, no socket and no
//! state. Nothing in it panics, whatever the bytes, and nothing that reads a packet allocates.
//!
//! Modules, in the order in which a packet meets them:
//!
//! | module | what |
//! | --- | --- |
//! | [`packet`] | [`ScionPacket`]: all lengths are checked once, then every accessor is total |
//! | [`isd_as`], [`host`], [`path`] | the fields of the view that have a structure of their own |
//! | [`upper_layer`] | past the extension headers: what the packet carries, and its source port |
//! | [`incoming_policy`] | what a packet from an endhost must be like |
//! | [`egress_interface`](mod@egress_interface) | towards SCION: the interface of the first hop |
//! | [`delivery_port`](mod@delivery_port) | towards a tunnel: the port that names it |
//! | [`scmp`] | the errors that answer a packet which goes nowhere |
//! | [`build`] | writes packets: for load and for tests |
//!
//! Layouts follow the SCION header, extension header and SCMP specifications (`doc/protocols` of
//! <https://github.com/scionproto/scion>) and draft-dekater-scion-dataplane. Offsets count bytes
//! from the first byte of the SCION packet; numbers are big-endian.
#![forbid(unsafe_code)]
// A view that cannot panic is a promise to the packet path: indexes must be provably in bounds.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod checksum;
mod write;

pub mod build;
pub mod delivery_port;
pub mod egress_interface;
pub mod host;
pub mod incoming_policy;
pub mod isd_as;
pub mod packet;
pub mod path;
pub mod scmp;
pub mod upper_layer;

pub use self::delivery_port::{NoDeliveryPort, delivery_port};
pub use self::egress_interface::{NoEgressInterface, egress_interface};
pub use self::host::{Host, ScionAddress};
pub use self::incoming_policy::{IncomingPolicy, PolicyViolation};
pub use self::isd_as::{IsdAs, ParseIsdAsError};
pub use self::packet::{MalformedPacket, ScionPacket};
pub use self::path::{HopField, InfoField, Path, StandardPath};
pub use self::scmp::ScmpError;
pub use self::upper_layer::{MalformedExtension, UpperLayer};
