//! Whatever comes in whatever order, nothing is lost or counted twice.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use snaptun::{Consumed, Payload, ShardConfig, Transmit};

use crate::client::{Client, Received};
use crate::clock::now;
use crate::shard::{In, Out, Shard};

const CLIENTS: u16 = 3;

/// One step of a run. `client` is taken modulo their number, `pick` modulo what there is to pick from.
#[derive(Clone, Debug)]
enum Step {
    /// A client starts a handshake.
    Initiate {
        client: u16,
    },
    /// A client with a session sends a packet, an empty one being a keepalive.
    Send {
        client: u16,
        len: usize,
    },
    /// One of the datagrams on the way to the gateway arrives, in any order.
    Arrive {
        pick: usize,
    },
    /// It arrives, and will arrive again.
    Duplicate {
        pick: usize,
    },
    /// It is lost.
    Lose {
        pick: usize,
    },
    /// It arrives with one bit changed.
    Damage {
        pick: usize,
        bit: usize,
    },
    /// Any bytes arrive from a client's address, or from nobody's.
    Garbage {
        client: u16,
        bytes: Vec<u8>,
    },
    /// A packet comes from SCION for a client's address, or for nobody's.
    Outgoing {
        client: u16,
        len: usize,
    },
    /// Everything on the way to the clients arrives.
    Deliver,
    Revoke {
        client: u16,
    },
    Grant {
        client: u16,
    },
    Restart {
        client: u16,
    },
    /// Time passes, and the timers are looked at.
    Timers {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    // One more than there are stands for an address that nobody has.
    let client = 0..=CLIENTS;
    let pick = any::<usize>();
    prop_oneof![
        3 => client.clone().prop_map(|client| Step::Initiate { client }),
        6 => (client.clone(), 0..100usize).prop_map(|(client, len)| Step::Send { client, len }),
        20 => pick.prop_map(|pick| Step::Arrive { pick }),
        3 => pick.prop_map(|pick| Step::Duplicate { pick }),
        1 => pick.prop_map(|pick| Step::Lose { pick }),
        2 => (pick, any::<usize>()).prop_map(|(pick, bit)| Step::Damage { pick, bit }),
        2 => (client.clone(), prop::collection::vec(any::<u8>(), 0..160))
            .prop_map(|(client, bytes)| Step::Garbage { client, bytes }),
        6 => (client.clone(), 0..100usize).prop_map(|(client, len)| Step::Outgoing { client, len }),
        8 => Just(Step::Deliver),
        1 => client.clone().prop_map(|client| Step::Revoke { client }),
        1 => client.clone().prop_map(|client| Step::Grant { client }),
        1 => client.prop_map(|client| Step::Restart { client }),
        2 => (0..4000u64).prop_map(|millis| Step::Timers { millis }),
    ]
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

struct Run {
    shard: Shard,
    clients: Vec<Client>,
    /// Datagrams on their way to the gateway, each with its sender.
    to_gateway: VecDeque<(u16, Vec<u8>)>,
    to_clients: VecDeque<Transmit>,
    ledger: Ledger,
    /// The number of the last packet that was made. Packets begin with their number.
    last_packet: u64,
    /// What the gateway delivered.
    delivered: HashSet<Vec<u8>>,
    /// The number of the last packet that each client received.
    last_received: HashMap<SocketAddr, u64>,
}

impl Run {
    fn new() -> Self {
        let config = ShardConfig {
            handshakes_per_second_per_ip: 4,
            waiting_packets_per_tunnel: 4,
            tunnels_per_shard: 2,
            half_open_tunnels: 1,
            ..ShardConfig::default()
        };
        let shard = Shard::new(now(), config);
        // The last one is nobody: it has an address and no grant.
        let mut clients: Vec<_> = (0..CLIENTS).map(|n| shard.client(n)).collect();
        clients.push(Client::new(CLIENTS, Shard::public_key()));
        Run {
            shard,
            clients,
            to_gateway: VecDeque::new(),
            to_clients: VecDeque::new(),
            ledger: Ledger::default(),
            last_packet: 0,
            delivered: HashSet::new(),
            last_received: HashMap::new(),
        }
    }

    /// A packet that no other equals, unless it is empty.
    fn packet(&mut self, len: usize) -> Vec<u8> {
        if len == 0 {
            return Vec::new();
        }
        self.last_packet += 1;
        let mut packet = self.last_packet.to_be_bytes().to_vec();
        packet.resize(8 + len, 0);
        packet
    }

    fn pick(&mut self, pick: usize) -> Option<(u16, Vec<u8>)> {
        let index = pick.checked_rem(self.to_gateway.len())?;
        self.to_gateway.remove(index)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Initiate { client } => {
                let initiation = self.clients[usize::from(client)].initiation();
                self.to_gateway.push_back((client, initiation));
            }
            Step::Send { client, len } => {
                let packet = self.packet(len);
                let sender = &mut self.clients[usize::from(client)];
                if sender.has_session() {
                    let datagram = sender.data(&packet);
                    self.to_gateway.push_back((client, datagram));
                }
            }
            Step::Arrive { pick } => {
                if let Some((client, datagram)) = self.pick(pick) {
                    self.arrive(client, &datagram);
                }
            }
            Step::Duplicate { pick } => {
                if let Some((client, datagram)) = self.pick(pick) {
                    self.arrive(client, &datagram);
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
                    self.arrive(client, &datagram);
                }
            }
            Step::Garbage { client, bytes } => self.arrive(client, &bytes),
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
                for (number, client) in self.clients.iter_mut().enumerate() {
                    if let Ok(Some(datagram)) = client.update_timers() {
                        self.to_gateway.push_back((number as u16, datagram));
                    }
                }
            }
        }
        self.check();
    }

    fn arrive(&mut self, client: u16, datagram: &[u8]) {
        let endpoint = self.clients[usize::from(client)].endpoint;
        match self.shard.incoming(datagram, endpoint) {
            In::Delivered(packet, session_data) => {
                assert!(!packet.is_empty(), "a keepalive was delivered");
                assert_eq!(session_data, u32::from(client));
                assert!(self.delivered.insert(packet), "delivered twice");
            }
            In::Consumed(consumed) => match consumed {
                Consumed::HandshakeAnswered { .. } => self.ledger.answered += 1,
                Consumed::CookieReplySent => self.ledger.cookie_replies += 1,
                Consumed::HandshakeCompleted => self.ledger.completed += 1,
                Consumed::CookieReceived | Consumed::Keepalive => {}
            },
            // Only an answer can follow an incoming datagram.
            In::Dropped(_) => assert!(self.shard.sent.is_empty()),
        }
    }

    fn outgoing(&mut self, client: u16, len: usize) {
        let to = self.clients[usize::from(client)].remote();
        let packet = self.packet(len);
        match self.shard.outgoing(&packet, to) {
            Out::Encapsulated(session_data) | Out::Waiting(session_data) => {
                assert_eq!(session_data, u32::from(client));
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
                    let packet = u64::from_be_bytes(*packet.first_chunk().expect("a number"));
                    let last = self.last_received.insert(transmit.to.remote, packet);
                    assert!(last < Some(packet), "a packet twice or out of order");
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
        assert_eq!(counters.tunnels_created, counters.handshakes_answered_new);
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_has_exactly_one_fate(steps in prop::collection::vec(step(), 1..400)) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
    }
}
