//! Tunnels that connect, leave and rekey during the measurement.
//!
//! Each event has a scheduled time; a lane that is to begin a handshake waits for a turn. A handshake costs the
//! generator as much as a hundred packets, so few begin per turn, and packets stay on schedule even if all tunnels
//! begin one at the same time.

use super::lane::Connecting;
use super::message::Halt;
use super::{Worker, bind};
use crate::config::Presence;
use crate::pacing::{Nanos, nanos};
use crate::tunnel::Tunnel;

/// Maximum number of handshakes begun per turn: half a millisecond of work.
const HANDSHAKES_PER_TURN: usize = 4;

impl Worker<'_> {
    /// Returns true if tunnels connect before sending starts.
    pub(super) fn connects_first(&self) -> bool {
        !matches!(self.plan.config.presence, Presence::AtOnce { .. })
    }

    /// Schedules the events, relative to the start of counting.
    pub(super) fn begin_attendance(&mut self, start: Nanos) {
        let config = self.plan.config;
        self.attendance.rekey_at = config.rekey_at.map(|after| start + nanos(after));
        match config.presence {
            Presence::Throughout => {}
            Presence::AtOnce { after } => self.attendance.connect_at = Some(start + nanos(after)),
            Presence::Turnover { lifetime, .. } => {
                self.attendance.departures = 0;
                self.attendance.departure_at =
                    Some(start + self.departure_offset(nanos(lifetime), 0));
            }
        }
    }

    /// Cancels all further events.
    pub(super) fn end_attendance(&mut self) {
        self.attendance.connect_at = None;
        self.attendance.rekey_at = None;
        self.attendance.departure_at = None;
    }

    /// Returns the time of a departure, relative to the start. Each lane leaves after one lifetime, in turn; threads
    /// take turns too.
    fn departure_offset(&self, lifetime: Nanos, departure: u64) -> Nanos {
        let lanes = self.lanes.len() as f64;
        let phase = (self.thread + 1) as f64 / self.plan.config.threads as f64;
        ((departure as f64 + phase) * lifetime as f64 / lanes) as Nanos
    }

    /// Handles due events, up to a maximum number of handshakes.
    pub(super) fn serve_attendance(&mut self) -> Result<(), Halt> {
        if self.now < self.attendance.next_ns() {
            return Ok(());
        }
        let now = self.now;
        if let Some(at) = self.attendance.connect_at.take_if(|at| *at <= now) {
            let absent = (0..self.lanes.len()).filter(|&lane| !self.lanes[lane].is_present());
            self.attendance
                .waiting
                .extend(absent.map(|lane| (at, lane)));
        }
        if let Some(at) = self.attendance.rekey_at.take_if(|at| *at <= now) {
            let present = (0..self.lanes.len()).filter(|&lane| self.lanes[lane].is_present());
            self.attendance
                .waiting
                .extend(present.map(|lane| (at, lane)));
        }
        self.serve_departures();
        while let Some(&(at, lane)) = self.attendance.resting.front()
            && at <= now
        {
            self.attendance.resting.pop_front();
            self.replace_tunnel(lane, at)?;
        }
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some((since, lane)) = self.attendance.waiting.pop_front() else {
                break;
            };
            match self.lanes[lane].connecting {
                Connecting::Connected => self.begin_another_handshake(lane, since),
                _ => self.start_connecting(lane, since),
            }
        }
        Ok(())
    }

    /// Lets lanes stop sending at the end of their lifetime.
    fn serve_departures(&mut self) {
        let Presence::Turnover { lifetime, .. } = self.plan.config.presence else {
            return;
        };
        let lifetime = nanos(lifetime);
        while let Some(at) = self.attendance.departure_at.filter(|at| *at <= self.now) {
            let departure = self.attendance.departures;
            let lane = (departure % self.lanes.len() as u64) as usize;
            let state = &mut self.lanes[lane];
            // A lane that is still connecting keeps its tunnel.
            if state.is_present() {
                state.is_leaving = true;
                let replaced_at = at + nanos(Presence::REST);
                self.attendance.resting.push_back((replaced_at, lane));
            }
            self.attendance.departures += 1;
            let step = self.departure_offset(lifetime, departure + 1)
                - self.departure_offset(lifetime, departure);
            self.attendance.departure_at = Some(at + step);
        }
    }

    /// Replaces a tunnel that left by one with another identity and port.
    fn replace_tunnel(&mut self, lane: usize, at: Nanos) -> Result<(), Halt> {
        let config = self.plan.config;
        let secrets = config.identities.secrets();
        let newcomer = self.attendance.newcomers * config.threads + self.thread;
        let identity = (config.tunnels() + newcomer) % secrets.len();
        self.attendance.newcomers += 1;
        let socket = bind::tunnel_socket(self.plan, &self.peer, identity)?;
        let state = &mut self.lanes[lane];
        self.ports.replace(state.port, socket)?;
        state.tunnel = Tunnel::new(secrets[identity].clone(), &self.peer);
        state.address = None;
        state.is_leaving = false;
        state.rekeying_since = None;
        state.connecting = Connecting::NotStarted;
        self.counts.departed += 1;
        self.attendance.waiting.push_back((at, lane));
        Ok(())
    }

    fn begin_another_handshake(&mut self, lane: usize, since: Nanos) {
        let state = &mut self.lanes[lane];
        state.rekeying_since = Some(since);
        // `None` means that one is in progress.
        if let Some(message) = state.tunnel.start_handshake() {
            self.send_protocol(lane, message);
        }
    }
}
