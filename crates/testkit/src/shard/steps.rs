//! Arbitrary sequences of steps on a shard and its clients, with accounting of all packets, for property tests and
//! fuzzing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use snaptun::protocol::{DATA_OVERHEAD_BYTES, INITIATION_BYTES};
use snaptun::{Consumed, DropReason, Payload, ShardConfig, Traffic, Transmit};

use crate::messages::write_mac1;
use crate::shard::{Client, In, Out, Received, Shard};

/// Number of clients with a grant. Client number [`CLIENTS`] has an address but no grant.
pub const CLIENTS: u16 = 3;

/// One step of a run. `client` is at most [`CLIENTS`]; `pick` selects a datagram in transit to the gateway, modulo
/// their number.
#[derive(Clone, Debug)]
pub enum Step {
    /// A client starts a handshake.
    Initiate {
        /// Number of the client.
        client: u16,
    },
    /// A client with a session sends a packet; an empty one is a keepalive.
    Send {
        /// Number of the client.
        client: u16,
        /// Length of the packet in bytes, without its number.
        len: usize,
    },
    /// A datagram arrives at the gateway, in any order.
    Arrive {
        /// Selects the datagram.
        pick: usize,
    },
    /// A datagram arrives and stays in transit.
    Duplicate {
        /// Selects the datagram.
        pick: usize,
    },
    /// A datagram is lost.
    Lose {
        /// Selects the datagram.
        pick: usize,
    },
    /// A datagram arrives with one bit flipped.
    Damage {
        /// Selects the datagram.
        pick: usize,
        /// Index of the bit, modulo their number.
        bit: usize,
    },
    /// A datagram arrives from the address of another client, and stays in transit.
    Elsewhere {
        /// Selects the datagram.
        pick: usize,
        /// Number of the client at the source address.
        client: u16,
    },
    /// A datagram arrives with some bytes replaced. An initiation gets a correct mac1, which needs only the gateway's
    /// public key.
    Forge {
        /// Selects the datagram.
        pick: usize,
        /// Offset of the bytes, modulo the length.
        at: usize,
        /// Replacement.
        bytes: Vec<u8>,
    },
    /// Arbitrary bytes arrive from a client's address.
    Garbage {
        /// Number of the client.
        client: u16,
        /// Payload of the datagram.
        bytes: Vec<u8>,
    },
    /// A packet from SCION arrives for a client's address.
    Outgoing {
        /// Number of the client.
        client: u16,
        /// Length of the packet in bytes, without its number.
        len: usize,
    },
    /// All datagrams in transit to the clients arrive.
    Deliver,
    /// A client loses its grant.
    Revoke {
        /// Number of the client.
        client: u16,
    },
    /// A client gets its grant back.
    Grant {
        /// Number of the client.
        client: u16,
    },
    /// A client restarts.
    Restart {
        /// Number of the client.
        client: u16,
    },
    /// Time passes, and the timers that are due are handled.
    Timers {
        /// Time in milliseconds.
        millis: u64,
    },
    /// All sessions end.
    EndSessions,
}

/// Packets and messages counted outside the shard.
#[derive(Default)]
struct Ledger {
    /// Packets for tunnels that were not dropped at once.
    accepted: u64,
    /// Datagrams with such a packet.
    forwarded: u64,
    /// Datagrams without a packet (handshakes, cookies, keepalives).
    protocol: u64,
    answered: u64,
    cookie_replies: u64,
    completed: u64,
    /// Packets delivered, and packets encrypted.
    traffic: Traffic,
    /// Traffic in usage records.
    reported: Traffic,
}

fn add(total: &mut Traffic, more: &Traffic) {
    total.incoming_packets += more.incoming_packets;
    total.incoming_bytes += more.incoming_bytes;
    total.outgoing_packets += more.outgoing_packets;
    total.outgoing_bytes += more.outgoing_bytes;
}

