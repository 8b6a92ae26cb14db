//! Limits and intervals of a shard.

use std::time::Duration;

/// Limits and intervals of a shard.
///
/// [`HandshakeLimits`](crate::HandshakeLimits) applies the handshake rates to all shards of a gateway together: the
/// limits per address and per identity unchanged, the budgets `handshakes_per_second` and
/// `verified_handshakes_per_second` multiplied by the number of shards. It takes these five rates from the
/// configuration that it is created with, and a shard ignores them in its own. All other settings apply to each shard.
/// Every value is allowed and none is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// Maximum number of handshake messages per second from one source address without a cookie. Beyond it the sender
    /// has to prove with a cookie that it receives at that address (WireGuard whitepaper, section 5.3).
    ///
    /// An IPv6 address counts as its /64. With 0, every sender needs a cookie.
    ///
    /// Default: 100.
    pub handshakes_per_ip_per_second: u64,
    /// Maximum number of initiations without a cookie per second and shard, from all addresses together. Beyond it
    /// every new sender needs a cookie. Default: 2,000.
    pub handshakes_per_second: u64,
    /// Maximum number of handshake messages per second from one source address with a cookie. The rest is dropped.
    /// Default: 1,000.
    pub verified_handshakes_per_ip_per_second: u64,
    /// Maximum number of initiations with a cookie per second and shard. The rest is dropped, except for one initiation
    /// in 5 s from the client of each tunnel in use. Default: 4,000.
    pub verified_handshakes_per_second: u64,
    /// Maximum number of initiations answered per second for one identity. Further initiations that claim the identity
    /// are dropped. Default: 64.
    pub handshakes_per_identity_per_second: u64,
    /// Maximum number of handshakes per second that the shard begins with clients without a tunnel:
    /// [remembered](crate::SnapTunServer::remember) ones of the previous process, and those whose grant has returned. 0
    /// counts as 1. Default: 1,000.
    pub restart_handshakes_per_second: u64,
    /// Maximum number of tunnels of the shard, and of remembered clients without one. A new tunnel beyond it replaces
    /// the oldest half-open tunnel, or else the first silent one of 64 tunnels; without such a tunnel, its initiation is
    /// refused, and the next initiation searches the next 64. With 0 there are no tunnels.
    /// Default: 131,072 (2^17).
    pub tunnels_per_shard: usize,
    /// Maximum number of tunnels of one identity in the shard. A new tunnel beyond it replaces a half-open or silent
    /// tunnel of the same identity; without such a tunnel, its initiation is refused. With 0 there are no tunnels.
    /// Default: 64.
    pub tunnels_per_identity: usize,
    /// Maximum number of half-open tunnels: answered, but not yet used by their peer, or begun by the shard with a
    /// [remembered](crate::SnapTunServer::remember) client that has not responded yet. Clients use a tunnel as soon as
    /// they are answered. A new tunnel of a client beyond the limit replaces the oldest half-open one; the shard begins
    /// none beyond it. With 0 there are no tunnels. Default: 2,048.
    pub half_open_tunnels: usize,
    /// Time without authenticated messages after which a tunnel is silent: it may be replaced, and a client that shows
    /// a cookie may take over its address. Half-open tunnels are always silent. Default: 35 s.
    ///
    /// SNAP clients (`snap-tun`) send a persistent keepalive every 10 s. A WireGuard client without one becomes silent
    /// whenever it is idle for this time, and may then lose its tunnel or its address to another client.
    pub silent_after: Duration,
    /// If set, an identity that uses a new tunnel loses its older ones at once: for clients that roam and have one
    /// socket each. Otherwise the older tunnels expire, and one identity can have many sockets. The caller then has to
    /// call [`poll_event`](crate::SnapTunServer::poll_event), which ends the older tunnels of this shard; the queue of
    /// [moves](crate::Event::Moved) has no limit. Default: false.
    pub one_tunnel_per_identity: bool,
    /// Maximum number of [directory changes](crate::DirectoryChange) that wait for
    /// [`poll_event`](crate::SnapTunServer::poll_event); 0 disables them. Default: 0.
    pub directory_changes: usize,
    /// If set, the traffic of each tunnel is reported by [`Event::Usage`](crate::Event::Usage). The caller then has to
    /// call [`poll_event`](crate::SnapTunServer::poll_event): the queue of records has no limit. Default: false.
    pub usage_records: bool,
    /// Maximum number of packets that wait for a session in one tunnel. Default: 256.
    pub waiting_packets_per_tunnel: usize,
    /// Maximum number of waiting bytes in one tunnel. Default: 256 KiB.
    pub waiting_bytes_per_tunnel: usize,
    /// Maximum number of waiting bytes in all tunnels of one identity. Default: 1 MiB.
    pub waiting_bytes_per_identity: usize,
    /// Maximum number of waiting bytes in all half-open tunnels. Default: 8 MiB.
    pub waiting_bytes_half_open: usize,
    /// Maximum number of waiting bytes in all tunnels of the shard. Default: 64 MiB.
    pub waiting_bytes_per_shard: usize,
    /// Time in which every tunnel is visited once. It bounds how long a silent tunnel outlives its authorization, and
    /// is the shortest interval between two checks of a tunnel's WireGuard timers.
    ///
    /// Clamped to 1 ms..=1 s. Default: 250 ms.
    pub timer_round: Duration,
}

