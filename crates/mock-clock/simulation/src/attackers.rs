//! Attackers that flood the gateway.

use std::collections::VecDeque;
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngCore as _};
use snaptun::{Endpoint, Via};

use crate::client::Client;

/// Maximum number of captured datagrams of each kind.
const CAPTURED_MAX: usize = 64;

/// Number of the insider's sockets that receive the gateway's answers.
const SOCKETS_MAX: usize = 64;

/// Datagram of an attacker for the gateway.
pub(crate) struct Attack {
    pub(crate) from: Endpoint,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Attackers {
    /// Captured datagrams to the gateway, except those below.
    captured: Vec<(Endpoint, Vec<u8>)>,
    /// Captured responses, kept apart because they are rare.
    captured_responses: Vec<(Endpoint, Vec<u8>)>,
    /// Captured data messages.
    captured_data: Vec<(Endpoint, Vec<u8>)>,
    /// Set if initiations to an earlier process of the gateway may have been captured.
    reach_back: bool,
    /// Client of an unauthorized identity.
    stranger: Client,
    /// Sockets of an authorized identity that attacks.
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

    /// Observes a datagram on its way to the gateway, and captures a random selection.
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

    /// Records a restart of the gateway, which forgets all accepted initiations. The attackers forget theirs with a
    /// probability of one half.
    pub(crate) fn outlive_gateway(&mut self, rng: &mut StdRng) {
        self.reach_back = rng.random();
        if !self.reach_back {
            self.captured.clear();
        }
    }

    /// Returns true if the attackers may have initiations that the gateway would accept.
    pub(crate) fn reach_back(&self) -> bool {
        self.reach_back
    }

    /// Random bytes; half of them begin like a message.
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

    /// Message of an existing session with another counter or other contents.
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

    /// Initiation of an unauthorized identity.
    pub(crate) fn stranger(&mut self, from: Endpoint) -> Option<Attack> {
        let bytes = self.stranger.another_initiation()?;
        Some(Attack { from, bytes })
    }

    /// Replay of a captured datagram, from its own source address or from `elsewhere`.
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

    /// Initiation of the insider from a new socket.
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

    /// Returns the insider's socket at an address, if it still receives.
    pub(crate) fn insider_at(&mut self, address: SocketAddr) -> Option<&mut Client> {
        let mut sockets = self.insiders.iter_mut();
        sockets.find(|socket| socket.address == address)
    }

    /// Random source address of an attacker.
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
