//! An identity that is taken out of the file, with a real process and real packets.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, PATIENCE};
use crate::http::{get, sum};
use crate::packets::{Router, from_remote, to_remote};
use crate::process::Process;
use crate::workspace::{Workspace, identity, listen, metrics};

/// Time between packets in each direction.
const PACE: Duration = Duration::from_millis(1);

/// After the tunnel is gone so many packets are sent each way, of which none may arrive.
const PACKETS_AFTERWARDS: usize = 100;

/// A client and a router that send to each other through a gateway.
struct Traffic {
    client: Client,
    router: Router,
    internal: SocketAddr,
    /// When a packet of the client last arrived at the router.
    last_from_client: Option<Instant>,
    /// When a packet of the router last arrived at the client.
    last_to_client: Option<Instant>,
}

impl Traffic {
    /// Sends a packet each way, and returns how many arrived, from the client and at it. One that is late counts
    /// next time.
    fn exchange(&mut self) -> (usize, usize) {
        let address = self.client.address();
        self.client.send(&to_remote(address, 7));
        let router = &self.router.socket;
        router
            .send_to(&from_remote(address), self.internal)
            .unwrap();
        thread::sleep(PACE);
        let arrived = (discard_received(router), self.client.discard_received());
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

/// How many datagrams wait at `socket`. They are lost.
fn discard_received(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).unwrap();
    let received = std::iter::from_fn(|| socket.recv(&mut [0]).ok()).count();
    socket.set_nonblocking(false).unwrap();
    received
}

/// Whether a tunnel was revoked.
fn has_revoked(process: &Process) -> bool {
    let (_, text) = get(metrics(process), "/metrics");
    text.lines()
        .any(|line| line.contains("change=\"revoked\"") && line.ends_with(" 1"))
}

#[test]
fn nothing_passes_after_an_identity_is_taken_out_of_the_file() {
    let (revoked, other) = (identity(), identity());
    let workspace = Workspace::new(&[&revoked]);
    let router = Router::bind();
    let next_hop = format!("--next-hop=1-ff00:0:110#7={}", router.address());
    let process = workspace.start(&["--internal=127.0.0.1:0", &next_hop]);
    let mut traffic = Traffic {
        client: workspace.connect(&process, &revoked),
        router,
        internal: process.address("packets go to SCION from "),
        last_from_client: None,
        last_to_client: None,
    };
    let deadline = Instant::now() + PATIENCE;
    while traffic.exchange() != (1, 1) {
        assert!(Instant::now() < deadline, "no traffic");
    }

    workspace.list(&[&other]);
    let removed = Instant::now();
    while !has_revoked(&process) {
        traffic.exchange();
        assert!(Instant::now() < deadline, "the tunnel stays");
    }
    // What left the gateway before it said so.
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

    // The address is free for another client at once.
    let Traffic {
        client,
        router,
        internal,
        ..
    } = traffic;
    let address = client.address();
    let mut next = Client::connect_on(
        client.into_socket(),
        other,
        listen(&process),
        &workspace.key,
    );
    next.send(&to_remote(address, 7));
    assert_eq!(router.receive(), to_remote(address, 7));
    let answer = from_remote(address);
    router.socket.send_to(&answer, internal).unwrap();
    assert_eq!(next.receive(), answer);
    let (_, text) = get(metrics(&process), "/metrics");
    assert_eq!(sum(&text, "snapgate_identities"), 1);
}
