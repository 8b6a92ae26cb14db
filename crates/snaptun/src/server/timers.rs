//! Keepalives, rekeys and the expiry of tunnels, a slice at a time.
//!
//! Every tunnel is visited once per round, and each visit checks its authorization. Checking the WireGuard timers costs
//! several cache misses, so only some visits do it. `Tunn` knows only the time of its last check, so the timers of a
//! tunnel that was not checked in the last two seconds are brought up to date before a message passes: those of a quiet
//! tunnel, and all after the host was suspended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ana_gotatun::packet::WgKind;

use crate::authorization::SnapTunAuthorization;
use crate::server::{Removal, SnapTunServer};
use crate::transmit::Transmit;
use crate::tunnel_table::Slot;

/// Timer interval of a shard without tunnels.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// Interval between timer checks of a tunnel. The timers that matter take 5 s or more.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Interval between timer checks of a quiet tunnel, whose only timers are the end of its sessions after 180 s and of
/// the tunnel after 540 s.
const QUIET_LOOK_INTERVAL: Duration = Duration::from_secs(4);

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Visits a slice of the tunnels: sends due keepalives and initiations, and removes tunnels that expired or whose
    /// identity is no longer authorized. Begins handshakes with clients whose identity is authorized again, and with those
    /// whose session ended while the shard did not run.
    ///
    /// Call it once per turn, also in a turn without datagrams. It does nothing before
    /// [`next_timer`](Self::next_timer). Every tunnel is visited once per
    /// [`timer_round`](crate::ShardConfig::timer_round) if calls are at most an eighth of that apart. Its WireGuard
    /// timers are checked once a second, or every four seconds while it is quiet. One call visits at most an eighth of
    /// the tunnels, or 64, also when it is late: about 6 ms for 100,000 tunnels.
    pub fn update_timers(&mut self, now: Instant, send_to_network: &mut VecDeque<Transmit>) {
        if now < self.next_timer() {
            return;
        }
        self.look_at_remembered(now, send_to_network);
        let slots = self.tunnels.slots();
        self.timer_round.note_generation(self.generation, slots);
        let all = self.timer_round.is_for_all();
        for slot in self.timer_round.next_slice(now, slots) {
            if all || self.tunnels.is_look_due(slot, now) {
                self.look_at(slot, now, send_to_network);
                self.look_again(slot, now, QUIET_LOOK_INTERVAL);
            }
        }
    }

    /// Returns the time at which [`update_timers`](Self::update_timers) has work to do: at most 1 s after it last had.
    /// It may be in the past. A new tunnel can bring it forward, so read it after all other calls of a turn.
    #[must_use]
    pub fn next_timer(&self) -> Instant {
        let of_tunnels = if self.tunnels.len() == 0 {
            self.timer_round.last_slice + IDLE_INTERVAL
        } else {
            self.timer_round.next_slice_at(self.tunnels.slots())
        };
        let of_remembered = self.restart.next_slice_at();
        of_remembered.map_or(of_tunnels, |at| at.min(of_tunnels))
    }

    /// Brings the timers of a tunnel up to date before a message passes. Returns false if the tunnel is gone.
    pub(crate) fn catch_up(
        &mut self,
        slot: Slot,
        now: Instant,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> bool {
        let there = self.look_at(slot, now, send_to_network);
        self.look_again(slot, now, LOOK_INTERVAL);
        there
    }

    /// Schedules the next timer check: `quiet_interval` from now for a quiet tunnel, and no later than the end of its
    /// grant.
    fn look_again(&mut self, slot: Slot, now: Instant, quiet_interval: Duration) {
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return;
        };
        let latest = if tunnel.is_quiet(now) {
            now + quiet_interval
        } else {
            now + LOOK_INTERVAL
        };
        let look_at = tunnel.grant_end().map_or(latest, |end| end.min(latest));
        self.tunnels.look_again(slot, look_at);
    }

    /// Checks the authorization and timers of a tunnel. Returns false if the tunnel is gone.
    fn look_at(
        &mut self,
        slot: Slot,
        now: Instant,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return false;
        };
        if tunnel.number() < self.first_valid {
            self.reopen(slot, now);
            return false;
        }
        let authorization = &*self.authorization;
        if !tunnel.is_authorized(authorization, now, self.generation, &mut self.events) {
            self.revoke(slot, now);
            return false;
        }
        if tunnel.is_restart_over(now) {
            self.remove(slot, Removal::Expired);
            return false;
        }
        if tunnel.has_outlived_session(now) {
            self.reopen(slot, now);
            return false;
        }
        let Ok(mut due) = tunnel.update_timers(now) else {
            self.remove(slot, Removal::Expired);
            return false;
        };
        if due.is_none()
            && let Some(initiation) = tunnel.initiation_overdue(now, self.config.silent_after)
        {
            self.counters.handshakes_under_pressure += u64::from(tunnel.is_under_pressure(now));
            due = Some(initiation.into());
        }
        if self.events.has_room_for_directory()
            && let Some(change) = tunnel.take_directory_change()
        {
            self.events.push_directory(change);
        }
        let to = tunnel.endpoint();
        if let Some(message) = due {
            match &message {
                WgKind::HandshakeInit(_) => self.counters.handshakes_initiated += 1,
                _ => self.counters.keepalives_sent += 1,
            }
            send_to_network.push_back(Transmit::protocol(to, message));
        }
        true
    }
}
