//! Contents of garbage.

use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use ana_gotatun::packet::Packet;
use bytes::BytesMut;
use x25519_dalek::StaticSecret;

use super::GarbageKind;
use crate::config::StopSwitch;
use crate::identity::split_mix;
use crate::tunnel::{Handled, Peer, Tunnel};

/// Number of datagrams per kind, made before the phase and sent in a loop.
const POOL: usize = 512;

/// Number of forged initiations, since each costs two key exchanges.
const INITIATIONS: usize = 256;

/// Length of the largest datagram that fits into most networks, minus IP and UDP headers.
const DATAGRAM_BYTES: usize = 1400;

/// Lengths of a data message's header and authentication tag (WireGuard whitepaper, section 5.4.6).
const DATA_HEADER_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// How long to wait for an answer to the handshake of the tunnel to be replayed before its message is repeated, and how
/// often it is sent.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
const CONNECT_ATTEMPTS: usize = 10;

/// Makes datagrams of one kind. `honest` is the identity and socket of a real tunnel, for replays; waiting for it ends
/// when `stop` is set.
pub(super) fn datagrams(
    kind: GarbageKind,
    peer: &Peer,
    honest: Option<(StaticSecret, &UdpSocket)>,
    stop: &StopSwitch,
    random: &mut Random,
) -> io::Result<Vec<Vec<u8>>> {
    Ok(match kind {
        GarbageKind::Random => (0..POOL)
            .map(|_| {
                let length = random.below(DATAGRAM_BYTES) + 1;
                random.bytes(length)
            })
            .collect(),
        GarbageKind::ForgedInitiation => (0..INITIATIONS)
            .filter_map(|_| initiation(peer, random))
            .collect(),
        GarbageKind::ForgedData => (0..POOL).map(|_| data_message(random)).collect(),
        GarbageKind::Truncated => (0..POOL)
            .map(|index| {
                let mut message = if index % 2 == 0 {
                    data_message(random)
                } else {
                    // Differs from a real initiation only in its end.
                    [vec![1, 0, 0, 0], random.bytes(144)].concat()
                };
                message.truncate(random.below(message.len() - 1) + 1);
                message
            })
            .collect(),
        GarbageKind::Replay => match honest {
            Some((secret, socket)) => record_tunnel(peer, secret, socket, stop)?,
            None => Vec::new(),
        },
    })
}

/// Returns the first message of an unknown client, correct except for its identity.
fn initiation(peer: &Peer, random: &mut Random) -> Option<Vec<u8>> {
    let mut secret = [0; 32];
    secret.copy_from_slice(&random.bytes(32));
    let mut tunnel = Tunnel::new(StaticSecret::from(secret), peer);
    tunnel.start_handshake().map(|message| message.to_vec())
}

/// Returns a data message without a session: type 4, random receiver and counter, and random bytes of a multiple of 16.
fn data_message(random: &mut Random) -> Vec<u8> {
    let blocks = random.below((DATAGRAM_BYTES - DATA_HEADER_BYTES - TAG_BYTES) / 16 + 1);
    let mut message = vec![4, 0, 0, 0];
    let rest = DATA_HEADER_BYTES - 4 + blocks * 16 + TAG_BYTES;
    message.extend(random.bytes(rest));
    message
}

/// Connects a real tunnel and sends a few packets through it. Returns the messages sent, with the initiation in front
/// of each data message.
fn record_tunnel(
    peer: &Peer,
    secret: StaticSecret,
    socket: &UdpSocket,
    stop: &StopSwitch,
) -> io::Result<Vec<Vec<u8>>> {
    const DATA_MESSAGES: usize = 64;
    let mut tunnel = Tunnel::new(secret, peer);
    let mut sent = Vec::new();
    let mut send = |message: &Packet| {
        sent.push(message.to_vec());
        socket.send(message).map(drop)
    };
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffer = vec![0; 65_536];
    let mut is_connected = false;
    'attempts: for _ in 0..CONNECT_ATTEMPTS {
        if let Some(message) = tunnel.restart_handshake() {
            send(&message)?;
        }
        let patience = Instant::now() + CONNECT_PATIENCE;
        while Instant::now() < patience {
            if stop.is_set() {
                break 'attempts;
            }
            let Ok(size) = socket.recv(&mut buffer) else {
                continue;
            };
            match tunnel.handle_datagram(BytesMut::from(&buffer[..size])) {
                Handled::Connected { confirm, .. } => {
                    send(&confirm)?;
                    is_connected = true;
                    break 'attempts;
                }
                Handled::CookieDemanded(Some(again)) => send(&again)?,
                _ => {}
            }
        }
    }
    if !is_connected {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the tunnel to be replayed got no answer; check that the gateway authorizes its identity",
        ));
    }
    for _ in 0..DATA_MESSAGES {
        // The contents do not matter: the gateway echoes the packet, or drops it as not SCION.
        let packet = Packet::from_bytes(BytesMut::from(&[0_u8; 256][..]));
        if let Ok(message) = tunnel.encapsulate(packet) {
            send(&message)?;
        }
    }
    let initiation = sent[0].clone();
    let data = sent.split_off(1);
    Ok(data
        .into_iter()
        .flat_map(|message| [initiation.clone(), message])
        .collect())
}

/// Pseudorandom numbers, the same for the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        split_mix(self.0)
    }

    /// Returns a number from 0 to `end` - 1.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadConfig;
    use crate::identity::Identities;

    fn peer() -> Peer {
        let gateway = "127.0.0.1:51820".parse().unwrap();
        Peer::new(&LoadConfig::new(
            gateway,
            [9; 32],
            Identities::from_seed(1, 1),
        ))
    }

    fn made(kind: GarbageKind) -> Vec<Vec<u8>> {
        datagrams(
            kind,
            &peer(),
            None,
            &StopSwitch::default(),
            &mut Random::new(1),
        )
        .unwrap()
    }

    #[test]
    fn forged_messages_have_the_format_of_real_ones() {
        let initiations = made(GarbageKind::ForgedInitiation);
        assert_eq!(initiations.len(), INITIATIONS);
        assert!(
            initiations
                .iter()
                .all(|m| m.len() == 148 && m[..4] == [1, 0, 0, 0])
        );
        let data = made(GarbageKind::ForgedData);
        assert!(
            data.iter()
                .all(|m| m.len() >= 32 && m.len() % 16 == 0 && m[..4] == [4, 0, 0, 0])
        );
        assert!(data.iter().all(|m| m.len() <= DATAGRAM_BYTES));
    }

    #[test]
    fn truncated_and_random_datagrams_are_short_and_long_but_never_empty() {
        for kind in [GarbageKind::Truncated, GarbageKind::Random] {
            let datagrams = made(kind);
            assert_eq!(datagrams.len(), POOL);
            assert!(
                datagrams
                    .iter()
                    .all(|d| (1..=DATAGRAM_BYTES).contains(&d.len()))
            );
            assert!(datagrams.iter().any(|d| d.len() < 32));
        }
    }
}
