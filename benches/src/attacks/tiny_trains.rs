//! Trains of as many messages as fit, each of one byte.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use udp_shards::{SendQueue, ShardSocket, SocketOptions, bind_client_socket};

use super::attacker::{Attacker, Tally};
use super::flood::flush;
use crate::StepError;
use crate::peers::error::BenchError;

/// The most that the kernel takes (UDP_MAX_SEGMENTS, include/linux/udp.h, before Linux 6.9).
const TRAIN: usize = 64;

pub(crate) struct TinyTrains {
    gateway: SocketAddr,
    socket: ShardSocket,
    queue: SendQueue<Bytes>,
}

impl TinyTrains {
    pub(crate) fn new(gateway: SocketAddr) -> Result<Self, BenchError> {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let socket =
            bind_client_socket(address, &SocketOptions::default()).map_err(StepError::from)?;
        Ok(Self {
            gateway,
            socket,
            queue: SendQueue::with_limits(TRAIN, usize::MAX),
        })
    }
}

impl Attacker for TinyTrains {
    fn send_batch(&mut self, tally: &mut Tally) -> io::Result<()> {
        // To one destination, of one size: they leave as one train.
        while self.queue.len() < TRAIN {
            let message = Bytes::from_static(&[0xff]);
            // There is room: the length was just looked at.
            let _room = self.queue.push(self.gateway, None, message);
        }
        flush(&mut self.queue, &self.socket, tally);
        Ok(())
    }
}
