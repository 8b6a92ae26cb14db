//! Data messages from the tunnels' own addresses to their live sessions, all of it right but the tag.
//!
//! The attacker sees what the clients send, which takes a raw socket, and sends by another one, with source
//! addresses that are not its own (raw(7)).

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::attack::Attack;
use super::attacker::{Attacker, Tally};
use crate::StepError;
use crate::peers::error::BenchError;

/// How long the clients are watched: each sends every few milliseconds.
const WATCHED: Duration = Duration::from_millis(300);

/// Messages that are made in advance.
const MESSAGES: usize = 4096;

/// Messages sent before somebody looks whether it is time to end.
const BATCH: usize = 64;

/// The protocol of sockets that send whole IP packets (raw(7)).
const IPPROTO_RAW: i32 = 255;

const IP_HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
/// Type, receiver index, counter (WireGuard whitepaper, section 5.4.6).
const DATA_HEADER_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// What is encrypted: nothing, as in a keepalive; little; much.
const PAYLOAD_BYTES: [usize; 3] = [0, 64, 1200];

pub(crate) struct ForgedData {
    socket: Socket,
    gateway: SockAddr,
    /// IP packets.
    packets: Vec<Vec<u8>>,
    next: usize,
}

/// A session as its client's messages show it.
pub(crate) struct Session {
    pub(crate) receiver_index: [u8; 4],
    counter: u64,
}

impl ForgedData {
    pub(crate) fn new(gateway: SocketAddr) -> Result<Self, BenchError> {
        let SocketAddr::V4(gateway) = gateway else {
            return Err(StepError::Tunnel("a raw socket sends over IPv4 here").into());
        };
        let failed = |step| {
            move |source| BenchError::Attack {
                attack: Attack::ForgedData.name(),
                step,
                source,
            }
        };
        let sessions = watch(gateway).map_err(failed("watch the clients by a raw socket"))?;
        if sessions.is_empty() {
            return Err(StepError::Tunnel("no client sent anything").into());
        }
        let mut random = SmallRng::seed_from_u64(3);
        let packets = sessions
            .iter()
            .cycle()
            .take(MESSAGES)
            .map(|(client, session)| forge(*client, gateway, session, &mut random))
            .collect();
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))
            .map_err(failed("open a raw socket"))?;
        Ok(Self {
            socket,
            gateway: SocketAddr::V4(gateway).into(),
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
            match self.socket.send_to(packet, &self.gateway) {
                Ok(_) => tally.sent += 1,
                // The device's queue is full: what is lost here was never sent.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Watches what clients send to the gateway, and returns the last data message of each.
pub(crate) fn watch(gateway: SocketAddrV4) -> io::Result<Vec<(SocketAddrV4, Session)>> {
    // It receives a copy of every UDP datagram that arrives at this host.
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

/// Who sent an IP packet, and the session of the data message in it, if it is one to the gateway.
fn read(packet: &[u8], gateway: SocketAddrV4) -> Option<(SocketAddrV4, Session)> {
    let (ip, udp) = packet.split_at_checked(4 * usize::from(packet.first()? & 0x0f))?;
    let (udp, message) = udp.split_at_checked(UDP_HEADER_BYTES)?;
    let source: [u8; 4] = *ip.get(12..)?.first_chunk()?;
    let port = |at: usize| Some(u16::from_be_bytes(*udp.get(at..)?.first_chunk()?));
    if port(2)? != gateway.port() || !message.starts_with(&[4, 0, 0, 0]) {
        return None;
    }
    let session = Session {
        receiver_index: *message.get(4..)?.first_chunk()?,
        counter: u64::from_le_bytes(*message.get(8..)?.first_chunk()?),
    };
    Some((SocketAddrV4::new(Ipv4Addr::from(source), port(0)?), session))
}

/// An IP packet from `client` with a message for its session: some that were sent before, most that are
/// later than all so far.
fn forge(
    client: SocketAddrV4,
    gateway: SocketAddrV4,
    session: &Session,
    random: &mut SmallRng,
) -> Vec<u8> {
    let payload_bytes = PAYLOAD_BYTES[random.random_range(0..PAYLOAD_BYTES.len())];
    let message_bytes = DATA_HEADER_BYTES + payload_bytes + TAG_BYTES;
    let counter = match random.random_range(0..4) {
        0 => random.random_range(0..=session.counter),
        1 => u64::MAX - random.random_range(0..1 << 20),
        _ => session.counter + random.random_range(1..1 << 20),
    };
    let mut packet = vec![0; IP_HEADER_BYTES];
    packet[0] = 0x45;
    // Time to live and protocol; the kernel fills in the length and the checksum.
    packet[8..10].copy_from_slice(&[64, 17]);
    packet[12..16].copy_from_slice(&client.ip().octets());
    packet[16..20].copy_from_slice(&gateway.ip().octets());
    packet.extend_from_slice(&client.port().to_be_bytes());
    packet.extend_from_slice(&gateway.port().to_be_bytes());
    packet.extend_from_slice(&((UDP_HEADER_BYTES + message_bytes) as u16).to_be_bytes());
    // No checksum (RFC 768).
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(&[4, 0, 0, 0]);
    packet.extend_from_slice(&session.receiver_index);
    packet.extend_from_slice(&counter.to_le_bytes());
    let header_bytes = packet.len();
    packet.resize(header_bytes + payload_bytes + TAG_BYTES, 0);
    random.fill(&mut packet[header_bytes..]);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forged_reads_as_the_clients_own() {
        let client = "127.64.0.1:4000".parse().unwrap();
        let gateway = "127.0.0.1:5000".parse().unwrap();
        let seen = Session {
            receiver_index: [1, 2, 3, 4],
            counter: 77,
        };
        let packet = forge(client, gateway, &seen, &mut SmallRng::seed_from_u64(1));
        let (from, session) = read(&packet, gateway).unwrap();
        assert_eq!((from, session.receiver_index), (client, [1, 2, 3, 4]));
        assert!(read(&packet, "127.0.0.1:5001".parse().unwrap()).is_none());
    }
}
