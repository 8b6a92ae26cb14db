//! Tunnels that come and go while packets are sent, and handshakes that are begun on command.
//!
//! What is to happen has its time; a lane whose handshake is to begin waits for a turn with room for
//! it. A handshake costs the generator as much as a hundred packets, so there are few per turn, and
//! packets stay on schedule also when all tunnels begin theirs at the same time.

use super::lane::Connecting;
use super::message::Halt;
use super::{Worker, bind};
use crate::config::Presence;
use crate::pacing::{Nanos, nanos};
use crate::tunnel::Tunnel;

/// Handshakes begun per turn: half a millisecond of work.
const HANDSHAKES_PER_TURN: usize = 4;

impl Worker<'_> {
    /// Whether tunnels connect before anything is sent.
    pub(super) fn connects_first(&self) -> bool {
        !matches!(self.plan.config.presence, Presence::AtOnce { .. })
    }

    /// Packets begin to be counted at `start`: from here on times count.
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

    /// No more tunnels leave or are told to do anything.
    pub(super) fn end_attendance(&mut self) {
        self.attendance.connect_at = None;
        self.attendance.rekey_at = None;
        self.attendance.departure_at = None;
    }

    /// When departure number `departure` is, after the start: the lanes leave in turn, each after a
    /// lifetime; threads take turns as well.
    fn departure_offset(&self, lifetime: Nanos, departure: u64) -> Nanos {
        let lanes = self.lanes.len() as f64;
        let phase = (self.thread + 1) as f64 / self.plan.config.threads as f64;
        ((departure as f64 + phase) * lifetime as f64 / lanes) as Nanos
    }

    /// Does what is due, not too much at once.
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

    /// Lets lanes rest whose lifetime is over.
    fn serve_departures(&mut self) {
        let Presence::Turnover { lifetime, .. } = self.plan.config.presence else {
            return;
        };
        let lifetime = nanos(lifetime);
        while let Some(at) = self.attendance.departure_at.filter(|at| *at <= self.now) {
            let departure = self.attendance.departures;
            let lane = (departure % self.lanes.len() as u64) as usize;
            let state = &mut self.lanes[lane];
            // One that is still connecting is not there to leave.
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

    /// Puts a newcomer in the place of a tunnel that left: another identity, another port.
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
        // None: one is under way, which does as well.
        if let Some(message) = state.tunnel.start_handshake() {
            self.send_protocol(lane, message);
        }
    }
}
