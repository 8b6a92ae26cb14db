//! What must never happen.

use std::net::SocketAddr;
use std::time::Duration;

use snaptun::DropReason;
use thiserror::Error;

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// There are two tunnels of one address.
    #[error("shard {shard} has two tunnels at {remote}")]
    TwoTunnels {
        /// Which shard.
        shard: usize,
        /// The address.
        remote: SocketAddr,
    },
    /// A shard does not find a tunnel that it has, or has one that belongs to another.
    #[error("the tunnel at {remote} is lost in shard {shard}")]
    LostTunnel {
        /// Which shard.
        shard: usize,
        /// The address.
        remote: SocketAddr,
    },
    /// Something is beyond its limit.
    #[error("shard {shard} has {is} {what}, and the limit is {limit}")]
    Limit {
        /// Which shard.
        shard: usize,
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        is: usize,
        /// How much there may be.
        limit: usize,
    },
    /// What the shard counted is not what was seen from outside.
    #[error("shard {shard}: {what}: {seen} seen, {counted} counted")]
    Unbalanced {
        /// Which shard.
        shard: usize,
        /// What was counted.
        what: &'static str,
        /// How many were seen.
        seen: u64,
        /// How many were counted.
        counted: u64,
    },
    /// A tunnel outlived the authorization of its identity.
    #[error(
        "the tunnel of identity {identity} at {remote} is there {time:?} after its grant ended"
    )]
    OutlivedItsGrant {
        /// Whose.
        identity: usize,
        /// Where.
        remote: SocketAddr,
        /// For how long.
        time: Duration,
    },
    /// A tunnel in use is gone, and nothing but another was against it.
    #[error("shard {shard} ended the tunnel at {remote}, which was in use")]
    Displaced {
        /// Which shard.
        shard: usize,
        /// The address.
        remote: SocketAddr,
    },
    /// A packet passed in the name of an identity that may not have a tunnel, or with session data of old.
    #[error(
        "a packet of identity {identity} passed with session data {given:?}; right is {right:?}"
    )]
    PassedUnauthorized {
        /// Whose.
        identity: usize,
        /// The version of the session data that came with it.
        given: u32,
        /// The version that it should have been, if it may have any.
        right: Option<u32>,
    },
    /// The gateway delivered what no client sent, or not like this.
    #[error("the gateway delivered {bytes} bytes that no client sent")]
    DeliveredUnsent {
        /// How many.
        bytes: usize,
    },
    /// The gateway delivered a client's packet as that of another identity.
    #[error("the gateway delivered packet {packet} of client {client} as that of identity {as_of}")]
    DeliveredAsOthers {
        /// Who sent it.
        client: usize,
        /// Its number.
        packet: usize,
        /// Whom the gateway took the client for.
        as_of: usize,
    },
    /// The gateway delivered a packet twice.
    #[error("the gateway delivered packet {packet} of client {client} twice")]
    DeliveredTwice {
        /// Who sent it.
        client: usize,
        /// Its number.
        packet: usize,
    },
    /// A client received what was not given to the gateway for it.
    #[error("client {client} received {bytes} bytes that nobody sent to it")]
    ReceivedOthers {
        /// Who.
        client: usize,
        /// How many.
        bytes: usize,
    },
    /// A client received a packet twice.
    #[error("client {client} received packet {packet} twice")]
    ReceivedTwice {
        /// Who.
        client: usize,
        /// The number of the packet.
        packet: usize,
    },
    /// A client was told that it has another address than it has.
    #[error("client {client} at {is} was told that it is at {told:?}")]
    WrongAddressReported {
        /// Who.
        client: usize,
        /// Where it is.
        is: SocketAddr,
        /// What it was told.
        told: Option<SocketAddr>,
    },
    /// A response was taken in long after it was sent.
    #[error("a response from {from} was taken in {age:?} after it was sent")]
    LateResponse {
        /// Where it came from.
        from: SocketAddr,
        /// When it was sent.
        age: Duration,
    },
    /// A packet left in a session that the peer may never have had.
    #[error("a packet for {to} left in a session that its peer has not used")]
    SentUnconfirmed {
        /// Where to.
        to: SocketAddr,
    },
    /// One initiation was answered twice in the life of a process.
    #[error("an initiation was answered again, from {from}")]
    AnsweredTwice {
        /// Where it came from the second time.
        from: SocketAddr,
    },
    /// One datagram made the gateway send more than it may.
    #[error("the gateway sent {datagrams} datagrams, {bytes} bytes, because of one from {from}")]
    SentTooMuch {
        /// Where it came from.
        from: SocketAddr,
        /// How many datagrams.
        datagrams: usize,
        /// How many bytes.
        bytes: usize,
    },
    /// The gateway sent something to an address without an authorized tunnel.
    #[error("the gateway sent a message of type {kind} to {to}, which has no authorized tunnel")]
    SentToStranger {
        /// Where to.
        to: SocketAddr,
        /// The first byte of the message.
        kind: u8,
    },
    /// A packet left from another address of the gateway's than the client talks to, who drops it.
    #[error("a packet for {to} left by another way than its peer came in by")]
    LeftByAnotherWay {
        /// Where to.
        to: SocketAddr,
    },
    /// What the gateway did not take in was changed.
    #[error("a packet that was dropped for {reason:?} came back changed")]
    ReturnedChanged {
        /// Why it was dropped.
        reason: DropReason,
    },
    /// The clocks of timers stand still.
    #[error("shard {shard} wants its timers to be looked at again at once")]
    RestlessTimers {
        /// Which shard.
        shard: usize,
    },
    /// A client that should be served is not.
    #[error(
        "client {client} at {remote} was not served again within {allowed:?}: first at {first:?}"
    )]
    NotServed {
        /// Who.
        client: usize,
        /// Where it is.
        remote: SocketAddr,
        /// How long it may take.
        allowed: Duration,
        /// How long it took, if it was served at all.
        first: Option<Duration>,
    },
    /// A client that is served lost a packet on a network that loses none.
    #[error("packet {packet} of client {client} was lost while nothing was wrong")]
    LostWithoutFaults {
        /// Who.
        client: usize,
        /// The number of the packet.
        packet: usize,
    },
}