/// A shard, its clients, and the datagrams in transit.
pub struct Run {
    /// The shard under test.
    pub shard: Shard,
    clients: Vec<Client>,
    /// Datagrams in transit to the gateway, each with its sender.
    to_gateway: VecDeque<(u16, Vec<u8>)>,
    to_clients: VecDeque<Transmit>,
    ledger: Ledger,
    /// By client: owner of the last tunnel at its address.
    owners: HashMap<u16, u16>,
    /// By packet number: the client that made the packet; `None` for packets from SCION.
    made_by: Vec<Option<u16>>,
    /// Numbers of the packets that the gateway delivered.
    delivered: HashSet<u64>,
    /// By client address: number of the last packet received.
    last_received: HashMap<SocketAddr, u64>,
    /// Last value of the counter `restart_handshakes_started`.
    restarts: u64,
}

impl Run {
    /// Creates a shard and clients without tunnels.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let config = ShardConfig {
            handshakes_per_ip_per_second: 4,
            waiting_packets_per_tunnel: 4,
            tunnels_per_shard: 2,
            half_open_tunnels: 1,
            usage_records: true,
            ..ShardConfig::default()
        };
        let shard = Shard::new(now, config);
        let mut clients: Vec<_> = (0..CLIENTS).map(|n| shard.client(n)).collect();
        clients.push(Client::new(CLIENTS, Shard::public_key()));
        Run {
            shard,
            clients,
            to_gateway: VecDeque::new(),
            to_clients: VecDeque::new(),
            ledger: Ledger::default(),
            owners: HashMap::new(),
            made_by: Vec::new(),
            delivered: HashSet::new(),
            last_received: HashMap::new(),
            restarts: 0,
        }
    }

    /// Returns a packet that begins with a unique number, or an empty packet.
    fn packet(&mut self, made_by: Option<u16>, len: usize) -> Vec<u8> {
        if len == 0 {
            return Vec::new();
        }
        let mut packet = (self.made_by.len() as u64).to_be_bytes().to_vec();
        self.made_by.push(made_by);
        packet.resize(8 + len, 0);
        packet
    }

    fn pick(&mut self, pick: usize) -> Option<(u16, Vec<u8>)> {
        let index = pick.checked_rem(self.to_gateway.len())?;
        self.to_gateway.remove(index)
    }

    /// Executes a step, and checks that every packet is accounted for.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Initiate { client } => {
                let initiation = self.clients[usize::from(client)].initiation();
                self.to_gateway.push_back((client, initiation));
            }
            Step::Send { client, len } => {
                let packet = self.packet(Some(client), len);
                let sender = &mut self.clients[usize::from(client)];
                if sender.has_session() {
                    let datagram = sender.data(&packet);
                    self.to_gateway.push_back((client, datagram));
                }
            }
            Step::Arrive { pick } => {
                if let Some((client, datagram)) = self.pick(pick) {
                    self.arrive(Some(client), client, &datagram);
                }
            }
            Step::Duplicate { pick } => {
                if let Some((client, datagram)) = self.pick(pick) {
                    self.arrive(Some(client), client, &datagram);
                    self.to_gateway.push_back((client, datagram));
                }
            }
            Step::Lose { pick } => {
                self.pick(pick);
            }
            Step::Damage { pick, bit } => {
                if let Some((client, mut datagram)) = self.pick(pick) {
                    let bit = bit % (8 * datagram.len());
                    datagram[bit / 8] ^= 1 << (bit % 8);
                    self.arrive(Some(client), client, &datagram);
                }
            }
            Step::Elsewhere { pick, client } => {
                if let Some((sender, datagram)) = self.pick(pick) {
                    self.arrive(Some(sender), client, &datagram);
                    self.to_gateway.push_back((sender, datagram));
                }
            }
            Step::Forge { pick, at, bytes } => {
                if let Some((client, mut datagram)) = self.pick(pick) {
                    let at = at % datagram.len();
                    for (old, new) in datagram[at..].iter_mut().zip(bytes) {
                        *old = new;
                    }
                    if datagram.len() == INITIATION_BYTES && datagram[0] == 1 {
                        write_mac1(&mut datagram, &Shard::public_key());
                    }
                    self.arrive(Some(client), client, &datagram);
                }
            }
            Step::Garbage { client, bytes } => self.arrive(None, client, &bytes),
            Step::Outgoing { client, len } => self.outgoing(client, len),
            Step::Deliver => self.deliver(),
            Step::Revoke { client } => {
                let identity = self.clients[usize::from(client)].identity();
                self.shard.registry.revoke(identity);
            }
            Step::Grant { client } => {
                let identity = self.clients[usize::from(client)].identity();
                self.shard.registry.grant(identity, u32::from(client), None);
            }
            Step::Restart { client } => self.clients[usize::from(client)].restart(),
            Step::Timers { millis } => {
                self.shard.now += Duration::from_millis(millis);
                self.shard.update_timers();
                self.note_restarts();
                for (number, client) in self.clients.iter_mut().enumerate() {
                    if let Ok(Some(datagram)) = client.update_timers() {
                        self.to_gateway.push_back((number as u16, datagram));
                    }
                }
            }
            Step::EndSessions => self.shard.server.end_sessions(),
        }
        self.check();
    }

    /// Handles a datagram from the address of the client `at`. `maker` is the client that made it, if any.
    fn arrive(&mut self, maker: Option<u16>, at: u16, datagram: &[u8]) {
        let endpoint = self.clients[usize::from(at)].endpoint;
        match self.shard.incoming(datagram, endpoint) {
            In::Delivered(packet, session_data) => {
                let number = number_of(&packet);
                let made_by = self.made_by.get(number as usize).copied().flatten();
                assert_eq!(made_by, maker, "a packet that its client never sent");
                assert_eq!(made_by.map(u32::from), Some(session_data));
                assert!(self.delivered.insert(number), "delivered twice");
                self.ledger.traffic.incoming_packets += 1;
                self.ledger.traffic.incoming_bytes += packet.len() as u64;
            }
            In::Consumed(consumed) => match consumed {
                Consumed::HandshakeAnswered { new_tunnel } => {
                    let maker = maker.expect("garbage is not answered");
                    let owner = self.owners.insert(at, maker);
                    assert!(new_tunnel || owner == Some(maker), "a tunnel changed hands");
                    self.ledger.answered += 1;
                }
                Consumed::CookieReplySent => self.ledger.cookie_replies += 1,
                Consumed::HandshakeCompleted => self.ledger.completed += 1,
                Consumed::CookieReceived | Consumed::Keepalive => {}
            },
            // Only data without a session is answered: with an initiation, if the client got its grant back.
            In::Dropped(reason) => {
                assert!(reason == DropReason::NoSession || self.shard.sent.is_empty());
                self.note_restarts();
            }
        }
    }

    /// Updates `owners` after the gateway initiated handshakes itself.
    fn note_restarts(&mut self) {
        let started = self.shard.server.counters().restart_handshakes_started;
        if self.restarts == started {
            return;
        }
        self.restarts = started;
        for tunnel in self.shard.server.tunnels() {
            let at = self
                .clients
                .iter()
                .position(|c| c.remote() == tunnel.remote);
            let owner = self
                .clients
                .iter()
                .position(|c| c.identity() == *tunnel.identity);
            let (at, owner) = (at.expect("a client"), owner.expect("a client"));
            self.owners.insert(at as u16, owner as u16);
        }
    }

    fn outgoing(&mut self, client: u16, len: usize) {
        let to = self.clients[usize::from(client)].remote();
        let packet = self.packet(None, len);
        match self.shard.outgoing(&packet, to) {
            Out::Encapsulated(session_data) | Out::Waiting(session_data) => {
                let owner = self.owners.get(&client).copied().map(u32::from);
                assert_eq!(owner, Some(session_data));
                self.ledger.accepted += 1;
            }
            Out::Dropped(_, returned) => assert_eq!(returned, packet),
        }
    }

    /// Delivers all datagrams in transit to the clients.
    fn deliver(&mut self) {
        while let Some(transmit) = self.to_clients.pop_front() {
            let number = self.clients.iter().position(|c| c.endpoint == transmit.to);
            let number = number.expect("the destination is a client");
            match self.clients[number].receive(&transmit.packet) {
                Received::Data(packet) if packet.is_empty() => {}
                Received::Data(packet) => {
                    let number = number_of(&packet);
                    let last = self.last_received.insert(transmit.to.remote, number);
                    assert!(last < Some(number), "packet duplicated or out of order");
                }
                Received::Answer(datagram) => {
                    self.to_gateway.push_back((number as u16, datagram));
                }
                Received::Cookie | Received::Refused => {}
            }
        }
    }

    /// Checks that the traffic of all tunnels, those that ended included, is that of all packets.
    fn check_usage(&mut self) {
        while let Some(usage) = self.shard.next_usage() {
            let identity = |client: &Client| client.identity() == usage.identity;
            let owner = self.clients.iter().position(identity);
            assert_eq!(owner, Some(usage.session_data as usize));
            add(&mut self.ledger.reported, &usage.traffic);
        }
        let mut total = self.ledger.reported;
        for usage in self.shard.server.usage() {
            add(&mut total, &usage.traffic);
        }
        assert_eq!(
            total, self.ledger.traffic,
            "the traffic of the tunnels is not that of the packets"
        );
    }

    fn check(&mut self) {
        let sent = self.shard.take_sent();
        let forwarded: Vec<_> = sent
            .iter()
            .filter(|t| t.payload == Payload::Forwarded)
            .map(|t| (t.packet.len() - DATA_OVERHEAD_BYTES) as u64)
            .collect();
        self.ledger.forwarded += forwarded.len() as u64;
        self.ledger.traffic.outgoing_packets += forwarded.len() as u64;
        self.ledger.traffic.outgoing_bytes += forwarded.iter().sum::<u64>();
        self.ledger.protocol += (sent.len() - forwarded.len()) as u64;
        self.to_clients.extend(sent);
        self.check_usage();

        let (ledger, server) = (&self.ledger, &self.shard.server);
        let counters = server.counters();
        let discarded = counters.waiting_discarded_expired
            + counters.waiting_discarded_revoked
            + counters.waiting_discarded_displaced;
        assert_eq!(
            ledger.accepted,
            ledger.forwarded + server.waiting_packets() as u64 + discarded,
            "accepted packets are not all sent, waiting or discarded"
        );
        assert_eq!(
            ledger.protocol,
            ledger.answered
                + ledger.cookie_replies
                // A keepalive confirms each completed handshake.
                + ledger.completed
                + counters.handshakes_initiated
                + counters.keepalives_sent,
            "a protocol message has no counted cause"
        );
        let answered = counters.handshakes_answered_new + counters.handshakes_answered_known;
        assert_eq!(ledger.answered, answered);
        assert_eq!(ledger.completed, counters.handshakes_completed);
        assert_eq!(ledger.cookie_replies, counters.cookie_replies_sent());
        assert_eq!(
            counters.tunnels_created,
            counters.handshakes_answered_new + counters.restart_handshakes_started
        );
        assert_eq!(
            server.tunnel_count() as u64,
            counters.tunnels_created
                - counters.tunnels_expired
                - counters.tunnels_revoked
                - counters.tunnels_replaced
                - counters.tunnels_evicted
                - counters.tunnels_moved
                - counters.tunnels_reopened
        );
        let found = self
            .clients
            .iter()
            .filter(|client| server.has_tunnel(client.remote()));
        assert_eq!(server.tunnel_count(), found.count());
        assert!(server.tunnel_count() <= 2);
        assert!(server.half_open_tunnels() <= 1);
    }
}

/// Returns the number at the beginning of a packet.
fn number_of(packet: &[u8]) -> u64 {
    u64::from_be_bytes(*packet.first_chunk().expect("a number"))
}
