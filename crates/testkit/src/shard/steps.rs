//! A shard and its clients under any sequence of steps, with a ledger of all packets: for property tests and fuzzing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use snaptun::protocol::INITIATION_BYTES;
use snaptun::{Consumed, DropReason, Payload, ShardConfig, Transmit};

use crate::messages::write_mac1;
use crate::shard::{Client, In, Out, Received, Shard};

/// Clients with a grant. One more, the number after the last, has an address and no grant.
pub const CLIENTS: u16 = 3;

/// One step of a run. `client` is at most [`CLIENTS`]; `pick` is taken modulo what there is to pick from.
#[derive(Clone, Debug)]
pub enum Step {
    /// A client starts a handshake.
    Initiate {
        /// Which client.
        client: u16,
    },
    /// A client with a session sends a packet, an empty one being a keepalive.
    Send {
        /// Which client.
        client: u16,
        /// Length of the packet in bytes, without its number.
        len: usize,
    },
    /// One of the datagrams on the way to the gateway arrives, in any order.
    Arrive {
        /// Which of the datagrams.
        pick: usize,
    },
    /// It arrives, and will arrive again.
    Duplicate {
        /// Which of the datagrams.
        pick: usize,
    },
    /// It is lost.
    Lose {
        /// Which of the datagrams.
        pick: usize,
    },
    /// It arrives with one bit changed.
    Damage {
        /// Which of the datagrams.
        pick: usize,
        /// Which bit, modulo their number.
        bit: usize,
    },
    /// It arrives from another address than its sender's, and will arrive again.
    Elsewhere {
        /// Which of the datagrams.
        pick: usize,
        /// Which client.
        client: u16,
    },
    /// It arrives with other bytes in some place, and a right first message authentication code where it
    /// is an initiation: whoever knows the gateway's public key can do that.
    Forge {
        /// Which of the datagrams.
        pick: usize,
        /// Offset of the bytes, modulo the length.
        at: usize,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Any bytes arrive from a client's address, or from nobody's.
    Garbage {
        /// Which client.
        client: u16,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A packet comes from SCION for a client's address, or for nobody's.
    Outgoing {
        /// Which client.
        client: u16,
        /// Length of the packet in bytes, without its number.
        len: usize,
    },
    /// Everything on the way to the clients arrives.
    Deliver,
    /// A client loses its grant.
    Revoke {
        /// Which client.
        client: u16,
    },
    /// A client gets its grant back.
    Grant {
        /// Which client.
        client: u16,
    },
    /// A client is started again.
    Restart {
        /// Which client.
        client: u16,
    },
    /// Time passes, and the timers are looked at.
    Timers {
        /// How much, in milliseconds.
        millis: u64,
    },
}

/// What went through the shard, counted from outside.
#[derive(Default)]
struct Ledger {
    /// Packets for tunnels that were not dropped at once.
    accepted: u64,
    /// Datagrams that carry one of these.
    forwarded: u64,
    /// The protocol's own datagrams.
    protocol: u64,
    answered: u64,
    cookie_replies: u64,
    completed: u64,
}

/// A run of steps.
pub struct Run {
    /// What is tested.
    pub shard: Shard,
    clients: Vec<Client>,
    /// Datagrams on their way to the gateway, each with its sender.
    to_gateway: VecDeque<(u16, Vec<u8>)>,
    to_clients: VecDeque<Transmit>,
    ledger: Ledger,
    /// Whose tunnel was the last at the address of each client.
    owners: HashMap<u16, u16>,
    /// Who made each packet: a client, or nobody for those from SCION. Packets begin with their number.
    made_by: Vec<Option<u16>>,
    /// The numbers of the packets that the gateway delivered.
    delivered: HashSet<u64>,
    /// The number of the last packet that each client received.
    last_received: HashMap<SocketAddr, u64>,
    /// Tunnels that the gateway began itself.
    restarts: u64,
}

impl Run {
    /// Begins with clients that have no tunnel.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let config = ShardConfig {
            handshakes_per_ip_per_second: 4,
            waiting_packets_per_tunnel: 4,
            tunnels_per_shard: 2,
            half_open_tunnels: 1,
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

    /// A packet that no other equals, unless it is empty.
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

    /// Takes a step, and checks that every packet is accounted for.
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
        }
        self.check();
    }

