//! Packets sent through the tunnels, and their allowed receivers.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use crate::registry::Session;
use crate::violation::Violation;

/// All packets of a simulation.
///
/// A packet begins with its sender and number, which determine its bytes, so that the receiver can check that it is
/// complete.
#[derive(Default)]
pub(crate) struct Packets {
    /// By client and number.
    from_clients: Vec<Vec<FromClient>>,
    /// By number.
    from_scion: Vec<FromScion>,
}

struct FromClient {
    sent_at: Duration,
    delivered: bool,
    answered: bool,
}

struct FromScion {
    /// Identity of the tunnel that the gateway used, if any.
    identity: Option<usize>,
    answers: Option<Answered>,
    received: bool,
}

/// Packet of a client that is answered by another packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Answered {
    pub(crate) client: usize,
    pub(crate) packet: usize,
}

const TO_SCION: u8 = b'I';
const FROM_SCION: u8 = b'O';
const HEADER: usize = 7;

fn bytes(direction: u8, sender: usize, number: usize) -> Vec<u8> {
    let mut packet = vec![direction];
    packet.extend_from_slice(&(sender as u16).to_be_bytes());
    packet.extend_from_slice(&(number as u32).to_be_bytes());
    let seed = u64::from(direction) << 56 | (sender as u64) << 32 | number as u64;
    let mut filler = SmallRng::seed_from_u64(seed);
    let len = if filler.random_ratio(1, 16) { 1300 } else { 64 };
    packet.resize(HEADER + filler.random_range(0..len), 0);
    filler.fill_bytes(&mut packet[HEADER..]);
    packet
}

/// Returns the sender and number of an undamaged packet.
fn parse(direction: u8, packet: &[u8]) -> Option<(usize, usize)> {
    let header: &[u8; HEADER] = packet.first_chunk()?;
    let [_, s0, s1, n0, n1, n2, n3] = *header;
    let sender = usize::from(u16::from_be_bytes([s0, s1]));
    let number = u32::from_be_bytes([n0, n1, n2, n3]) as usize;
    (packet == bytes(direction, sender, number)).then_some((sender, number))
}

impl Packets {
    pub(crate) fn of_clients(clients: usize) -> Self {
        Packets {
            from_clients: std::iter::repeat_with(Vec::new).take(clients).collect(),
            from_scion: Vec::new(),
        }
    }

    /// Creates the next packet of a client.
    pub(crate) fn send(&mut self, client: usize, now: Duration) -> Vec<u8> {
        let sent = &mut self.from_clients[client];
        sent.push(FromClient {
            sent_at: now,
            delivered: false,
            answered: false,
        });
        bytes(TO_SCION, client, sent.len() - 1)
    }

    /// Removes the last packet of a client, which was not sent.
    pub(crate) fn unsend(&mut self, client: usize) {
        self.from_clients[client].pop();
    }

    /// Records the delivery of a packet with the session data of an identity.
    pub(crate) fn deliver(
        &mut self,
        packet: &[u8],
        session: Session,
        identity_of: impl Fn(usize) -> usize,
    ) -> Result<Answered, Violation> {
        let unsent = Violation::DeliveredUnsent {
            bytes: packet.len(),
        };
        let (client, number) = parse(TO_SCION, packet).ok_or_else(|| unsent.clone())?;
        let sent = self
            .from_clients
            .get_mut(client)
            .and_then(|sent| sent.get_mut(number))
            .ok_or(unsent)?;
        if session.identity != identity_of(client) {
            return Err(Violation::DeliveredAsOthers {
                client,
                packet: number,
                as_of: session.identity,
            });
        }
        if std::mem::replace(&mut sent.delivered, true) {
            return Err(Violation::DeliveredTwice {
                client,
                packet: number,
            });
        }
        Ok(Answered {
            client,
            packet: number,
        })
    }

    /// Creates a packet from SCION.
    pub(crate) fn come(&mut self, answers: Option<Answered>) -> (usize, Vec<u8>) {
        self.from_scion.push(FromScion {
            identity: None,
            answers,
            received: false,
        });
        let number = self.from_scion.len() - 1;
        (number, bytes(FROM_SCION, 0, number))
    }

