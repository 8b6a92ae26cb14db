//! Connecting the tunnels of a thread, and keeping them connected.

use super::{Halt, Worker, wait};
use crate::error::{ConnectFailure, LoadError};
use crate::pacing::{Nanos, nanos};

/// Handshakes under way at a time per thread: a gateway needs some 170 µs for one, so this is
/// 11 ms of its work.
const MAX_HANDSHAKES: usize = 64;

/// Every tunnel's timers are served this often.
const TIMERS_PERIOD_NS: Nanos = 250_000_000;

/// The timers of some tunnels are served this often.
const TIMERS_SLICE_NS: Nanos = 5_000_000;

/// Where a tunnel is on its way to its first session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Connecting {
    NotStarted,
    /// Since then, with what came back so far.
    Since(Nanos, ConnectFailure),
    Connected,
}

impl Connecting {
    /// Notes what came instead of a handshake response.
    pub(super) fn note_failure(&mut self, failure: ConnectFailure) {
        if let Self::Since(_, last) = self {
            *last = failure;
        }
    }
}

impl Worker<'_> {
    /// Connects all tunnels, or fails with the first that does not connect in time.
    pub(super) fn connect(&mut self) -> Result<(), Halt> {
        let started = self.now;
        let mut next = 0;
        while self.connect.tunnels < self.lanes.len() {
            while next < self.lanes.len() && next - self.connect.tunnels < MAX_HANDSHAKES {
                self.start_connecting(next);
                next += 1;
            }
            self.turn(self.now + wait::TICK_NS)?;
        }
        self.connect.seconds = (self.now - started) as f64 / 1e9;
        Ok(())
    }

    fn start_connecting(&mut self, lane: usize) {
        let state = &mut self.lanes[lane];
        state.connecting = Connecting::Since(self.now, ConnectFailure::NoAnswer);
        if let Some(message) = state.tunnel.start_handshake() {
            self.send_protocol(lane, message);
        }
    }

    /// Serves the timers of the next few tunnels: handshakes again that got no answer, rekeys,
    /// keepalives.
    pub(super) fn update_timers(&mut self) -> Result<(), Halt> {
        if self.now < self.next_timers_ns {
            return Ok(());
        }
        self.next_timers_ns = self.now + TIMERS_SLICE_NS;
        self.write_off_stalled();
        let slices = (TIMERS_PERIOD_NS / TIMERS_SLICE_NS) as usize;
        for _ in 0..self.lanes.len().div_ceil(slices) {
            let lane = self.next_timer_lane;
            self.next_timer_lane = (lane + 1) % self.lanes.len();
            self.update_timers_of(lane)?;
        }
        Ok(())
    }

    fn update_timers_of(&mut self, lane: usize) -> Result<(), Halt> {
        let state = &mut self.lanes[lane];
        let timeout = nanos(self.plan.config.connect_timeout);
        match state.connecting {
            Connecting::NotStarted => return Ok(()),
            Connecting::Since(since, reason) if self.now.saturating_sub(since) >= timeout => {
                return Err(LoadError::Connect {
                    tunnel: state.index as usize,
                    gateway: self.peer.gateway,
                    waited_seconds: self.plan.config.connect_timeout.as_secs_f64(),
                    connected: self.plan.connected(),
                    tunnels: self.plan.config.identities.len(),
                    reason,
                }
                .into());
            }
            Connecting::Since(..) | Connecting::Connected => {}
        }
        let is_connecting = state.connecting != Connecting::Connected;
        if let Some(message) = state.tunnel.update_timers() {
            self.connect.retries += u64::from(is_connecting);
            self.send_protocol(lane, message);
        }
        Ok(())
    }

    /// Notes that a tunnel has its first session.
    pub(super) fn note_connected(&mut self, lane: usize) {
        let state = &mut self.lanes[lane];
        if state.connecting != Connecting::Connected {
            state.connecting = Connecting::Connected;
            self.connect.tunnels += 1;
            self.plan.note_connected();
        }
    }
}
