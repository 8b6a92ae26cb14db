//! Messages with the source addresses of clients, at a constant rate per client.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use testkit::Pace;
use testkit::forge::{Datagram, RawSender};
use testkit::messages::Forgery;

use super::attacker::{Aim, Attacker, Tally};
use super::site::Site;
use crate::gateway_public_key;
use crate::harness::error::BenchError;

/// Number of different messages per victim.
const MESSAGES: usize = 1_024;

/// A client whose address is forged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Victim {
    pub(crate) address: SocketAddrV4,
    /// Receiver index of its data messages.
    pub(crate) receiver: u32,
}

pub(crate) struct Spoofed {
    sender: RawSender,
    /// IP packets, with the victims in rotation.
    packets: Vec<Vec<u8>>,
    next: usize,
    per_second: u64,
    pace: Pace,
}

impl Spoofed {
    /// Sends forged initiations with a correct mac1.
    pub(crate) fn initiations(aim: &Aim<'_>, per_second: u64) -> Result<Self, BenchError> {
        let (gateway, clients) = (aim.gateway, aim.clients);
        Self::new(aim.site, gateway, Forgery::RightMac1, clients, per_second)
    }

    /// Sends `per_second` messages with the address of each of `victims`.
    ///
    /// Errors: [`BenchError::NoVictim`].
    pub(crate) fn new(
        site: &Site,
        gateway: SocketAddr,
        forgery: Forgery,
        victims: &[Victim],
        per_second: u64,
    ) -> Result<Self, BenchError> {
        if victims.is_empty() {
            return Err(BenchError::NoVictim);
        }
        let public_key = gateway_public_key();
        let per_second = per_second * victims.len() as u64;
        let packets = (0..MESSAGES)
            .flat_map(|number| victims.iter().map(move |victim| (number, victim)))
            .map(|(number, victim)| {
                let message = forgery.message(number, victim.receiver, &public_key);
                Datagram::new(victim.address.into(), gateway, &message).to_ip_packet()
            })
            .collect();
        Ok(Self {
            sender: site.at_attacker(RawSender::new),
            packets,
            next: 0,
            per_second,
            pace: Pace::new(per_second),
        })
    }

    /// Sends the next `count` packets.
    pub(crate) fn send(&mut self, count: u64) {
        for _ in 0..count {
            self.sender
                .send_ip_packet(&self.packets[self.next % self.packets.len()]);
            self.next += 1;
        }
    }
}

impl Attacker for Spoofed {
    fn send_batch(&mut self, tally: &mut Tally) -> io::Result<()> {
        let due = self.pace.next_burst();
        self.send(due);
        tally.sent += due;
        Ok(())
    }

    fn wanted_per_second(&self) -> Option<u64> {
        Some(self.per_second)
    }
}
