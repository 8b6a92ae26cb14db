//! Gateways inside a program, with its authorization and its registry of metrics.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use snapgate::authorization::{Grant, SessionData, SnapTunAuthorization};
use snapgate::config::Forward;
use snapgate::counters::Counters;
use snapgate::drop_reason::DropReason;
use snapgate::gateway::{Drained, Gateway, GatewayBuilder};
use snapgate::keys::PrivateKey;
use testkit::{Client, identity, wait_until};
use x25519_dalek::{PublicKey, StaticSecret};

const LONG: Duration = Duration::from_secs(3600);

/// The identities that a program authorizes.
#[derive(Clone, Default)]
struct Subscribers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    keys: RwLock<HashSet<[u8; 32]>>,
    generation: AtomicU64,
}

impl Subscribers {
    fn of(keys: &[&StaticSecret]) -> Self {
        let subscribers = Self::default();
        subscribers.replace(keys);
        subscribers
    }

    fn replace(&self, keys: &[&StaticSecret]) {
        let keys = keys.iter().map(|key| PublicKey::from(*key).to_bytes());
        *self.0.keys.write().unwrap() = keys.collect();
        self.0.generation.fetch_add(1, Ordering::Release);
    }
}

impl SnapTunAuthorization for Subscribers {
    type SessionData = SessionData;

    fn is_authorized(&self, _now: Instant, identity: &[u8; 32]) -> Option<Grant<SessionData>> {
        let is_subscriber = self.0.keys.read().unwrap().contains(identity);
        is_subscriber.then_some(Grant {
            expires: None,
            session_data: SessionData::default(),
        })
    }

    fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A builder of an echoing gateway, and its public key.
fn builder() -> (GatewayBuilder, PublicKey) {
    let private_key = PrivateKey::generate().unwrap();
    let public_key = PublicKey::from(&private_key.to_secret());
    let builder = Gateway::builder(any_port(), private_key, Forward::Echo);
    (builder, public_key)
}

fn connect(gateway: &Gateway, public_key: &PublicKey, identity: &StaticSecret) -> Client {
    let listen = gateway.local_addresses().tunnels[0];
    Client::connect(identity, any_port(), listen, public_key)
}

fn wait_for(gateway: &Gateway, what: &str, wanted: impl Fn(&Counters) -> bool) {
    wait_until(what, || {
        let mut total = Counters::default();
        gateway
            .counters()
            .iter()
            .for_each(|worker| total.add(worker));
        wanted(&total).then_some(())
    });
}

fn is_refused(gateway: &Gateway, public_key: &PublicKey, identity: &StaticSecret) {
    let listen = gateway.local_addresses().tunnels[0];
    let mut client = Client::new(identity, any_port(), listen, public_key);
    client.initiate();
    let unauthorized = DropReason::Tunnel(snaptun::DropReason::Unauthorized).index();
    wait_for(gateway, "the refusal", |total| {
        total.dropped[unauthorized] > 0
    });
}

#[test]
fn the_program_decides_who_may_open_a_tunnel() {
    let (subscriber, stranger) = (identity(), identity());
    let subscribers = Subscribers::of(&[&subscriber]);
    let (builder, public_key) = builder();
    let gateway = builder.authorization(subscribers.clone()).start().unwrap();
    let mut client = connect(&gateway, &public_key, &subscriber);
    client.send(b"there and back");
    assert_eq!(client.receive(), b"there and back");
    is_refused(&gateway, &public_key, &stranger);

    subscribers.replace(&[&stranger]);
    wait_for(&gateway, "the end of the tunnel", |total| {
        total.shard.tunnels_revoked == 1
    });
    let _welcome = connect(&gateway, &public_key, &stranger);
    assert!(gateway.replace_identities(&[]).is_none());
    assert!(gateway.stop().workers.iter().all(Counters::balance));
}

#[test]
fn by_default_no_identity_is_authorized() {
    let (builder, public_key) = builder();
    let gateway = builder.start().unwrap();
    is_refused(&gateway, &public_key, &identity());
}

#[test]
fn the_registry_of_the_program_has_the_metrics_of_its_gateways() {
    let mut registry = Registry::default();
    let gateways = ["first", "second"].map(|name| {
        let gateway = builder().0.allow_any_identity().start().unwrap();
        let labels = [("gateway".into(), name.into())];
        let labelled = registry.sub_registry_with_labels(labels.into_iter());
        labelled.register_collector(Box::new(gateway.metrics()));
        gateway
    });
    for gateway in gateways {
        gateway.stop();
    }
    let mut scrape = String::new();
    text::encode(&mut scrape, &registry).unwrap();
    for name in ["first", "second"] {
        let series = format!(r#"snapgate_tunnels{{gateway="{name}",worker="0"}} 0"#);
        assert!(scrape.contains(&series), "{scrape}");
    }
    // The metrics of the process are those of the program.
    assert!(!scrape.contains("process_"), "{scrape}");
}

#[test]
fn a_drain_waits_for_active_tunnels() {
    let client_key = identity();
    let (builder, public_key) = builder();
    let gateway = builder.allow_any_identity().start().unwrap();
    let mut client = connect(&gateway, &public_key, &client_key);
    client.send(b"data");
    assert_eq!(client.receive(), b"data");
    let drained = gateway.drain(LONG, Duration::from_millis(700));
    let active_tunnels = Some(1);
    assert_eq!(drained, Drained::TimedOut { active_tunnels });
    client.send(b"still served");
    assert_eq!(client.receive(), b"still served");
    let idle_after = Duration::from_millis(1);
    assert_eq!(gateway.drain(idle_after, Duration::MAX), Drained::Idle);
}
