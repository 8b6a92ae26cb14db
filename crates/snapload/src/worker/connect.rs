//! Connecting the tunnels of a thread and keeping them connected.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::lane::Connecting;
use super::message::Halt;
use super::ports::Role;
use super::{TICK_NS, Worker, bind};
use crate::config::Presence;
use crate::error::{ConnectFailure, LoadError};
use crate::pacing::{Nanos, nanos};

/// Maximum time for starting tunnels before sockets are read again.
const START_NS: Nanos = 2_000_000;

/// Timer period of connecting tunnels, short enough to repeat handshake messages in time.
const CONNECTING_PERIOD_NS: Nanos = 250_000_000;

/// Timer period of other tunnels: rekeys and keepalives can wait, and with 100,000 tunnels each check costs.
const TIMERS_PERIOD_NS: Nanos = 1_000_000_000;

/// Maximum time for timers in a turn, while packets wait: tunnels that connected one after the other also rekey one
/// after the other, and each handshake takes some 100 µs.
const TIMERS_TURN_NS: Nanos = 500_000;

/// Period in which a slice of the timers is served.
const TIMERS_SLICE_NS: Nanos = 5_000_000;

/// Maximum number of tunnels whose timers are served in one turn: some 15 µs of cache misses, which count as latency of
/// packets that arrive meanwhile.
const TIMERS_PER_TURN: usize = 32;

/// Number of unanswered messages after which a tunnel changes to another port. A gateway does not answer at an address
/// that belongs to another identity's tunnel, and after a run with many tunnels the kernel reassigns their ports before
/// the gateway forgets them.
const MESSAGES_PER_PORT: u32 = 2;

