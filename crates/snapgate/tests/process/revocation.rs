//! Removal of an identity from the file, with a process and packets.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use testkit::packets::{LOCAL, from_remote, to_remote};
use testkit::{Client, GatewayProcess, PATIENCE, Router, identity, own_address};

use crate::gateway;

/// Time between packets in each direction.
const PACE: Duration = Duration::from_millis(1);

/// Packets sent each way after the tunnel is gone; none may arrive.
const PACKETS_AFTERWARDS: usize = 100;

/// A client and a router that send to each other through a gateway.
struct Traffic {
    client: Client,
    router: Router,
    internal: SocketAddr,
    /// Time of the last packet that arrived from the client at the router.
    last_from_client: Option<Instant>,
    /// Time of the last packet that arrived from the router at the client.
    last_to_client: Option<Instant>,
}

impl Traffic {
    /// Sends a packet each way. Returns the numbers of packets that arrived at the router and at the client; a late
    /// packet counts next time.
    fn exchange(&mut self) -> (usize, usize) {
        let address = self.client.address();
        self.client.send(&to_remote(address, 7));
        self.router.send_to(&from_remote(address), self.internal);
        thread::sleep(PACE);
        let arrived = (
            self.router.discard_received(),
            self.client.discard_received(),
        );
        let now = Instant::now();
        if arrived.0 > 0 {
            self.last_from_client = Some(now);
        }
        if arrived.1 > 0 {
            self.last_to_client = Some(now);
        }
        arrived
    }
}

fn has_revoked(gateway: &GatewayProcess) -> bool {
    let change = [("change", "revoked")];
    let revoked = gateway
        .metrics()
        .sum_where("snapgate_tunnel_changes_total", &change);
    revoked == 1
}

#[test]
fn nothing_passes_after_an_identity_is_removed() {
    let (revoked, other) = (identity(), identity());
    let router = Router::bind();
    let internal = own_address();
    let gateway = gateway()
        .identities(&[&revoked])
        .forward("scion")
        .argument(format!("--internal={internal}"))
        .argument(format!("--next-hop={LOCAL}#7={}", router.address()))
        .start();
    let mut traffic = Traffic {
        client: gateway.connect(&revoked),
        router,
        internal,
        last_from_client: None,
        last_to_client: None,
    };
    let deadline = Instant::now() + PATIENCE;
    while traffic.exchange() != (1, 1) {
        assert!(Instant::now() < deadline, "no traffic");
    }

    gateway.replace_identities(&[&other]);
    let removed = Instant::now();
    while !has_revoked(&gateway) {
        traffic.exchange();
        assert!(Instant::now() < deadline, "the tunnel stays");
    }
    // Packets that left the gateway before it counted the revocation.
    traffic.exchange();
    let after = |last: Option<Instant>| last.unwrap().saturating_duration_since(removed);
    println!(
        "last packet after the removal: from the client {:?}, to it {:?}",
        after(traffic.last_from_client),
        after(traffic.last_to_client)
    );
    for _ in 0..PACKETS_AFTERWARDS {
        assert_eq!(traffic.exchange(), (0, 0), "a packet passed");
    }

    // The address is available to another client at once.
    let Traffic {
        mut client, router, ..
    } = traffic;
    let address = client.address();
    client.change_identity(&other);
    client.handshake();
    client.send(&to_remote(address, 7));
    assert_eq!(router.receive(), to_remote(address, 7));
    router.send_to(&from_remote(address), internal);
    assert_eq!(client.receive(), from_remote(address));
    assert_eq!(gateway.metrics().sum("snapgate_identities"), 1);
}
