//! Reading and classifying datagrams.

use std::io::ErrorKind;

use bytes::BytesMut;

use super::message::Halt;
use super::ports::Role;
use super::{RECEIVE_TRAINS, Worker};
use crate::error::{ConnectFailure, LoadError};
use crate::inner_packet::{Recognized, Unrecognized};
use crate::pacing::{Nanos, Pacing};
use crate::sequence::Arrival;
use crate::tunnel::Handled;

/// Maximum number of datagrams read per turn, apart from the rest of the last batch.
const DATAGRAMS_PER_TURN: usize = 128;

/// Maximum time for reading per turn: an answer to a handshake costs as much as a hundred packets.
const RECEIVE_TURN_NS: Nanos = 1_000_000;

/// Where a packet arrived.
#[derive(Clone, Copy)]
enum Exit {
    /// In the tunnel with this lane.
    Tunnel(usize),
    /// At the router.
    Router,
}

impl Worker<'_> {
    /// Reads from the readable sockets, in turn.
    pub(super) fn receive(&mut self) -> Result<(), Halt> {
        let mut datagrams = 0;
        let end = self.now + RECEIVE_TURN_NS;
        while datagrams < DATAGRAMS_PER_TURN && self.now < end {
            let Some(port) = self.ports.next_readable() else {
                break;
            };
            let (count, is_empty) = self.receive_on(port)?;
            datagrams += count;
            self.ports.note_read(port, is_empty);
        }
        Ok(())
    }

    /// Reads one batch. Returns the number of datagrams, and true if the socket is empty.
    fn receive_on(&mut self, port: usize) -> Result<(usize, bool), LoadError> {
        let socket = &self.ports.get(port).socket;
        let trains = match socket.receive(&mut self.receive_batch) {
            Ok(trains) => trains,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((0, true)),
            Err(error) => return Err(LoadError::io("receive from the gateway")(error)),
        };
        self.now = self.plan.now();
        let mut datagrams = 0;
        while let Some(train) = self.receive_batch.next_train() {
            let exit = match &self.ports.get(port).role {
                Role::Tunnel(lane) => Exit::Tunnel(*lane),
                Role::Shared(_) if train.from != self.peer.gateway => continue,
                Role::Shared(lanes) => match train.local_ip.and_then(|ip| lanes.get(&ip)) {
                    Some(lane) => Exit::Tunnel(*lane),
                    None => continue,
                },
                Role::Router => Exit::Router,
            };
            for datagram in train.into_datagrams() {
                match exit {
                    Exit::Tunnel(lane) => self.handle_datagram(lane, datagram),
                    Exit::Router => self.handle_packet(exit, &datagram),
                }
                datagrams += 1;
            }
        }
        // The kernel also returns fewer trains at an ICMP error; the next datagram then raises another event.
        Ok((datagrams, trains < RECEIVE_TRAINS))
    }

    fn handle_datagram(&mut self, lane: usize, datagram: BytesMut) {
        match self.lanes[lane].tunnel.handle_datagram(datagram) {
            Handled::Delivered(packet) => self.handle_packet(Exit::Tunnel(lane), &packet),
            Handled::Nothing => {}
            Handled::Connected { confirm, address } => {
                self.lanes[lane].session_since_ns = self.now;
                self.learn_address(lane, address);
                self.send_protocol(lane, confirm);
                self.note_connected(lane);
            }
            Handled::Answer(answer) => {
                self.lanes[lane].session_since_ns = self.now;
                self.send_protocol(lane, answer);
            }
            Handled::CookieDemanded(again) => {
                self.connect.cookies += 1;
                self.lanes[lane]
                    .connecting
                    .note_failure(ConnectFailure::CookiesOnly);
                if let Some(again) = again {
                    self.send_protocol(lane, again);
                }
            }
            Handled::Refused => self.counts.refused += 1,
        }
    }

    fn handle_packet(&mut self, exit: Exit, packet: &[u8]) {
        match self.form.read(packet) {
            Ok(recognized) => self.handle_recognized(exit, recognized, packet),
            Err(Unrecognized::Scmp) => self.counts.scmp += 1,
            Err(Unrecognized::Corrupted) => self.counts.corrupted += 1,
        }
    }

    /// Counts a packet of this run whose stamp and payload are intact.
    fn handle_recognized(&mut self, exit: Exit, recognized: Recognized, packet: &[u8]) {
        let stamp = recognized.stamp;
        let lane = match (
            exit,
            self.plan.position_of(self.thread, stamp.tunnel as usize),
        ) {
            (Exit::Router, Some(lane)) => lane,
            (Exit::Tunnel(at), Some(lane)) if at == lane => lane,
            _ => {
                self.counts.misdelivered += 1;
                return;
            }
        };
        let Some(state) = self.lanes.get_mut(lane) else {
            self.counts.misdelivered += 1;
            return;
        };
        let is_intact = state
            .address
            .is_some_and(|address| self.form.has_intact_header(recognized, address, packet));
        if !is_intact {
            self.counts.corrupted += 1;
            return;
        }
        match state.sequences.receive(stamp.sequence) {
            Arrival::InOrder => self.count_received(recognized),
            Arrival::Reordered => {
                self.counts.reordered += 1;
                self.count_received(recognized);
            }
            Arrival::Duplicate => self.counts.duplicated += 1,
            Arrival::Late => self.counts.late += 1,
            Arrival::NotCounted => {}
            Arrival::NeverSent => {
                self.counts.corrupted += 1;
                return;
            }
        }
        self.make_room(lane, stamp.sequence);
    }

    fn count_received(&mut self, recognized: Recognized) {
        let time = recognized.stamp.time;
        let due_ns = match &self.prepared {
            Some(prepared) => prepared.due_ns(time).unwrap_or(self.now),
            None => time,
        };
        self.counts.received += 1;
        self.ramp.note_received(due_ns);
        self.counts.received_bytes += self.form.packet_bytes(recognized.size) as u64;
        self.latencies.record(self.now.saturating_sub(due_ns));
    }

    /// Makes room in a closed loop for every packet up to this one: earlier ones arrived, or were overtaken and are not
    /// waited for.
    fn make_room(&mut self, lane: usize, sequence: u64) {
        if let Pacing::Closed(closed) = &mut self.pacing {
            let state = &mut self.lanes[lane];
            let returned_below = state.returned_below.max(sequence + 1);
            closed.returned(returned_below - state.returned_below, self.now);
            state.returned_below = returned_below;
        }
    }
}