impl Worker<'_> {
    /// Connects all tunnels. Fails with the first that does not connect in time.
    pub(super) fn connect(&mut self) -> Result<(), Halt> {
        let mut tunnels = self.plan.tunnels_of(self.thread);
        if !self.connects_first() {
            for tunnel in tunnels {
                self.add_lane(tunnel)?;
            }
            return Ok(());
        }
        let started = self.now;
        while tunnels.len() > 0 || self.connect.tunnels < self.lanes.len() {
            if self.plan.config.stop.is_set() {
                return Err(LoadError::Interrupted.into());
            }
            let before = self.now;
            while self.lanes.len() - self.connect.tunnels < self.handshake_window.size()
                && self.now - before < START_NS
                && let Some(tunnel) = tunnels.next()
            {
                let lane = self.add_lane(tunnel)?;
                self.start_connecting(lane, self.now);
                self.now = self.plan.now();
            }
            let is_busy = self.now - before >= START_NS;
            self.turn(self.now + if is_busy { 0 } else { TICK_NS })?;
        }
        self.connect.seconds = (self.now - started) as f64 / 1e9;
        Ok(())
    }

    /// Adds a tunnel, which takes some 100 µs for its keys.
    fn add_lane(&mut self, tunnel: usize) -> Result<usize, LoadError> {
        let (lanes, ports) = (&self.lanes, &mut self.ports);
        let lane = bind::lane(self.plan, &self.peer, tunnel, lanes, ports)?;
        self.lanes.push(lane);
        Ok(self.lanes.len() - 1)
    }

    /// Begins the first handshake of a tunnel, which was scheduled at `since`.
    pub(super) fn start_connecting(&mut self, lane: usize, since: Nanos) {
        self.handshaking.push(lane);
        let state = &mut self.lanes[lane];
        state.connecting = Connecting::Started {
            since,
            unanswered: 1,
            failure: ConnectFailure::NoAnswer,
        };
        if let Some(message) = state.tunnel.start_handshake() {
            self.send_protocol(lane, message);
        }
    }

    /// Serves the timers of the next few tunnels: repeated handshakes, rekeys and keepalives.
    pub(super) fn update_timers(&mut self) -> Result<(), Halt> {
        if self.now >= self.next_timers_ns {
            self.next_timers_ns = self.now + TIMERS_SLICE_NS;
            self.write_off_stalled();
            self.update_timers_of_handshaking()?;
            let slices = (TIMERS_PERIOD_NS / TIMERS_SLICE_NS) as usize;
            self.timers_due += self.lanes.len().div_ceil(slices);
            self.timers_due = self.timers_due.min(self.lanes.len());
        }
        self.update_timers_due()
    }

    /// Serves the timers of the next few connecting tunnels.
    fn update_timers_of_handshaking(&mut self) -> Result<(), Halt> {
        let slices = (CONNECTING_PERIOD_NS / TIMERS_SLICE_NS) as usize;
        for _ in 0..self.handshaking.len().div_ceil(slices) {
            self.next_handshaking = (self.next_handshaking + 1) % self.handshaking.len();
            let lane = self.handshaking[self.next_handshaking];
            if self.lanes[lane].connecting == Connecting::Connected {
                self.handshaking.swap_remove(self.next_handshaking);
                if self.handshaking.is_empty() {
                    break;
                }
            } else {
                self.update_timers_of(lane)?;
            }
        }
        Ok(())
    }

    /// Serves some of the due timers for a limited time; the others wait for the next turn.
    fn update_timers_due(&mut self) -> Result<(), Halt> {
        let end = self.now + TIMERS_TURN_NS;
        for _ in 0..self.timers_due.min(TIMERS_PER_TURN) {
            self.timers_due -= 1;
            let lane = self.next_timer_lane;
            self.next_timer_lane = (lane + 1) % self.lanes.len();
            // Only a message takes long enough to read the clock for.
            if self.lanes[lane].connecting == Connecting::Connected
                && self.update_timers_of(lane)?
                && self.plan.now() >= end
            {
                break;
            }
        }
        Ok(())
    }

    /// Serves the timers of a tunnel. Returns true if a message was sent.
    fn update_timers_of(&mut self, lane: usize) -> Result<bool, Halt> {
        let holds_prepared = self.holds_prepared();
        let state = &mut self.lanes[lane];
        let message = state
            .tunnel
            .update_timers()
            .filter(|message| !holds_prepared || !is_data(message));
        if let Connecting::Started {
            since,
            unanswered,
            failure,
        } = &mut state.connecting
        {
            // Tunnels that connect during the measurement have no time limit: how long they take is a result.
            if self.plan.config.presence == Presence::Throughout
                && self.now.saturating_sub(*since) >= nanos(self.plan.config.connect_timeout)
            {
                return Err(LoadError::Connect {
                    tunnel: state.index as usize,
                    gateway: self.peer.gateway,
                    waited_seconds: self.plan.config.connect_timeout.as_secs_f64(),
                    connected: self.plan.connected(),
                    tunnels: self.plan.config.tunnels(),
                    reason: *failure,
                }
                .into());
            }
            if message.is_some() {
                self.connect.retries += 1;
                self.handshake_window
                    .shrink(self.now, nanos(self.plan.config.handshake_retry));
                *unanswered += 1;
                if *unanswered > MESSAGES_PER_PORT {
                    *unanswered = 1;
                    self.change_port(lane)?;
                }
            }
        }
        let has_message = message.is_some();
        if let Some(message) = message {
            self.send_protocol(lane, message);
        }
        Ok(has_message)
    }

    /// Moves a tunnel to another port.
    fn change_port(&mut self, lane: usize) -> Result<(), LoadError> {
        let state = &mut self.lanes[lane];
        let tunnel = state.index as usize;
        let Some(ip) = state.from_ip else {
            // The old socket is still open, so the new one gets another port.
            let socket = bind::tunnel_socket(self.plan, &self.peer, tunnel)?;
            return self.ports.replace(state.port, socket);
        };
        // Tunnels of a shared socket have different addresses, so they can also share its replacement.
        let port = match self.ports.get(state.port).replacement {
            Some(port) => port,
            None => {
                let socket = bind::shared_socket(self.plan, tunnel)?;
                let port = self.ports.add(socket, Role::Shared(HashMap::default()))?;
                self.ports.get_mut(state.port).replacement = Some(port);
                port
            }
        };
        state.port = port;
        bind::join(&mut self.ports, port, ip, lane);
        Ok(())
    }

    /// Stores a tunnel's own address: the one seen by the gateway, if known.
    pub(super) fn learn_address(&mut self, lane: usize, seen: Option<SocketAddr>) {
        let state = &mut self.lanes[lane];
        let local = self.ports.get(state.port).socket.local_addr();
        let local = SocketAddr::new(state.from_ip.unwrap_or(local.ip()), local.port());
        state.address = seen
            .map(|seen| SocketAddr::new(seen.ip().to_canonical(), seen.port()))
            .filter(|&seen| self.form.suits(seen))
            .or(Some(local));
    }

    /// Counts a completed handshake: a first one or a commanded one.
    pub(super) fn note_connected(&mut self, lane: usize) {
        let state = &mut self.lanes[lane];
        if let Connecting::Started { since, .. } = state.connecting {
            state.connecting = Connecting::Connected;
            self.connect.tunnels += 1;
            self.counts.connected += 1;
            self.handshakes.record(self.now.saturating_sub(since));
            self.handshake_window.grow();
            self.plan.note_connected();
        } else if let Some(since) = state.rekeying_since.take() {
            self.counts.rekeyed += 1;
            self.handshakes.record(self.now.saturating_sub(since));
        }
    }
}

/// Returns true for data messages (type 4), which include keepalives.
fn is_data(message: &[u8]) -> bool {
    message.first() == Some(&4)
}
