//! Limits and intervals of a shard.

use std::time::Duration;

/// Limits and intervals of a shard.
///
/// [`HandshakeLimits`](crate::HandshakeLimits) holds the limits of handshakes per second for all shards of a gateway
/// together: those of an address and of an identity as they are here, the others times the number of shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// Handshake messages that one source address may send in a second before it has to prove, with a
    /// cookie, that it receives what is sent to it (WireGuard whitepaper, section 5.3).
    ///
    /// An IPv6 address counts as the /64 that it is in. Of zero everyone has to.
    pub handshakes_per_ip_per_second: u64,
    /// Initiations without a cookie that are taken in in a second, for each shard, of all addresses together.
    /// Beyond that every new sender has to show one.
    pub handshakes_per_second: u64,
    /// Handshake messages that one source address may send in a second with a cookie. More are dropped.
    pub verified_handshakes_per_ip_per_second: u64,
    /// Initiations with a cookie that are taken in in a second, for each shard. More are dropped, but for one in
    /// 5 s of the client of each tunnel in use.
    pub verified_handshakes_per_second: u64,
    /// Initiations of one identity that are answered in a second. More are dropped, once the identity has
    /// proven that it made that many.
    pub handshakes_per_identity_per_second: u64,
    /// Handshakes that the shard begins in a second because tunnels of the process before are
    /// [remembered](crate::SnapTunServer::remember). At least 1.
    pub restart_handshakes_per_second: u64,
    /// Tunnels of the shard. A newcomer beyond that takes the place of a tunnel that nobody has used, or of
    /// one that is silent; where there is none it is refused.
    pub tunnels_per_shard: usize,
    /// Tunnels of one identity in the shard. One more takes the place of the identity's own that nobody
    /// has used, or that is silent; where there is none it is refused.
    pub tunnels_per_identity: usize,
    /// Tunnels that no peer has used yet: a client does as soon as it is answered. One more takes the
    /// place of the oldest.
    pub half_open_tunnels: usize,
    /// How long a tunnel has not been heard from when it counts as silent: its place may go to another then,
    /// and its address to a client that shows by a cookie that it is there. Clients send a keepalive every
    /// 10 s. A tunnel that nobody has used is silent from the start.
    pub silent_after: Duration,
    /// Whether an identity that uses a new tunnel loses the older ones at once: clients that roam, and have
    /// one socket each. Otherwise they go when they expire, and one identity can have many sockets.
    pub one_tunnel_per_identity: bool,
    /// [Changes of the directory](crate::DirectoryChange) that wait to be taken; 0 keeps
    /// none.
    pub directory_changes: usize,
    /// Packets that may wait in one tunnel for a session.
    pub waiting_packets_per_tunnel: usize,
    /// Bytes that may wait in one tunnel.
    pub waiting_bytes_per_tunnel: usize,
    /// Bytes that may wait in all tunnels of one identity together.
    pub waiting_bytes_per_identity: usize,
    /// Bytes that may wait in all tunnels together that no peer has used yet.
    pub waiting_bytes_half_open: usize,
    /// Bytes that may wait in all tunnels together.
    pub waiting_bytes_per_shard: usize,
    /// The time in which every tunnel has its turn once: the longest that a silent tunnel outlives its
    /// authorization, and the least time between two looks at its WireGuard timers.
    ///
    /// A value outside [`TIMER_ROUND_MIN`](Self::TIMER_ROUND_MIN) and
    /// [`TIMER_ROUND_MAX`](Self::TIMER_ROUND_MAX) counts as the nearer of the two.
    pub timer_round: Duration,
}

impl ShardConfig {
    /// More often is of no use to any timer.
    pub const TIMER_ROUND_MIN: Duration = Duration::from_millis(1);

    /// A revoked identity keeps nothing for longer.
    pub const TIMER_ROUND_MAX: Duration = Duration::from_secs(1);
}

impl Default for ShardConfig {
    fn default() -> Self {
        ShardConfig {
            // A carrier's NAT puts many clients behind one address; each needs one every two minutes.
            handshakes_per_ip_per_second: 100,
            // One costs about 0.05 ms if its identity is not authorized, so a flood of strangers takes 10 % of
            // a worker's time; and it is twice what 100,000 tunnels need for their rekeys.
            handshakes_per_second: 2_000,
            // Hosts behind one carrier's NAT, all at once.
            verified_handshakes_per_ip_per_second: 1_000,
            // Together with the others as much as a worker can answer.
            verified_handshakes_per_second: 4_000,
            // Every tunnel that an identity may have, in one second, as after a restart; after that each needs
            // one every two minutes. They take 1.4 % of a worker's time.
            handshakes_per_identity_per_second: 64,
            // Begun and completed they take a quarter of a worker's time.
            restart_handshakes_per_second: 1_000,
            // Some 1.5 GB of memory.
            tunnels_per_shard: 1 << 17,
            // A client with many sockets, and its old ones after a restart.
            tunnels_per_identity: 64,
            // At the most handshakes that a worker can answer, a client has 0.4 s for its first word.
            half_open_tunnels: 2_048,
            // Three keepalives of a client in a row are lost.
            silent_after: Duration::from_secs(35),
            one_tunnel_per_identity: false,
            directory_changes: 0,
            // What `Tunn` itself would keep.
            waiting_packets_per_tunnel: 256,
            waiting_bytes_per_tunnel: 256 << 10,
            // Four tunnels full. Of identities that fill theirs it takes 64 to fill the memory of all.
            waiting_bytes_per_identity: 1 << 20,
            // An eighth of the memory: 1 Gbit/s to clients with a round trip of 60 ms.
            waiting_bytes_half_open: 8 << 20,
            waiting_bytes_per_shard: 64 << 20,
            timer_round: Duration::from_millis(250),
        }
    }
}
