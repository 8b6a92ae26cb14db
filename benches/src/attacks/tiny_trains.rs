//! Trains of the maximum number of messages, each of one byte.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use udp_shards::SocketOptions;

use super::attacker::{Attacker, Tally};
use super::sender::Sender;
use crate::StepError;

/// Maximum number of datagrams in a train (UDP_MAX_SEGMENTS, include/linux/udp.h, before Linux 6.9).
const TRAIN: usize = 64;

pub(crate) struct TinyTrains(Sender);

impl TinyTrains {
    pub(crate) fn new(gateway: SocketAddr) -> Result<Self, StepError> {
        Sender::new(gateway, TRAIN, &SocketOptions::default()).map(Self)
    }
}

impl Attacker for TinyTrains {
    fn send_batch(&mut self, tally: &mut Tally) -> io::Result<()> {
        // Datagrams of the same size to the same destination leave as one train.
        for _ in 0..self.0.room() {
            self.0.push(None, Bytes::from_static(&[0xff]));
        }
        self.0.flush(tally);
        Ok(())
    }
}
