//! Encryption of the packets of a trial before they are sent, so that it costs nothing while sending.

use std::collections::VecDeque;

use ana_gotatun::packet::Packet;

use super::Worker;
use super::message::Halt;
use super::prepared::{Prepared, PreparedTrain};
use crate::error::LoadError;
use crate::pacing::{Nanos, Pacing, nanos};
use crate::stamp::Stamp;
use crate::trial::{PREPARED_OVERHEAD_BYTES, Trial};

/// Number of trains encrypted before sockets are read again.
const TRAINS_PER_TURN: u64 = 32;

/// Maximum age of a session at the end of a trial. Gateways refuse packets of sessions older than 180 s
/// (REJECT_AFTER_TIME, WireGuard whitepaper, section 6.1); the difference allows for packets in flight.
const SESSION_NS: Nanos = 175_000_000_000;

impl Worker<'_> {
    /// Encrypts the packets of a trial if pre-encryption is enabled.
    pub(super) fn prepare(&mut self, trial: &Trial) -> Result<(), Halt> {
        self.prepared = None;
        let Some(memory_bytes) = self.plan.config.pre_encrypt_bytes else {
            return Ok(());
        };
        let count = self.trains_of(trial, memory_bytes);
        let mut trains = VecDeque::with_capacity(count as usize);
        // Numbers are assigned when packets leave; these are copies that run ahead.
        let mut sequences: Vec<u64> = self
            .lanes
            .iter()
            .map(|lane| lane.sequences.next_to_send())
            .collect();
        let mut oldest_session_ns = Nanos::MAX;
        for number in 0..count {
            let lane = self.order.next_lane();
            oldest_session_ns = oldest_session_ns.min(self.lanes[lane].session_since_ns);
            let packets = self.encrypt_train(lane, number, &mut sequences[lane])?;
            trains.push_back(PreparedTrain { lane, packets });
            if number % TRAINS_PER_TURN == 0 {
                if self.plan.config.stop.is_set() {
                    return Err(LoadError::Interrupted.into());
                }
                self.turn(self.now)?;
            }
        }
        self.now = self.plan.now();
        let end = self.now + nanos(trial.warm_up) + nanos(trial.duration);
        if end.saturating_sub(oldest_session_ns) > SESSION_NS {
            return Err(LoadError::SessionsTooOld.into());
        }
        self.prepared = Some(Prepared::new(trains));
        Ok(())
    }

    /// Returns the number of trains that this thread will send: those of the schedule, or in a closed loop those that
    /// fit into memory.
    fn trains_of(&self, trial: &Trial, memory_bytes: u64) -> u64 {
        match self.pacing_of(trial) {
            Pacing::Open(mut open) => {
                open.start_at(0);
                open.skip_to(nanos(trial.warm_up) + nanos(trial.duration))
            }
            Pacing::Closed(_) => {
                let config = self.plan.config;
                let packet_bytes = config.mean_size() as u64 + PREPARED_OVERHEAD_BYTES;
                let train_bytes = packet_bytes * u64::from(config.effective_train());
                memory_bytes / config.threads as u64 / train_bytes
            }
        }
    }

    fn encrypt_train(
        &mut self,
        lane: usize,
        number: u64,
        sequence: &mut u64,
    ) -> Result<Vec<Packet>, Halt> {
        let size = self.sizes.next_size();
        let state = &mut self.lanes[lane];
        let tunnel = state.index as usize;
        let no_session = || LoadError::NoSession { tunnel };
        let address = state.address.ok_or_else(no_session)?;
        let mut packets = Vec::with_capacity(self.plan.config.effective_train() as usize);
        for _ in 0..packets.capacity() {
            let stamp = Stamp {
                tunnel: state.index,
                sequence: *sequence,
                time: number,
            };
            *sequence += 1;
            self.form.write(size, address, stamp, &mut self.inner);
            let packet = Packet::from_bytes(self.inner.split());
            let encrypted = state.tunnel.encapsulate(packet);
            packets.push(encrypted.map_err(|_| no_session())?);
        }
        Ok(packets)
    }

    /// Returns true if a closed loop has sent all of its pre-encrypted packets.
    pub(super) fn has_used_up(&self) -> bool {
        matches!(self.pacing, Pacing::Closed(_))
            && self.prepared.as_ref().is_some_and(Prepared::is_used_up)
    }

    /// Returns true if pre-encrypted packets have not left yet. Until then no other data may leave in their sessions,
    /// because a gateway refuses packets with a counter much smaller than the latest (whitepaper, section 5.4.6).
    pub(super) fn holds_prepared(&self) -> bool {
        self.prepared
            .as_ref()
            .is_some_and(|prepared| !prepared.is_used_up())
    }
}