impl ShardConfig {
    /// Shortest timer round: no timer needs a finer resolution.
    pub(crate) const TIMER_ROUND_MIN: Duration = Duration::from_millis(1);

    /// Longest timer round: a revoked identity loses its tunnel within it.
    pub(crate) const TIMER_ROUND_MAX: Duration = Duration::from_secs(1);
}

impl Default for ShardConfig {
    fn default() -> Self {
        ShardConfig {
            // A carrier's NAT puts many clients behind one address; each needs one every two minutes.
            handshakes_per_ip_per_second: 100,
            // One costs about 0.05 ms if its identity is not authorized, so a flood of unknown identities takes 10 % of
            // a worker's time; twice the rekey rate of 100,000 tunnels.
            handshakes_per_second: 2_000,
            // All hosts behind one carrier's NAT at once.
            verified_handshakes_per_ip_per_second: 1_000,
            // Together with `handshakes_per_second`, as much as one worker can answer.
            verified_handshakes_per_second: 4_000,
            // All tunnels of an identity in one second, as after a restart; later each needs one handshake every two
            // minutes. 64 a second take 1.4 % of a worker's time.
            handshakes_per_identity_per_second: 64,
            // Begun and completed, 1,000 a second take a quarter of a worker's time.
            restart_handshakes_per_second: 1_000,
            // About 1.5 GB of memory.
            tunnels_per_shard: 1 << 17,
            // A client with many sockets, plus its old tunnels after a restart.
            tunnels_per_identity: 64,
            // At the highest handshake rate of a worker, a client has 0.4 s to use its tunnel.
            half_open_tunnels: 2_048,
            // Three lost keepalives in a row.
            silent_after: Duration::from_secs(35),
            one_tunnel_per_identity: false,
            directory_changes: 0,
            usage_records: false,
            // The same number as in `Tunn`.
            waiting_packets_per_tunnel: 256,
            waiting_bytes_per_tunnel: 256 << 10,
            // Four full tunnels. It takes 64 such identities to fill `waiting_bytes_per_shard`.
            waiting_bytes_per_identity: 1 << 20,
            // An eighth of `waiting_bytes_per_shard`: 1 Gbit/s to clients with a round trip of 60 ms.
            waiting_bytes_half_open: 8 << 20,
            waiting_bytes_per_shard: 64 << 20,
            timer_round: Duration::from_millis(250),
        }
    }
}
