//! Benchmarks of the packet path.
//!
//! | benchmark | measures |
//! | --- | --- |
//! | `packet_path` | steps without system calls, with divan, in wall-clock time |
//! | `sockets` | receiving and sending, in CPU time of the thread, and the send path of snapgate against quinn-udp |
//! | `peers` | a gateway process against its floor and against snap-dataplane |
//! | `attacks` | a gateway process under attack |
//!
//! This library has their common parts: packets, tunnels without a network ([`ConnectedPair`], [`RawTunnels`]), CPU
//! clocks ([`cpu`]), the [`steps`] whose sum is a floor, and the harness of the last two: command line, gateway
//! processes, verdicts and reports.

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

/// Overhead of SNAPtun per packet in bytes: header and tag of a data message.
pub const TUNNEL_OVERHEAD_BYTES: usize = 16 + 16;

/// Returns the private key of every measured gateway, a public constant.
#[must_use]
pub fn gateway_key() -> StaticSecret {
    StaticSecret::from([7; 32])
}

/// Returns the public key of every measured gateway.
#[must_use]
pub fn gateway_public_key() -> PublicKey {
    PublicKey::from(&gateway_key())
}

/// Error of a measurement.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A packet could not be built.
    #[error("cannot build a packet: {0}")]
    Packet(#[from] scion_packet::build::BuildError),
    /// A handshake, a packet of a tunnel, or a thread failed.
    #[error("{0}")]
    Tunnel(&'static str),
    /// A socket could not be bound.
    #[error("cannot bind a socket: {0}")]
    Bind(#[from] udp_shards::BindError),
    /// A system call on a socket failed.
    #[error("cannot {step}: {source}")]
    Socket {
        /// Name of the operation, a verb.
        step: &'static str,
        /// Error of the kernel.
        source: std::io::Error,
    },
    /// Datagrams did not arrive over loopback.
    #[error("{missing} of {sent} datagrams did not arrive: the receive buffer is too small")]
    Lost {
        /// Number of datagrams in the batch.
        sent: usize,
        /// Number of datagrams not received.
        missing: usize,
    },
    /// A CPU clock or a CPU is not available.
    #[error(transparent)]
    Cpu(#[from] cpu::CpuError),
}

impl StepError {
    fn socket(step: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Socket { step, source }
    }
}
