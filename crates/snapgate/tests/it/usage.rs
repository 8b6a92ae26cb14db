//! Records of the traffic in tunnels, received by an embedding program.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use jiff::{SignedDuration, Timestamp};
use snapgate::accounting::{Traffic, UsageRecord};
use snapgate::authorization::{Registered, Registration, RegistrationChange};
use snapgate::config::Forward;
use snapgate::counters::Counters;
use snapgate::gateway::Gateway;
use snapgate::keys::PrivateKey;
use testkit::{Client, PATIENCE, identity, wait_until};
use x25519_dalek::{PublicKey, StaticSecret};

/// An echoing gateway with a registry, and the receiver of its records.
struct World {
    gateway: Gateway,
    public_key: PublicKey,
    records: Receiver<UsageRecord>,
}

impl World {
    fn new(capacity: usize) -> Self {
        let private_key = PrivateKey::generate().unwrap();
        let public_key = PublicKey::from(&private_key.to_secret());
        let (sender, records) = crossbeam_channel::bounded(capacity);
        let any_port = "127.0.0.1:0".parse().unwrap();
        let gateway = Gateway::builder(any_port, private_key, Forward::Echo)
            .workers(NonZeroUsize::new(2).unwrap())
            .usage_records(sender)
            .start()
            .unwrap();
        Self {
            gateway,
            public_key,
            records,
        }
    }

    fn register(&self, key: &StaticSecret, registration: Option<(&str, &str)>) {
        let registered = registration.map(|(pssid, token_id)| Registered {
            expires: Timestamp::now() + SignedDuration::from_hours(1),
            registration: Arc::new(Registration {
                pssid: pssid.into(),
                token_id: token_id.into(),
            }),
        });
        self.gateway
            .registry()
            .unwrap()
            .apply(&[RegistrationChange {
                identity: PublicKey::from(key).to_bytes(),
                registered,
            }]);
    }

    fn connect(&self, key: &StaticSecret) -> Client {
        let listen = self.gateway.local_addresses().tunnels[0];
        let any_port = "127.0.0.1:0".parse().unwrap();
        Client::connect(key, any_port, listen, &self.public_key)
    }

    fn next_record(&self) -> UsageRecord {
        self.records.recv_timeout(PATIENCE).unwrap()
    }

    fn wait_for(&self, what: &str, wanted: impl Fn(&Counters) -> bool) {
        wait_until(what, || {
            let mut total = Counters::default();
            let workers = self.gateway.counters();
            workers.iter().for_each(|worker| total.add(worker));
            wanted(&total).then_some(())
        });
    }
}

fn echo(client: &mut Client, packets: &[&[u8]]) {
    for packet in packets {
        client.send(packet);
        assert_eq!(client.receive(), *packet);
    }
}

fn both_ways(packets: u64, bytes: u64) -> Traffic {
    Traffic {
        incoming_packets: packets,
        incoming_bytes: bytes,
        outgoing_packets: packets,
        outgoing_bytes: bytes,
    }
}

fn token_id(record: &UsageRecord) -> Option<&str> {
    let registration = record.session_data.registration()?;
    Some(&registration.token_id)
}

#[test]
fn each_tunnel_has_a_record_when_the_gateway_stops() {
    let world = World::new(8);
    let keys = [identity(), identity(), identity()];
    let mut clients = Vec::new();
    let before = Timestamp::now();
    for (number, key) in keys.iter().enumerate() {
        let token_id = number.to_string();
        world.register(key, Some(("subscriber", &token_id)));
        let mut client = world.connect(key);
        (0..=number).for_each(|_| echo(&mut client, &[b"four"]));
        clients.push(client);
    }
    let World {
        gateway, records, ..
    } = world;
    gateway.stop();
    let after = Timestamp::now();
    // The channel is closed.
    let mut records: Vec<_> = records.iter().collect();
    assert_eq!(records.len(), keys.len());
    records.sort_by_key(|record| record.traffic.incoming_packets);
    for (number, record) in records.iter().enumerate() {
        let packets = number as u64 + 1;
        assert_eq!(record.traffic, both_ways(packets, 4 * packets));
        assert_eq!(token_id(record), Some(number.to_string().as_str()));
        let key = PublicKey::from(&keys[number]);
        assert_eq!(record.identity.as_bytes(), key.as_bytes());
        assert_eq!(record.remote, clients[number].local_address());
        // The clocks are read one after the other.
        let tolerance = SignedDuration::from_millis(10);
        assert!(before - tolerance <= record.start && record.start <= record.end);
        assert!(record.end <= after);
    }
}

#[test]
fn a_tunnel_has_a_record_for_each_subscription() {
    let world = World::new(8);
    let key = identity();
    world.register(&key, Some(("first", "1")));
    let mut client = world.connect(&key);
    echo(&mut client, &[b"one", b"two"]);
    // A renewal is used when the grant in the tunnel ends.
    world.register(&key, Some(("first", "2")));
    echo(&mut client, &[b"three"]);
    assert!(world.records.is_empty());
    // Another subscription is used in the next round of the timers.
    world.register(&key, Some(("second", "3")));
    let first = world.next_record();
    echo(&mut client, &[b"four"]);
    assert_eq!(
        (token_id(&first), first.traffic),
        (Some("1"), both_ways(3, 11))
    );
    world.register(&key, None);
    let second = world.next_record();
    assert_eq!(
        (token_id(&second), second.traffic),
        (Some("3"), both_ways(1, 4))
    );
    world.gateway.stop();
    assert_eq!(world.records.iter().count(), 0);
}

#[test]
fn records_without_room_are_lost_and_counted() {
    let world = World::new(2);
    let keys = [identity(), identity(), identity(), identity()];
    for key in &keys {
        world.register(key, Some(("subscriber", "1")));
        // Afterwards the gateway knows that the client uses the tunnel.
        echo(&mut world.connect(key), &[b"packet"]);
    }
    keys.iter().for_each(|key| world.register(key, None));
    world.wait_for("two lost records", |total| {
        (total.usage_records_queued, total.usage_records_lost) == (2, 2)
    });
    world.gateway.stop();
    assert_eq!(world.records.iter().count(), 2);
}

#[test]
fn a_gateway_without_a_receiver_stops() {
    let world = World::new(1);
    let key = identity();
    world.register(&key, Some(("subscriber", "1")));
    let mut clients = [
        world.connect(&key),
        world.connect(&key),
        world.connect(&key),
    ];
    clients
        .iter_mut()
        .for_each(|client| echo(client, &[b"packet"]));
    drop(world.records);
    let total = world.gateway.stop().total();
    assert_eq!(
        (total.usage_records_queued, total.usage_records_lost),
        (0, 3)
    );
    assert!(total.balance());
}
