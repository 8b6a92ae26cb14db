//! A client: one socket of one identity, with the state machine of real clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ana_gotatun::noise::index_table::IndexTable;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::noise::{Tunn, TunnResult};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use snaptun::{Packet, PublicKey, StaticSecret, Via};

use crate::clock::{Ahead, Clock};

/// Persistent keepalive of clients in seconds.
const KEEPALIVE_SECS: u16 = 10;

/// Properties of a client that survive its restart.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) secret: StaticSecret,
    pub(crate) gateway: PublicKey,
    pub(crate) clock: Ahead,
    /// Set if the client sends a keepalive every ten seconds.
    pub(crate) keeps_alive: bool,
}

pub(crate) struct Client {
    origin: Origin,
    tunn: Tunn,
    pub(crate) address: SocketAddr,
    /// Address of the gateway that the client uses. Datagrams from any other are dropped.
    pub(crate) via: Via,
    /// End of the time in which the client does nothing.
    pub(crate) away_until: Duration,
    /// End of the time in which nothing passes between the client and the gateway.
    pub(crate) cut_off_until: Duration,
    /// Newest initiation of the gateway that the client answered.
    answered: Option<Sending>,
    /// Number of restarts and replaced state machines.
    lives: u64,
}

/// Sending of a datagram by the gateway.
#[derive(Clone, Copy)]
pub(crate) struct Sending {
    pub(crate) at: Duration,
    /// Age of the tunnel at that time.
    pub(crate) tunnel_age: Duration,
}

/// Result of a received datagram.
pub(crate) enum Heard {
    /// A packet.
    Packet(Vec<u8>),
    /// A response or an initiation, with the answer to send.
    Answer(Vec<u8>),
    /// A keepalive or a cookie.
    Nothing,
    Refused,
}

impl Client {
    pub(crate) fn new(clock: &Clock, origin: Origin, address: SocketAddr, via: Via) -> Self {
        let lives = 0;
        let tunn = new_tunn(clock, &origin, address, lives);
        Client {
            origin,
            tunn,
            address,
            via,
            away_until: Duration::ZERO,
            cut_off_until: Duration::ZERO,
            answered: None,
            lives,
        }
    }

    pub(crate) fn key(&self) -> [u8; 32] {
        PublicKey::from(&self.origin.secret).to_bytes()
    }

    pub(crate) fn is_away(&self, now: Duration) -> bool {
        now < self.away_until
    }

    pub(crate) fn is_cut_off(&self, now: Duration) -> bool {
        now < self.cut_off_until
    }

    /// Restarts the client's process.
    pub(crate) fn restart(&mut self, clock: &Clock, via: Via) {
        self.via = via;
        self.answered = None;
        self.lives += 1;
        self.tunn = new_tunn(clock, &self.origin, self.address, self.lives);
    }

    /// Checks the timers. Returns a message to send.
    pub(crate) fn tick(&mut self) -> Option<Vec<u8>> {
        // A client that has given up begins again with its next packet.
        self.tunn.update_timers().ok().flatten().map(to_bytes)
    }

    /// Encapsulates a packet if there is a session.
    pub(crate) fn encapsulate(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let packet = Packet::copy_from(packet);
        self.tunn
            .encapsulate_with_session(packet)
            .ok()
            .map(to_bytes)
    }

    /// Begins a handshake if none is under way.
    pub(crate) fn initiation(&mut self) -> Option<Vec<u8>> {
        self.tunn.format_handshake_initiation(false).map(to_bytes)
    }

    /// Begins a handshake even if one is under way.
    pub(crate) fn another_initiation(&mut self) -> Option<Vec<u8>> {
        self.tunn.format_handshake_initiation(true).map(to_bytes)
    }

    /// Returns the address reported by the gateway.
    pub(crate) fn reported_address(&self) -> Option<SocketAddr> {
        self.tunn.get_initiator_remote_sockaddr()
    }

    /// Handles a datagram of the gateway.
    pub(crate) fn receive(&mut self, clock: &Clock, datagram: &[u8], sent: Sending) -> Heard {
        const INITIATION: u8 = 1;
        if datagram.first() == Some(&INITIATION) {
            return self.receive_initiation(clock, datagram, sent);
        }
        heard(&mut self.tunn, datagram)
    }

    /// Answers an initiation that is newer than the last.
    ///
    /// `Tunn` would compare the timestamps. But for the gateway's tunnels the system clock stands still (see
    /// [`Clock::with_right_stamps`]), so their timestamps are the ages of the tunnels. An initiation of a younger
    /// tunnel is given to a new state machine.
    fn receive_initiation(&mut self, clock: &Clock, datagram: &[u8], sent: Sending) -> Heard {
        if self.answered.is_some_and(|newest| newest.at >= sent.at) {
            return Heard::Refused;
        }
        let is_younger = |newest: Sending| newest.tunnel_age >= sent.tunnel_age;
        let heard = if self.answered.is_some_and(is_younger) {
            self.lives += 1;
            let mut tunn = new_tunn(clock, &self.origin, self.address, self.lives);
            let heard = heard(&mut tunn, datagram);
            if let Heard::Answer(_) = heard {
                self.tunn = tunn;
            }
            heard
        } else {
            heard(&mut self.tunn, datagram)
        };
        if let Heard::Answer(_) = heard {
            self.answered = Some(sent);
        }
        heard
    }
}

fn heard(tunn: &mut Tunn, datagram: &[u8]) -> Heard {
    let Ok(message) = Packet::copy_from(datagram).try_into_wg() else {
        return Heard::Refused;
    };
    match tunn.handle_incoming_packet(message) {
        TunnResult::Done => Heard::Nothing,
        TunnResult::Err(_) => Heard::Refused,
        TunnResult::WriteToNetwork(answer) => Heard::Answer(to_bytes(answer)),
        TunnResult::WriteToTunnel(packet) if packet.is_empty() => Heard::Nothing,
        TunnResult::WriteToTunnel(packet) => Heard::Packet(packet.to_vec()),
    }
}

fn new_tunn(clock: &Clock, origin: &Origin, address: SocketAddr, life: u64) -> Tunn {
    let public = PublicKey::from(&origin.secret);
    // The jitter depends only on the identity and the life.
    let mut seed = public.to_bytes();
    for (byte, life) in seed.iter_mut().zip(life.to_le_bytes()) {
        *byte ^= life;
    }
    let mut tunn = clock.with_right_stamps(origin.clock, || {
        Tunn::new_with_rng(
            origin.secret.clone(),
            origin.gateway,
            None,
            origin.keeps_alive.then_some(KEEPALIVE_SECS),
            IndexTable::from_os_rng(),
            Arc::new(RateLimiter::new(&public, u64::MAX)),
            address,
            StdRng::from_seed(seed),
        )
    });
    // The timers were created at another mock time.
    tunn.reset();
    tunn
}

fn to_bytes(message: impl Into<Packet>) -> Vec<u8> {
    message.into().to_vec()
}
