//! Forged data messages with the addresses and sessions of clients; only counter and tag are wrong.
//!
//! The attacker sees the messages of clients by a raw socket, and sends with their source addresses by another one
//! (raw(7)).

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use snaptun::protocol::DATA_OVERHEAD_BYTES;
use socket2::{Domain, Protocol, Socket, Type};
use testkit::forge::{Datagram, RawSender};
use testkit::messages;

use super::attack::Attack;
use super::attacker::{Attacker, Tally};
use crate::StepError;
use crate::harness::error::BenchError;

/// Time for which the clients are watched. Each sends every few milliseconds.
const WATCHED: Duration = Duration::from_millis(300);

/// Number of messages that are prepared.
const MESSAGES: usize = 4096;

/// Number of messages per batch.
const BATCH: usize = 64;

const UDP_HEADER_BYTES: usize = 8;
/// Lengths of the encrypted part; 0 as in a keepalive.
const PAYLOAD_BYTES: [usize; 3] = [0, 64, 1200];

pub(crate) struct ForgedData {
    sender: RawSender,
    /// IP packets.
    packets: Vec<Vec<u8>>,
    next: usize,
}

/// A session, as seen in the messages of its client.
pub(crate) struct Session {
    pub(crate) receiver: u32,
    counter: u64,
}

impl ForgedData {
    pub(crate) fn new(gateway: SocketAddr) -> Result<Self, BenchError> {
        let SocketAddr::V4(gateway) = gateway else {
            return Err(StepError::Tunnel("the gateway must have an IPv4 address").into());
        };
        let sessions = watch(gateway)
            .map_err(Attack::ForgedData.failed("watch the clients by a raw socket"))?;
        if sessions.is_empty() {
            return Err(StepError::Tunnel("no data message of a client seen").into());
        }
        let mut random = SmallRng::seed_from_u64(3);
        let packets = sessions
            .iter()
            .cycle()
            .take(MESSAGES)
            .map(|(client, session)| forge(*client, gateway, session, &mut random))
            .collect();
        Ok(Self {
            sender: RawSender::new(),
            packets,
            next: 0,
        })
    }
}

impl Attacker for ForgedData {
    fn send_batch(&mut self, tally: &mut Tally) -> io::Result<()> {
        for _ in 0..BATCH {
            let packet = &self.packets[self.next % self.packets.len()];
            self.next += 1;
            self.sender.send_ip_packet(packet);
        }
        tally.sent += BATCH as u64;
        Ok(())
    }
}

/// Watches the messages of clients to the gateway, and returns the address and session of each client.
pub(crate) fn watch(gateway: SocketAddrV4) -> io::Result<Vec<(SocketAddrV4, Session)>> {
    // Receives a copy of every UDP datagram that arrives at this host.
    let mut socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))?;
    socket.set_read_timeout(Some(WATCHED))?;
    let mut packet = vec![0; 1 << 16];
    let mut sessions = HashMap::new();
    let end = Instant::now() + WATCHED;
    while Instant::now() < end {
        match socket.read(&mut packet) {
            Ok(bytes) => sessions.extend(read(&packet[..bytes], gateway)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sessions.into_iter().collect())
}

/// Returns the source address and the session of a data message to the gateway; `None` for other IP packets.
fn read(packet: &[u8], gateway: SocketAddrV4) -> Option<(SocketAddrV4, Session)> {
    let (ip, udp) = packet.split_at_checked(4 * usize::from(packet.first()? & 0x0f))?;
    let (udp, message) = udp.split_at_checked(UDP_HEADER_BYTES)?;
    let source: [u8; 4] = *ip.get(12..)?.first_chunk()?;
    let port = |at: usize| Some(u16::from_be_bytes(*udp.get(at..)?.first_chunk()?));
    if port(2)? != gateway.port() || !message.starts_with(&[4, 0, 0, 0]) {
        return None;
    }
    let session = Session {
        receiver: u32::from_le_bytes(*message.get(4..)?.first_chunk()?),
        counter: u64::from_le_bytes(*message.get(8..)?.first_chunk()?),
    };
    Some((SocketAddrV4::new(Ipv4Addr::from(source), port(0)?), session))
}

/// Returns an IP packet from `client` with a data message for its session. Some counters were used before, most are
/// ahead.
fn forge(
    client: SocketAddrV4,
    gateway: SocketAddrV4,
    session: &Session,
    random: &mut SmallRng,
) -> Vec<u8> {
    let payload_bytes = PAYLOAD_BYTES[random.random_range(0..PAYLOAD_BYTES.len())];
    let counter = match random.random_range(0..4) {
        0 => random.random_range(0..=session.counter),
        1 => u64::MAX - random.random_range(0..1 << 20),
        _ => session.counter + random.random_range(1..1 << 20),
    };
    let message = messages::data(
        session.receiver,
        counter,
        payload_bytes + DATA_OVERHEAD_BYTES,
    );
    Datagram::new(client.into(), gateway.into(), &message).to_ip_packet()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_message_has_address_and_session_of_the_client() {
        let client = "127.64.0.1:4000".parse().unwrap();
        let gateway = "127.0.0.1:5000".parse().unwrap();
        let seen = Session {
            receiver: 0x0403_0201,
            counter: 77,
        };
        let packet = forge(client, gateway, &seen, &mut SmallRng::seed_from_u64(1));
        let (from, session) = read(&packet, gateway).unwrap();
        assert_eq!((from, session.receiver), (client, 0x0403_0201));
        assert!(read(&packet, "127.0.0.1:5001".parse().unwrap()).is_none());
    }
}
