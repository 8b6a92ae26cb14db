//! A shard under test with its authorization layer and its clients: sans-I/O, with a clock that the test advances.

mod client;
pub mod steps;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use snaptun::protocol::MessageKind;
use snaptun::{
    Consumed, DropReason, Endpoint, Event, Grant, HandshakeLimits, Incoming, Move, Outgoing,
    Packet, Payload, PublicKey, ReplayGuard, ShardConfig, SnapTunAuthorization, SnapTunServer,
    Transmit, Usage,
};

pub use client::{Client, Received, secret};

/// Number of the gateway's key, see [`secret`].
const GATEWAY: u16 = u16::MAX;

/// An authorization layer whose grants the test sets.
#[derive(Default)]
pub struct Registry {
    grants: Mutex<HashMap<[u8; 32], Grant<u32>>>,
    generation: AtomicU64,
    /// Number of new grants without a new generation.
    granted: AtomicU64,
    /// Number of lookups.
    pub asked: AtomicU64,
}

impl Registry {
    /// Grants access to an identity, until `expires` if given.
    pub fn grant(&self, identity: [u8; 32], session_data: u32, expires: Option<Instant>) {
        self.grants.lock().unwrap().insert(
            identity,
            Grant {
                expires,
                session_data,
            },
        );
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Extends a grant without a new generation.
    pub fn renew(&self, identity: [u8; 32], expires: Instant) {
        self.grants
            .lock()
            .unwrap()
            .get_mut(&identity)
            .expect("a grant")
            .expires = Some(expires);
    }

    /// Grants access to an identity that has none, as a new grant without a new generation.
    pub fn grant_again(&self, identity: [u8; 32], session_data: u32) {
        let grant = Grant {
            expires: None,
            session_data,
        };
        self.grants.lock().unwrap().insert(identity, grant);
        self.granted.fetch_add(1, Ordering::Release);
    }

    /// Changes the session data of a grant without a new generation.
    pub fn relabel(&self, identity: [u8; 32], session_data: u32) {
        self.grants
            .lock()
            .unwrap()
            .get_mut(&identity)
            .expect("a grant")
            .session_data = session_data;
    }

    /// Removes the grant of an identity.
    pub fn revoke(&self, identity: [u8; 32]) {
        self.grants.lock().unwrap().remove(&identity);
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl SnapTunAuthorization for Registry {
    type SessionData = u32;

    fn is_authorized(&self, _now: Instant, identity: &[u8; 32]) -> Option<Grant<u32>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.grants.lock().unwrap().get(identity).cloned()
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn new_grants(&self) -> u64 {
        self.generation() + self.granted.load(Ordering::Acquire)
    }
}

/// [`Incoming`] without borrows.
#[derive(Debug, PartialEq, Eq)]
pub enum In {
    /// A packet, and the session data of its client.
    Delivered(Vec<u8>, u32),
    /// A message of the protocol.
    Consumed(Consumed),
    /// A dropped datagram.
    Dropped(DropReason),
}

/// [`Outgoing`] without borrows.
#[derive(Debug, PartialEq, Eq)]
pub enum Out {
    /// Encapsulated; session data of the client.
    Encapsulated(u32),
    /// Waiting for a session; session data of the client.
    Waiting(u32),
    /// Dropped; the packet.
    Dropped(DropReason, Vec<u8>),
}

/// One shard of a gateway.
pub struct Shard {
    /// The shard under test.
    pub server: SnapTunServer<Registry>,
    /// Grants of the identities.
    pub registry: Arc<Registry>,
    guard: Arc<ReplayGuard>,
    limits: Arc<HandshakeLimits>,
    config: ShardConfig,
    /// Current time of the shard.
    pub now: Instant,
    /// Datagrams that the shard sends.
    pub sent: VecDeque<Transmit>,
}

impl Shard {
    /// Creates the only shard of a gateway.
    #[must_use]
    pub fn new(now: Instant, config: ShardConfig) -> Self {
        let guard = ReplayGuard::new(
            now,
            ReplayGuard::IDENTITIES_DEFAULT,
            ReplayGuard::TIMESTAMP_TOLERANCE_DEFAULT,
        );
        let limits = HandshakeLimits::new(now, &config, 1);
        Shard::guarded_by(
            Arc::new(guard),
            Arc::new(limits),
            Arc::default(),
            now,
            config,
        )
    }

    /// Sets the system clock. It is not trusted before the first call, nor if `wall` is `None`.
    pub fn set_clock(&self, wall: Option<SystemTime>) {
        self.guard.set_clock(self.now, wall);
    }

    /// Creates another shard of the same gateway.
    pub fn sibling(&self) -> Self {
        Shard::guarded_by(
            Arc::clone(&self.guard),
            Arc::clone(&self.limits),
            Arc::clone(&self.registry),
            self.now,
            self.config.clone(),
        )
    }

    fn guarded_by(
        guard: Arc<ReplayGuard>,
        limits: Arc<HandshakeLimits>,
        registry: Arc<Registry>,
        now: Instant,
        config: ShardConfig,
    ) -> Self {
        let server = SnapTunServer::new(
            now,
            secret(GATEWAY),
            Arc::clone(&registry),
            Arc::clone(&guard),
            Arc::clone(&limits),
            config.clone(),
        );
        Shard {
            server,
            registry,
            guard,
            limits,
            config,
            now,
            sent: VecDeque::new(),
        }
    }

    /// Returns the public key of every gateway under test.
    #[must_use]
    pub fn public_key() -> PublicKey {
        PublicKey::from(&secret(GATEWAY))
    }

    /// Creates a client, authorized with its number as session data.
    pub fn client(&self, identity: u16) -> Client {
        let client = Client::new(identity, Shard::public_key());
        self.registry
            .grant(client.identity(), u32::from(identity), None);
        client
    }

    /// Creates a client with a tunnel.
    pub fn connected_client(&mut self, identity: u16) -> Client {
        let mut client = self.client(identity);
        self.connect(&mut client);
        client
    }

    /// Completes a handshake, including the client's confirmation.
    pub fn connect(&mut self, client: &mut Client) {
        let response = self.answer(client);
        let Received::Answer(keepalive) = client.receive(&response) else {
            panic!("the client rejected the response");
        };
        let fate = self.incoming(&keepalive, client.endpoint);
        assert_eq!(fate, In::Consumed(Consumed::Keepalive));
    }

    /// Sends an initiation that is answered with a cookie, which the client's next initiation carries.
    pub fn show_cookie(&mut self, client: &mut Client) {
        let initiation = client.initiation();
        let fate = self.incoming(&initiation, client.endpoint);
        assert_eq!(fate, In::Consumed(Consumed::CookieReplySent));
        assert_eq!(self.sent.len(), 1);
        let reply = self.sent.pop_back().expect("a reply");
        assert_eq!(reply.to, client.endpoint);
        assert_eq!(client.receive(&reply.packet), Received::Cookie);
    }

    /// Sends an initiation of the client, and returns the gateway's response.
    pub fn answer(&mut self, client: &mut Client) -> Vec<u8> {
        let initiation = client.initiation();
        let fate = self.incoming(&initiation, client.endpoint);
        assert!(
            matches!(fate, In::Consumed(Consumed::HandshakeAnswered { .. })),
            "the gateway did not answer: {fate:?}"
        );
        let response = self.sent.pop_back().expect("a response");
        assert_eq!(
            (response.to, response.payload),
            (client.endpoint, Payload::Protocol)
        );
        response.packet.to_vec()
    }

    /// Handles a datagram from the network.
    pub fn incoming(&mut self, datagram: &[u8], from: Endpoint) -> In {
        self.server.start_batch();
        let packet = Packet::copy_from(datagram);
        match self
            .server
            .handle_incoming_packet(self.now, packet, from, &mut self.sent)
        {
            Incoming::Delivered {
                packet,
                session_data,
            } => In::Delivered(packet.to_vec(), *session_data),
            Incoming::Consumed(consumed) => In::Consumed(consumed),
            Incoming::Dropped(reason) => In::Dropped(reason),
        }
    }

    /// Handles a packet for the tunnel at `to`.
    pub fn outgoing(&mut self, packet: &[u8], to: SocketAddr) -> Out {
        self.server.start_batch();
        let packet = Packet::copy_from(packet);
        match self
            .server
            .handle_outgoing_packet(self.now, packet, to, &mut self.sent)
        {
            Outgoing::Encapsulated { session_data } => Out::Encapsulated(*session_data),
            Outgoing::Waiting { session_data } => Out::Waiting(*session_data),
            Outgoing::Dropped { reason, packet } => Out::Dropped(reason, packet.to_vec()),
        }
    }

    /// Sends a packet of the gateway itself; returns false if it cannot leave at once.
    pub fn send_own(&mut self, packet: &[u8], to: SocketAddr) -> bool {
        self.server.start_batch();
        let packet = Packet::copy_from(packet);
        self.server
            .send_own_packet(self.now, packet, to, &mut self.sent)
    }

    /// Returns the next tunnel move of a shard without a directory.
    pub fn next_move(&mut self) -> Option<Move> {
        match self.server.poll_event(false)? {
            Event::Moved(moved) => Some(moved),
            Event::Directory(change) => panic!("{change:?}"),
            Event::Usage(usage) => panic!("{usage:?}"),
        }
    }

    /// Returns the next usage record of a shard that reports nothing else.
    pub fn next_usage(&mut self) -> Option<Usage<u32>> {
        match self.server.poll_event(false)? {
            Event::Usage(usage) => Some(usage),
            Event::Moved(moved) => panic!("{moved:?}"),
            Event::Directory(change) => panic!("{change:?}"),
        }
    }

    /// Screens a handshake message, as a worker does before it queues one.
    pub fn screen(&self, from: SocketAddr, datagram: &[u8]) -> Result<(), DropReason> {
        let kind = MessageKind::of(datagram).ok_or(DropReason::Malformed)?;
        self.server.screen_handshake(kind, from, datagram)
    }

    /// Handles the timers that are due.
    pub fn update_timers(&mut self) {
        self.server.start_batch();
        self.server.update_timers(self.now, &mut self.sent);
    }

    /// Lets time pass, and handles the timers whenever they are due.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = self.server.next_timer().max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            self.update_timers();
        }
    }

    /// Removes and returns the datagrams to send, in order.
    pub fn take_sent(&mut self) -> Vec<Transmit> {
        self.sent.drain(..).collect()
    }

    /// Delivers all datagrams to the client, and returns the packets in them.
    ///
    /// # Panics
    ///
    /// If a datagram has another destination.
    pub fn deliver_to(&mut self, client: &mut Client) -> Vec<Vec<u8>> {
        self.take_sent()
            .into_iter()
            .filter_map(|transmit| {
                assert_eq!(transmit.to.remote, client.remote());
                match client.receive(&transmit.packet) {
                    Received::Data(packet) => Some(packet),
                    Received::Answer(_) | Received::Cookie | Received::Refused => None,
                }
            })
            .collect()
    }

    /// Lets the client answer the initiation, the only datagram that the shard has sent, and returns the packets that the
    /// client then receives.
    ///
    /// # Panics
    ///
    /// If this does not complete the handshake.
    pub fn complete_handshake(&mut self, client: &mut Client) -> Vec<Vec<u8>> {
        let [initiation] = self.take_sent().try_into().expect("an initiation");
        assert_eq!(initiation.to, client.endpoint);
        let Received::Answer(response) = client.receive(&initiation.packet) else {
            panic!("the client did not answer");
        };
        let fate = self.incoming(&response, client.endpoint);
        assert_eq!(fate, In::Consumed(Consumed::HandshakeCompleted));
        self.deliver_to(client)
    }
}