    /// A datagram that `maker` made, or nobody, arrives from the address of the client `at`.
    fn arrive(&mut self, maker: Option<u16>, at: u16, datagram: &[u8]) {
        let endpoint = self.clients[usize::from(at)].endpoint;
        match self.shard.incoming(datagram, endpoint) {
            In::Delivered(packet, session_data) => {
                let number = number_of(&packet);
                let made_by = self.made_by.get(number as usize).copied().flatten();
                assert_eq!(made_by, maker, "a packet that its client never sent");
                assert_eq!(made_by.map(u32::from), Some(session_data));
                assert!(self.delivered.insert(number), "delivered twice");
            }
            In::Consumed(consumed) => match consumed {
                Consumed::HandshakeAnswered { new_tunnel } => {
                    let maker = maker.expect("an initiation of somebody");
                    let owner = self.owners.insert(at, maker);
                    assert!(new_tunnel || owner == Some(maker), "a tunnel changed hands");
                    self.ledger.answered += 1;
                }
                Consumed::CookieReplySent => self.ledger.cookie_replies += 1,
                Consumed::HandshakeCompleted => self.ledger.completed += 1,
                Consumed::CookieReceived | Consumed::Keepalive => {}
            },
            // The client of a grant that returned is asked for a handshake, and nothing else is answered.
            In::Dropped(reason) => {
                assert!(reason == DropReason::NoSession || self.shard.sent.is_empty());
                self.note_restarts();
            }
        }
    }

    /// The gateway may have begun tunnels itself.
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

    /// Everything on the way to the clients arrives.
    fn deliver(&mut self) {
        while let Some(transmit) = self.to_clients.pop_front() {
            let number = self.clients.iter().position(|c| c.endpoint == transmit.to);
            let number = number.expect("a datagram for nobody");
            match self.clients[number].receive(&transmit.packet) {
                Received::Data(packet) if packet.is_empty() => {}
                Received::Data(packet) => {
                    let number = number_of(&packet);
                    let last = self.last_received.insert(transmit.to.remote, number);
                    assert!(last < Some(number), "a packet twice or out of order");
                }
                Received::Answer(datagram) => {
                    self.to_gateway.push_back((number as u16, datagram));
                }
                Received::Cookie | Received::Refused => {}
            }
        }
    }

    fn check(&mut self) {
        let sent = self.shard.take_sent();
        let forwarded = sent
            .iter()
            .filter(|t| t.payload == Payload::Forwarded)
            .count();
        self.ledger.forwarded += forwarded as u64;
        self.ledger.protocol += (sent.len() - forwarded) as u64;
        self.to_clients.extend(sent);

        let (ledger, server) = (&self.ledger, &self.shard.server);
        let counters = server.counters();
        let discarded = counters.waiting_discarded_expired
            + counters.waiting_discarded_revoked
            + counters.waiting_discarded_displaced;
        assert_eq!(
            ledger.accepted,
            ledger.forwarded + server.waiting_packets() as u64 + discarded,
            "each accepted packet was sent, waits, or is counted as discarded"
        );
        assert_eq!(
            ledger.protocol,
            ledger.answered
                + ledger.cookie_replies
                // Each is followed by the keepalive that confirms the session.
                + ledger.completed
                + counters.handshakes_initiated
                + counters.keepalives_sent,
            "each message of the protocol's own has its cause"
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

/// The number that a packet begins with.
fn number_of(packet: &[u8]) -> u64 {
    u64::from_be_bytes(*packet.first_chunk().expect("a number"))
}
