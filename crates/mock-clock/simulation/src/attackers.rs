//! Those who flood the gateway.

use std::collections::VecDeque;
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngCore as _};
use snaptun::{Endpoint, Via};

use crate::client::Client;

/// So many datagrams that were seen on the network are remembered.
const CAPTURED_MAX: usize = 64;

/// So many sockets of the insider listen to what the gateway answers.
const SOCKETS_MAX: usize = 64;

/// A datagram for the gateway, made by an attacker.
pub(crate) struct Attack {
    pub(crate) from: Endpoint,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Attackers {
    /// What was seen on its way to the gateway.
    captured: Vec<(Endpoint, Vec<u8>)>,
    /// Responses among it: they are rare.
    captured_responses: Vec<(Endpoint, Vec<u8>)>,
    /// Data among it.
    captured_data: Vec<(Endpoint, Vec<u8>)>,
    /// Initiations to an earlier process of the gateway may be among it.
    reach_back: bool,
    /// Its identity may have no tunnel.
    stranger: Client,
    /// The sockets of one whose identity may.
    insiders: VecDeque<Client>,
}

impl Attackers {
    pub(crate) fn new(stranger: Client) -> Self {
        Attackers {
            captured: Vec::new(),
            captured_responses: Vec::new(),
            captured_data: Vec::new(),
            reach_back: false,
            stranger,
            insiders: VecDeque::new(),
        }
    }

    /// Sees a datagram on its way to the gateway, and sometimes remembers it.
    pub(crate) fn see(&mut self, rng: &mut StdRng, from: Endpoint, datagram: &[u8]) {
        const RESPONSE: u8 = 2;
        const DATA: u8 = 4;
        let (memory, one_in) = match datagram.first() {
            Some(&RESPONSE) => (&mut self.captured_responses, 1),
            Some(&DATA) => (&mut self.captured_data, 16),
            _ => (&mut self.captured, 2),
        };
        if !rng.random_ratio(1, one_in) {
            return;
        }
        let captured = (from, datagram.to_vec());
        if memory.len() < CAPTURED_MAX {
            memory.push(captured);
        } else {
            memory[rng.random_range(0..CAPTURED_MAX)] = captured;
        }
    }

    /// Another process is the gateway: it knows none of the initiations that the one before took in. Half of the
    /// time attackers forget them too.
    pub(crate) fn outlive_gateway(&mut self, rng: &mut StdRng) {
        self.reach_back = rng.random();
        if !self.reach_back {
            self.captured.clear();
        }
    }

    /// Whether they may have initiations that the gateway would take in.
    pub(crate) fn reach_back(&self) -> bool {
        self.reach_back
    }

    /// Any bytes; half of them begin like a message.
    pub(crate) fn garbage(rng: &mut StdRng, from: Endpoint) -> Attack {
        let lengths = [0, 4, 31, 32, 64, 112, 148, 200];
        let mut bytes = vec![0; lengths[rng.random_range(0..lengths.len())]];
        rng.fill_bytes(&mut bytes);
        if rng.random()
            && let Some(header) = bytes.first_chunk_mut()
        {
            *header = [rng.random_range(1..=4), 0, 0, 0];
        }
        Attack { from, bytes }
    }

    /// A message of a session that there is, with another counter or other contents.
    pub(crate) fn forgery(&self, rng: &mut StdRng) -> Option<Attack> {
        const COUNTER: std::ops::Range<usize> = 8..16;
        let (from, bytes) = self.captured_data.choose(rng)?;
        let mut bytes = bytes.clone();
        if rng.random() {
            let counter: u64 = if rng.random() {
                u64::MAX - rng.random_range(0..1 << 14)
            } else {
                rng.random_range(0..1 << 14)
            };
            bytes
                .get_mut(COUNTER)?
                .copy_from_slice(&counter.to_le_bytes());
        } else {
            let changed = rng.random_range(COUNTER.end..bytes.len());
            bytes[changed] ^= 1 << rng.random_range(0..8);
        }
        Some(Attack { from: *from, bytes })
    }

    /// An initiation of an identity that is not authorized.
    pub(crate) fn stranger(&mut self, from: Endpoint) -> Option<Attack> {
        let bytes = self.stranger.another_initiation()?;
        Some(Attack { from, bytes })
    }

    /// What was seen, once more: from where it came, or from elsewhere.
    pub(crate) fn replay(&self, rng: &mut StdRng, elsewhere: Endpoint) -> Option<Attack> {
        let captured = match rng.random_range(0..4) {
            0 => &self.captured_data,
            1 => &self.captured_responses,
            _ => &self.captured,
        };
        let (from, bytes) = captured.choose(rng)?.clone();
        let from = if rng.random() { from } else { elsewhere };
        Some(Attack { from, bytes })
    }

    /// An initiation of the insider, from a new socket.
    pub(crate) fn insider(&mut self, mut socket: Client) -> Option<Attack> {
        let from = Endpoint {
            remote: socket.address,
            via: socket.via,
        };
        let bytes = socket.another_initiation()?;
        if self.insiders.len() == SOCKETS_MAX {
            self.insiders.pop_front();
        }
        self.insiders.push_back(socket);
        Some(Attack { from, bytes })
    }

    /// The insider's socket at an address, if it still listens.
    pub(crate) fn insider_at(&mut self, address: SocketAddr) -> Option<&mut Client> {
        let mut sockets = self.insiders.iter_mut();
        sockets.find(|socket| socket.address == address)
    }

    /// An address that attackers write into what they send.
    pub(crate) fn address(rng: &mut StdRng) -> Endpoint {
        let remote = SocketAddr::from((
            [10, 66, 0, rng.random_range(0..16)],
            rng.random_range(1..=64),
        ));
        Endpoint {
            remote,
            via: Via::default(),
        }
    }
}
