//! A gateway inside another program, with the program's own authorization, accounting and metrics registry.
//!
//! ```text
//! cargo run -p snapgate --example embedded
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use snapgate::authorization::{Grant, Registration, SessionData, SnapTunAuthorization};
use snapgate::config::Forward;
use snapgate::gateway::Gateway;
use snapgate::keys::PrivateKey;
use testkit::{Client, wait_until};
use x25519_dalek::{PublicKey, StaticSecret};

/// The public keys of authorized clients with their session data, in memory. Clones share them. Workers wait for the
/// lock, so it is held for a look-up or a change only.
#[derive(Clone, Default)]
struct Subscribers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    keys: RwLock<HashMap<[u8; 32], SessionData>>,
    generation: AtomicU64,
}

impl Subscribers {
    fn add(&self, key: &PublicKey, registration: Registration) {
        self.change(|keys| keys.insert(key.to_bytes(), registration.into()));
    }

    fn remove(&self, key: &PublicKey) {
        self.change(|keys| keys.remove(key.as_bytes()));
    }

    /// Changes the keys first and the generation second, as [`SnapTunAuthorization::generation`] requires.
    fn change(
        &self,
        change: impl FnOnce(&mut HashMap<[u8; 32], SessionData>) -> Option<SessionData>,
    ) {
        let keys = &self.0.keys;
        change(&mut keys.write().unwrap_or_else(PoisonError::into_inner));
        self.0.generation.fetch_add(1, Ordering::Release);
    }
}

impl SnapTunAuthorization for Subscribers {
    type SessionData = SessionData;

    fn is_authorized(&self, _now: Instant, identity: &[u8; 32]) -> Option<Grant<SessionData>> {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(identity).map(|session_data| Grant {
            expires: None,
            session_data: session_data.clone(),
        })
    }

    fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let subscribers = Subscribers::default();
    let private_key = PrivateKey::generate()?;
    let gateway_key = PublicKey::from(&private_key.to_secret());
    let any_port: SocketAddr = "127.0.0.1:0".parse()?;
    let (usage_records, records) = crossbeam_channel::bounded(1024);
    let gateway = Gateway::builder(any_port, private_key, Forward::Echo)
        .authorization(subscribers.clone())
        .usage_records(usage_records)
        .start()?;
    let listen = gateway.local_addresses().tunnels[0];
    println!("listening for tunnels at {listen}");

    let mut registry = Registry::default();
    registry.register_collector(Box::new(gateway.metrics()));

    // A subscriber opens a tunnel, and its packet is echoed.
    let client_key = StaticSecret::from([7; 32]);
    let client_identity = PublicKey::from(&client_key);
    let registration = Registration {
        pssid: "subscriber-17".into(),
        token_id: "token-4".into(),
    };
    subscribers.add(&client_identity, registration);
    let mut client = Client::connect(&client_key, any_port, listen, &gateway_key);
    client.send(b"hello");
    assert_eq!(client.receive(), b"hello");
    println!("a packet passed the tunnel");

    // A removed subscriber loses its tunnel within a second.
    subscribers.remove(&client_identity);
    let revoked = r#"snapgate_tunnel_changes_total{worker="0",change="revoked"} 1"#;
    wait_until("the tunnel is revoked", || {
        let mut scrape = String::new();
        text::encode(&mut scrape, &registry).ok()?;
        scrape.lines().any(|line| line == revoked).then_some(())
    });
    println!("the tunnel is revoked");

    // Its traffic is accounted to the subscriber.
    let record = records.recv()?;
    let pssid = record.session_data.registration().map(|of| &of.pssid);
    println!("{pssid:?} sent {} bytes", record.traffic.incoming_bytes);

    println!(
        "{:?}",
        gateway.drain(Duration::from_secs(5), Duration::from_secs(20))
    );
    print!("{}", gateway.stop());
    Ok(())
}
