//! Limits and intervals of a shard.

use std::time::Duration;

/// Limits and intervals of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// Handshake messages that one source address may send in a second before it has to prove, with a
    /// cookie, that it receives what is sent to it (WireGuard whitepaper, section 5.3).
    pub handshakes_per_second_per_ip: u64,
    /// Packets that may wait in one tunnel for a session.
    pub waiting_packets_per_tunnel: usize,
    /// Bytes that may wait in one tunnel.
    pub waiting_bytes_per_tunnel: usize,
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

    /// The handshake limiter counts by the second, and a revoked identity keeps nothing for longer.
    pub const TIMER_ROUND_MAX: Duration = Duration::from_secs(1);
}

impl Default for ShardConfig {
    fn default() -> Self {
        ShardConfig {
            // A carrier's NAT puts many clients behind one address; each needs one every two minutes.
            handshakes_per_second_per_ip: 100,
            // What `Tunn` itself would keep.
            waiting_packets_per_tunnel: 256,
            waiting_bytes_per_tunnel: 256 << 10,
            waiting_bytes_per_shard: 64 << 20,
            timer_round: Duration::from_millis(250),
        }
    }
}
