//! Messages with the addresses of clients as their source, at a steady rate to each.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use snaptun::PublicKey;
use testkit::Pace;
use testkit::forge::{Datagram, RawSender};
use testkit::messages::{self, INITIATION_BYTES, Mac1};

use super::attacker::{Attacker, Tally};
use super::site::Site;
use crate::gateway_key;
use crate::peers::error::BenchError;

/// Different messages for each victim.
const MESSAGES: usize = 1_024;

/// How far the counters of forged data messages are apart: behind, within and beyond the window of the client's.
const COUNTER_STEP: u64 = 20;

/// A client whose address is written into messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Victim {
    pub(crate) address: SocketAddrV4,
    /// The receiver index of its data messages.
    pub(crate) receiver: u32,
}

/// What is sent. All messages are as long as an initiation, so that they merge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Forgery {
    /// No WireGuard message.
    Garbage,
    /// Initiations by somebody who does not know the gateway's public key.
    WrongMac1,
    /// Initiations by somebody who does.
    RightMac1,
    /// Data messages for the client's session with a random tag.
    Data,
    /// Garbage, initiations with a wrong mac1, and data messages in turn.
    Mixed,
}

pub(crate) struct Spoofed {
    sender: RawSender,
    /// IP packets, those of different victims in turn.
    packets: Vec<Vec<u8>>,
    next: usize,
    per_second: u64,
    /// It begins with the attack.
    pace: Option<Pace>,
}

impl Spoofed {
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
        let public_key = PublicKey::from(&gateway_key());
        let packets = (0..MESSAGES)
            .flat_map(|number| victims.iter().map(move |victim| (number, victim)))
            .map(|(number, victim)| {
                let message = forge(forgery, number, victim.receiver, &public_key);
                Datagram::new(victim.address.into(), gateway, &message).to_ip_packet()
            })
            .collect();
        Ok(Self {
            sender: site.at_attacker(RawSender::new),
            packets,
            next: 0,
            per_second: per_second * victims.len() as u64,
            pace: None,
        })
    }

    /// Sends what is due.
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
        let per_second = self.per_second;
        let pace = self.pace.get_or_insert_with(|| Pace::new(per_second));
        let due = pace.next_burst();
        self.send(due);
        tally.sent += due;
        Ok(())
    }

    fn wanted_per_second(&self) -> Option<u64> {
        Some(self.per_second)
    }
}

fn forge(forgery: Forgery, number: usize, receiver: u32, gateway: &PublicKey) -> Vec<u8> {
    match forgery {
        Forgery::Garbage => messages::garbage(INITIATION_BYTES),
        Forgery::WrongMac1 => messages::initiation(number as u32, Mac1::Wrong),
        Forgery::RightMac1 => messages::initiation(number as u32, Mac1::Right(gateway)),
        Forgery::Data => messages::data(receiver, number as u64 * COUNTER_STEP, INITIATION_BYTES),
        Forgery::Mixed => {
            let turn = [Forgery::Garbage, Forgery::WrongMac1, Forgery::Data];
            forge(turn[number % turn.len()], number, receiver, gateway)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forgeries_are_as_long_as_an_initiation() {
        let gateway = PublicKey::from(&gateway_key());
        for forgery in [
            Forgery::Garbage,
            Forgery::WrongMac1,
            Forgery::RightMac1,
            Forgery::Data,
            Forgery::Mixed,
        ] {
            for number in 0..3 {
                let message = forge(forgery, number, 7, &gateway);
                assert_eq!(message.len(), INITIATION_BYTES, "{forgery:?}");
            }
        }
    }

    #[test]
    fn only_a_right_mac1_is_right() {
        let gateway = PublicKey::from(&gateway_key());
        for (forgery, right) in [(Forgery::RightMac1, true), (Forgery::WrongMac1, false)] {
            let message = forge(forgery, 0, 7, &gateway);
            let (until, rest) = message.split_at(INITIATION_BYTES - 32);
            assert_eq!(rest.starts_with(&messages::mac1(&gateway, until)), right);
        }
    }
}
