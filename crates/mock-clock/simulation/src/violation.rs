//! Violations of invariants.

use std::net::SocketAddr;
use std::time::Duration;

use snaptun::DropReason;
use thiserror::Error;

/// Violated invariant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// An address has two tunnels.
    #[error("shard {shard} has two tunnels at {remote}")]
    TwoTunnels {
        /// Number of the shard.
        shard: usize,
        /// Address of the tunnels.
        remote: SocketAddr,
    },
    /// A shard does not find one of its tunnels, or has a tunnel that belongs to another shard.
    #[error("the tunnel at {remote} is lost in shard {shard}")]
    LostTunnel {
        /// Number of the shard.
        shard: usize,
        /// Address of the tunnel.
        remote: SocketAddr,
    },
    /// A count exceeds its limit.
    #[error("shard {shard} has {is} {what}, and the limit is {limit}")]
    Limit {
        /// Number of the shard.
        shard: usize,
        /// Name of the count.
        what: &'static str,
        /// Current count.
        is: usize,
        /// Limit of the count.
        limit: usize,
    },
    /// A counter of the shard differs from the count from outside.
    #[error("shard {shard}: {what}: {seen} seen, {counted} counted")]
    Unbalanced {
        /// Number of the shard.
        shard: usize,
        /// Name of the counter.
        what: &'static str,
        /// Count from outside.
        seen: u64,
        /// Counter of the shard.
        counted: u64,
    },
    /// A tunnel outlived the authorization of its identity.
    #[error("the tunnel of identity {identity} at {remote} exists {time:?} after its grant ended")]
    OutlivedItsGrant {
        /// Identity of the tunnel.
        identity: usize,
        /// Address of the tunnel.
        remote: SocketAddr,
        /// Time since the end of the grant.
        time: Duration,
    },
    /// A tunnel in use was displaced by another tunnel.
    #[error("shard {shard} ended the tunnel at {remote}, which was in use")]
    Displaced {
        /// Number of the shard.
        shard: usize,
        /// Address of the tunnel.
        remote: SocketAddr,
    },
    /// A packet passed with the session data of an unauthorized identity, or with outdated session data.
    #[error(
        "a packet of identity {identity} passed with session data {given:?}; expected {right:?}"
    )]
    PassedUnauthorized {
        /// Identity in the session data.
        identity: usize,
        /// Version of the session data returned with the packet.
        given: u32,
        /// Expected version, if the identity is authorized.
        right: Option<u32>,
    },
    /// The gateway delivered a packet that no client sent.
    #[error("the gateway delivered {bytes} bytes that no client sent")]
    DeliveredUnsent {
        /// Length of the packet in bytes.
        bytes: usize,
    },
    /// The gateway delivered a client's packet as a packet of another identity.
    #[error("the gateway delivered packet {packet} of client {client} for identity {as_of}")]
    DeliveredAsOthers {
        /// Sender of the packet.
        client: usize,
        /// Number of the packet.
        packet: usize,
        /// Identity reported by the gateway.
        as_of: usize,
    },
    /// The gateway delivered a packet twice.
    #[error("the gateway delivered packet {packet} of client {client} twice")]
    DeliveredTwice {
        /// Sender of the packet.
        client: usize,
        /// Number of the packet.
        packet: usize,
    },
    /// A client received a packet that was not sent to it.
    #[error("client {client} received {bytes} bytes that were not sent to it")]
    ReceivedOthers {
        /// Receiver of the packet.
        client: usize,
        /// Length of the packet in bytes.
        bytes: usize,
    },
    /// A client received a packet twice.
    #[error("client {client} received packet {packet} twice")]
    ReceivedTwice {
        /// Receiver of the packet.
        client: usize,
        /// Number of the packet.
        packet: usize,
    },
    /// The gateway reported a wrong address to a client.
    #[error("client {client} at {is} was told that its address is {told:?}")]
    WrongAddressReported {
        /// Number of the client.
        client: usize,
        /// Address of the client.
        is: SocketAddr,
        /// Reported address.
        told: Option<SocketAddr>,
    },
    /// A response was accepted long after it was sent.
    #[error("a response from {from} was accepted {age:?} after it was sent")]
    LateResponse {
        /// Sender of the response.
        from: SocketAddr,
        /// Age of the response.
        age: Duration,
    },
    /// A packet left in a session that its peer has not confirmed.
    #[error("a packet for {to} left in a session that its peer has not used")]
    SentUnconfirmed {
        /// Destination of the packet.
        to: SocketAddr,
    },
    /// An initiation was answered twice by one process.
    #[error("an initiation was answered again, from {from}")]
    AnsweredTwice {
        /// Source of the second copy.
        from: SocketAddr,
    },
    /// The gateway sent more than it may because of one datagram.
    #[error("the gateway sent {datagrams} datagrams, {bytes} bytes, because of one from {from}")]
    SentTooMuch {
        /// Source of the datagram.
        from: SocketAddr,
        /// Number of datagrams sent.
        datagrams: usize,
        /// Number of bytes sent.
        bytes: usize,
    },
    /// The gateway sent a message to an address without an authorized tunnel.
    #[error("the gateway sent a message of type {kind} to {to}, which has no authorized tunnel")]
    SentToStranger {
        /// Destination of the message.
        to: SocketAddr,
        /// First byte of the message.
        kind: u8,
    },
    /// A packet left from another address of the gateway than the client uses, so the client drops it.
    #[error("a packet for {to} left from another address than its peer sends to")]
    LeftByAnotherWay {
        /// Destination of the packet.
        to: SocketAddr,
    },
    /// A dropped packet was returned changed.
    #[error("a packet that was dropped as {reason:?} was returned changed")]
    ReturnedChanged {
        /// Reason of the drop.
        reason: DropReason,
    },
    /// The timers of a shard are due again at once.
    #[error("the timers of shard {shard} are due again at once")]
    RestlessTimers {
        /// Number of the shard.
        shard: usize,
    },
    /// A client was not served in time.
    #[error(
        "client {client} at {remote} was not served again within {allowed:?}: first at {first:?}"
    )]
    NotServed {
        /// Number of the client.
        client: usize,
        /// Address of the client.
        remote: SocketAddr,
        /// Maximum time until it is served.
        allowed: Duration,
        /// Time until it was served, if it was.
        first: Option<Duration>,
    },
    /// A served client lost a packet on a network without loss.
    #[error("packet {packet} of client {client} was lost in a fault-free period")]
    LostWithoutFaults {
        /// Number of the client.
        client: usize,
        /// Number of the packet.
        packet: usize,
    },
}
