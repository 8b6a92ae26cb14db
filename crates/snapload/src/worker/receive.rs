//! Reading what came, and telling what it is.

use std::io::ErrorKind;

use ana_gotatun::packet::Packet;
use bytes::BytesMut;

use super::{Halt, RECEIVE_TRAINS, Worker};
use crate::error::{ConnectFailure, LoadError};
use crate::inner_packet::NoReply;
use crate::pacing::{Nanos, Pacing};
use crate::sequence::Arrival;
use crate::stamp::Stamp;
use crate::tunnel::Handled;

/// Datagrams read per turn before what is due is sent, unless the last batch had more.
const DATAGRAMS_PER_TURN: usize = 128;

impl Worker<'_> {
    /// Reads from the sockets that have something, in turn.
    pub(super) fn receive(&mut self) -> Result<(), Halt> {
        let mut datagrams = 0;
        while datagrams < DATAGRAMS_PER_TURN {
            let Some(lane) = self.readable.pop_front() else {
                break;
            };
            let (count, is_empty) = self.receive_on(lane)?;
            datagrams += count;
            if is_empty {
                self.lanes[lane].is_readable = false;
            } else {
                self.readable.push_back(lane);
            }
        }
        Ok(())
    }

    /// Reads one batch. Returns how many datagrams it had, and whether the socket is empty now.
    fn receive_on(&mut self, lane: usize) -> Result<(usize, bool), LoadError> {
        let trains = match self.lanes[lane].socket.receive(&mut self.batch) {
            Ok(trains) => trains,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((0, true)),
            Err(error) => return Err(LoadError::io("receive from the gateway")(error)),
        };
        self.now = self.plan.now();
        let mut datagrams = 0;
        while let Some(train) = self.batch.next_train() {
            for datagram in train.into_datagrams() {
                self.handle_datagram(lane, datagram);
                datagrams += 1;
            }
        }
        // The kernel stops early when there is no more, or at an ICMP error: then the next datagram
        // raises another event.
        Ok((datagrams, trains < RECEIVE_TRAINS))
    }

    fn handle_datagram(&mut self, lane: usize, datagram: BytesMut) {
        match self.lanes[lane].tunnel.handle_datagram(datagram) {
            Handled::Delivered(packet) => self.handle_packet(lane, &packet),
            Handled::Nothing => {}
            Handled::Connected { confirm, address } => {
                let state = &mut self.lanes[lane];
                let address = address.unwrap_or_else(|| state.socket.local_addr());
                if state.headers.address() != Some(address) {
                    state.headers = self.plan.form.headers(address);
                }
                self.send_protocol(lane, confirm);
                self.note_connected(lane);
            }
            Handled::Answer(answer) => self.send_protocol(lane, answer),
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

    fn handle_packet(&mut self, lane: usize, packet: &Packet) {
        let state = &self.lanes[lane];
        match self.plan.form.read(&state.headers, packet) {
            Ok(stamp) if stamp.tunnel == state.index => self.handle_reply(lane, stamp),
            Ok(_) => self.counts.misdelivered += 1,
            Err(NoReply::Scmp) => self.counts.scmp += 1,
            Err(NoReply::Corrupted) => self.counts.corrupted += 1,
        }
    }

    fn handle_reply(&mut self, lane: usize, stamp: Stamp) {
        let state = &mut self.lanes[lane];
        match state.sequences.receive(stamp.sequence) {
            Arrival::InOrder => self.count_received(stamp.scheduled_ns),
            Arrival::Reordered => {
                self.counts.reordered += 1;
                self.count_received(stamp.scheduled_ns);
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

    fn count_received(&mut self, scheduled_ns: Nanos) {
        self.counts.received += 1;
        self.latencies.record(self.now.saturating_sub(scheduled_ns));
    }

    /// A closed loop may send for every packet up to this one: those before it came back, or were
    /// overtaken and will not be waited for.
    fn make_room(&mut self, lane: usize, sequence: u64) {
        if let Pacing::Closed(closed) = &mut self.pacing {
            let state = &mut self.lanes[lane];
            let returned_below = state.returned_below.max(sequence + 1);
            closed.returned(returned_below - state.returned_below, self.now);
            state.returned_below = returned_below;
        }
    }
}