    /// Records that the gateway accepted a packet from SCION for the tunnel of an identity.
    pub(crate) fn accept(&mut self, number: usize, identity: usize) {
        self.from_scion[number].identity = Some(identity);
    }

    /// Records a packet received by a client. Returns the packet of the client that it answers.
    pub(crate) fn receive(
        &mut self,
        client: usize,
        identity: usize,
        packet: &[u8],
    ) -> Result<Option<usize>, Violation> {
        let others = Violation::ReceivedOthers {
            client,
            bytes: packet.len(),
        };
        let (_, number) = parse(FROM_SCION, packet).ok_or_else(|| others.clone())?;
        let record = self
            .from_scion
            .get_mut(number)
            .filter(|record| record.identity == Some(identity))
            .ok_or(others)?;
        if std::mem::replace(&mut record.received, true) {
            return Err(Violation::ReceivedTwice {
                client,
                packet: number,
            });
        }
        // The address may have moved to another socket of the identity.
        let own = record.answers.filter(|answered| answered.client == client);
        if let Some(answered) = own {
            self.from_clients[client][answered.packet].answered = true;
        }
        Ok(own.map(|answered| answered.packet))
    }

    /// Returns the time at which a client sent a packet.
    pub(crate) fn sent_at(&self, client: usize, packet: usize) -> Duration {
        self.from_clients[client][packet].sent_at
    }

    /// Returns the first unanswered packet that a client sent in this time.
    pub(crate) fn unanswered(
        &self,
        client: usize,
        time: std::ops::Range<Duration>,
    ) -> Option<usize> {
        let sent = &self.from_clients[client];
        let first = sent.partition_point(|sent| sent.sent_at < time.start);
        let in_time = sent.iter().enumerate().skip(first);
        in_time
            .take_while(|(_, sent)| sent.sent_at < time.end)
            .find(|(_, sent)| !sent.answered)
            .map(|(number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Session = Session {
        identity: 7,
        version: 1,
    };

    fn identity_of(_client: usize) -> usize {
        7
    }

    #[test]
    fn a_packet_is_delivered_once_unchanged_and_for_its_sender() {
        let mut packets = Packets::of_clients(2);
        let packet = packets.send(1, Duration::ZERO);
        let mut damaged = packet.clone();
        damaged.push(0);
        assert_eq!(
            packets.deliver(&damaged, SESSION, identity_of),
            Err(Violation::DeliveredUnsent {
                bytes: damaged.len()
            })
        );
        assert_eq!(
            packets.deliver(&packet, SESSION, |_| 8),
            Err(Violation::DeliveredAsOthers {
                client: 1,
                packet: 0,
                as_of: 7
            })
        );
        assert!(packets.deliver(&packet, SESSION, identity_of).is_ok());
        assert_eq!(
            packets.deliver(&packet, SESSION, identity_of),
            Err(Violation::DeliveredTwice {
                client: 1,
                packet: 0
            })
        );
    }

    #[test]
    fn a_packet_from_scion_is_received_once_and_by_its_identity() {
        let mut packets = Packets::of_clients(2);
        let (number, packet) = packets.come(None);
        packets.accept(number, 7);
        assert_eq!(
            packets.receive(0, 8, &packet),
            Err(Violation::ReceivedOthers {
                client: 0,
                bytes: packet.len()
            })
        );
        assert_eq!(packets.receive(0, 7, &packet), Ok(None));
        assert_eq!(
            packets.receive(0, 7, &packet),
            Err(Violation::ReceivedTwice {
                client: 0,
                packet: 0
            })
        );
    }

    #[test]
    fn unanswered_packets_are_found_within_their_time() {
        let mut packets = Packets::of_clients(1);
        let second = Duration::from_secs(1);
        packets.send(0, second);
        packets.send(0, 2 * second);
        assert_eq!(packets.unanswered(0, 2 * second..3 * second), Some(1));
        assert_eq!(packets.unanswered(0, 3 * second..4 * second), None);
        let (number, answer) = packets.come(Some(Answered {
            client: 0,
            packet: 1,
        }));
        packets.accept(number, 7);
        assert_eq!(packets.receive(0, 7, &answer), Ok(Some(1)));
        assert_eq!(packets.unanswered(0, 2 * second..3 * second), None);
    }
}
