//! The end of sessions that may no longer be used, and new handshakes with their clients.
//!
//! Two events end sessions that their clients still use:
//!
//! - Time leaps, because the host was suspended: the session is then too old (`Reject-After-Time`).
//! - The process is copied, because a snapshot of its virtual machine is restored: both copies would send different
//!   packets with the same key and counter, which reveals them.
//!
//! The tunnel is removed with all its keys, those of a handshake under way included, and its client is remembered. The
//! handshake begins a round of the timers later, at the rate of a restart.

use std::time::Instant;

use crate::authorization::SnapTunAuthorization;
use crate::protocol::REJECT_AFTER_TIME;
use crate::remembered::Wait;
use crate::server::{Removal, SnapTunServer};
use crate::tunnel_table::Slot;

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Ends all sessions and all handshakes under way, because their keys may be in use elsewhere: the virtual machine
    /// was restored from a snapshot, or copied. Clients that had a session get new handshakes, begun by the shard at the
    /// rate of [`restart_handshakes_per_second`](crate::ShardConfig::restart_handshakes_per_second).
    ///
    /// Takes effect at once: nothing is sent or received in these sessions after the call. Their memory is wiped within
    /// [`timer_round`](crate::ShardConfig::timer_round).
    pub fn end_sessions(&mut self) {
        self.first_valid = self.counters.tunnels_created;
        self.timer_round.look_at_all(self.tunnels.slots());
    }

    /// Removes a tunnel whose sessions may no longer be used. Its client gets a new handshake if it had a session.
    pub(crate) fn reopen(&mut self, slot: Slot, now: Instant) {
        if let Some(tunnel) = self.remove(slot, Removal::Reopened) {
            // As after a restart: the client may have been silent for as long as it knows the session.
            let forget_at = now + REJECT_AFTER_TIME;
            self.remember_removed(
                now,
                &tunnel,
                tunnel.had_session(),
                Wait::Returned,
                forget_at,
            );
        }
    }
}
