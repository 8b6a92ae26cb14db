//! Zero-copy reading and writing of SCION packets.
//!
//! [SCION](https://www.scion.org) is an inter-domain network in which the sender chooses the path and writes it into
//! the packet header. This crate has what a SCION Network Access Point (SNAP) needs, a gateway between endhosts behind
//! tunnels and the routers of its AS: it parses packets, checks that endhosts send under their own address, finds the
//! router or endhost to forward a packet to, and writes SCMP errors. It is not a router: it does not verify the message
//! authentication codes of hop fields, and does not advance paths.
//!
//! The crate is sans-I/O: no sockets, clock, state or `unsafe`. No input makes it panic, and reading a packet does not
//! allocate.
//!
//! | item | purpose |
//! | --- | --- |
//! | [`ScionPacket`] | a view of a packet: [`parse`](ScionPacket::parse) checks all lengths, then accessors cannot fail |
//! | [`IsdAs`], [`Host`], [`Path`], [`UpperLayer`] | structured parts of the view |
//! | [`IncomingPolicy`] | checks of packets from endhosts |
//! | [`egress_interface()`] | for a packet to SCION: the interface of the first hop, which identifies the router |
//! | [`delivery_port()`] | for a packet from SCION: the port of the receiving endhost |
//! | [`scmp`] | SCMP errors, the answers to packets that cannot be forwarded |
//! | [`build`] | writing packets, for load generators and tests |
//!
//! Layouts follow the SCION header, extension header and SCMP specifications (`doc/protocols` of
//! <https://github.com/scionproto/scion>) and draft-dekater-scion-dataplane. Offsets count bytes from the first byte of
//! the SCION packet; numbers are big-endian.
//!
//! # In a gateway
//!
//! For a packet from a tunnel:
//!
//! 1. [`IncomingPolicy::check`] parses it and compares its source with the remote address of the tunnel. It returns the
//!    packet without the bytes after it, which have to be cut off before it is forwarded.
//! 2. [`PolicyViolation::append_answer`] writes the SCMP error for the client if a check fails.
//! 3. [`egress_interface()`] identifies the router to send it to. [`NoEgressInterface::EmptyPath`] means that the
//!    destination host is in this AS.
//!
//! For a packet from SCION, [`ScionPacket::dst_host`] and [`delivery_port()`] are the remote address of its tunnel.
//! [`ScmpError::append_reply`] writes the answer to its sender if there is no such tunnel. The caller limits the rate
//! of SCMP errors (RFC 4443, 2.4(f)).
//!
//! The functions that write append to a buffer of the caller, and do not change it if they fail.
//!
//! # Example
//!
//! `examples/print_packet.rs` prints the headers of a packet from a file or standard input.
//!
//! ```
//! use scion_packet::build::PacketBuilder;
//! use scion_packet::{Host, ScionAddress, ScionPacket, delivery_port};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let source = ScionAddress { isd_as: "1-ff00:0:110".parse()?, ip: "192.0.2.1".parse()? };
//! let destination = ScionAddress { isd_as: "1-ff00:0:111".parse()?, ip: "2001:db8::2".parse()? };
//! let mut bytes = Vec::new();
//! PacketBuilder::new(source, destination).append_udp(40_000, 50_000, b"hello", &mut bytes)?;
//!
//! let packet = ScionPacket::parse(&bytes)?;
//! assert_eq!((packet.src_isd_as(), packet.src_host()), (source.isd_as, Host::Ip(source.ip)));
//! assert_eq!(delivery_port(&packet), Ok(50_000));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
// The packet path relies on a view that cannot panic: indexes must be provably in bounds.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod checksum;
mod delivery_port;
mod egress_interface;
mod host;
mod incoming_policy;
mod isd_as;
mod packet;
mod path;
mod write;

pub mod build;
pub mod scmp;
pub mod upper_layer;

pub use self::delivery_port::{NoDeliveryPort, delivery_port};
pub use self::egress_interface::{NoEgressInterface, egress_interface};
pub use self::host::{Host, ScionAddress, is_unicast};
pub use self::incoming_policy::{IncomingPolicy, PolicyViolation};
pub use self::isd_as::{IsdAs, ParseIsdAsError};
pub use self::packet::{MalformedPacket, ScionPacket};
pub use self::path::{HopField, InfoField, Path, StandardPath};
pub use self::scmp::ScmpError;
pub use self::upper_layer::{MalformedExtension, UpperLayer};
