//! Measurements of the packet path.
//!
//! | benchmark | measures |
//! | --- | --- |
//! | `packet_path` | each step that makes no system call, with divan, in time |
//! | `sockets` | receiving and sending, in CPU time of the thread, and our send path against quinn-udp's |
//! | `peers` | the gateway as a process, against its floor and against the data plane of today |
//! | `attacks` | the gateway as a process, under attack |
//!
//! The library has what they share: packets, tunnels without a network ([`ConnectedPair`],
//! [`RawTunnels`]), clocks of CPU time ([`cpu`]), the [`steps`] that a floor is added up from, and the harness of the
//! last two: command line, gateways as processes, verdicts and reports.

pub mod attacks;
mod connected_pair;
pub mod cpu;
mod harness;
mod packets;
pub mod peers;
mod raw_tunnels;
pub mod statistics;
pub mod steps;

pub use connected_pair::{AnyIdentity, ConnectedPair, ShardWithTunnels};
pub use harness::Programs;
pub use packets::{IMIX, LOCAL_ISD_AS, imix_in_random_order, packet_to_remote};
pub use raw_tunnels::RawTunnels;
pub use snaptun::{PublicKey, StaticSecret};

/// What SNAPtun adds to a packet: header and tag of a data message, in bytes.
pub const TUNNEL_OVERHEAD_BYTES: usize = 16 + 16;

/// The private key of every gateway that is measured. Known to everyone, as it should be.
#[must_use]
pub fn gateway_key() -> StaticSecret {
    StaticSecret::from([7; 32])
}

/// The public key of every gateway that is measured.
#[must_use]
pub fn gateway_public_key() -> PublicKey {
    PublicKey::from(&gateway_key())
}

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The packet could not be built.
    #[error("cannot build a packet: {0}")]
    Packet(#[from] scion_packet::build::BuildError),
    /// A handshake or a packet between two tunnels in memory failed.
    #[error("a tunnel in memory failed: {0}")]
    Tunnel(&'static str),
    /// A socket could not be had.
    #[error("cannot bind a socket: {0}")]
    Bind(#[from] udp_shards::BindError),
    /// A socket could not be used.
    #[error("cannot {step}: {source}")]
    Socket {
        /// What was tried, as a verb.
        step: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Datagrams on loopback did not arrive.
    #[error(
        "{missing} of {sent} datagrams did not arrive: the socket's receive buffer is too small"
    )]
    Lost {
        /// Sent in one batch.
        sent: usize,
        /// Not received.
        missing: usize,
    },
    /// A thread could not run where it should.
    #[error(transparent)]
    Cpu(#[from] cpu::CpuError),
}

impl StepError {
    fn socket(step: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Socket { step, source }
    }
}
