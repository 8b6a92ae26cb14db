//! An identity that is taken out of the file, with a real process and real packets.

use std::net::UdpSocket;
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

/// The gateway behind `router`, and the address that routers send to.
fn start(workspace: &Workspace, router: &Router) -> (Process, std::net::SocketAddr) {
    let next_hop = format!("--next-hop=1-ff00:0:110#7={}", router.address());
    let process = workspace.start(&["--internal=127.0.0.1:0", &next_hop]);
    let internal = process.address("packets go to SCION from ");
    (process, internal)
}

/// How many datagrams wait at `socket`. They are lost.
fn discard_received(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).unwrap();
    let received = std::iter::from_fn(|| socket.recv(&mut [0]).ok()).count();
    socket.set_nonblocking(false).unwrap();
    received
}

#[test]
fn nothing_passes_after_an_identity_is_taken_out_of_the_file() {
    let (revoked, other) = (identity(), identity());
    let workspace = Workspace::new(&[&revoked]);
    let router = Router::bind();
    let (process, internal) = start(&workspace, &router);
    let mut client = workspace.connect(&process, &revoked);
    let address = client.address();
    let (question, answer) = (to_remote(address, 7), from_remote(address));

    // Packets in both directions, one pair at a time, until told that there were enough.
    let mut last_in = None;
    let mut last_out = None;
    let mut exchange = |client: &mut Client| {
        client.send(&question);
        router.socket.send_to(&answer, internal).unwrap();
        thread::sleep(PACE);
        let (ins, outs) = (discard_received(&router.socket), client.discard_received());
        let now = Instant::now();
        last_in = (ins > 0).then_some(now).or(last_in);
        last_out = (outs > 0).then_some(now).or(last_out);
        (ins, outs, last_in, last_out)
    };
    let deadline = Instant::now() + PATIENCE;
    while {
        let (ins, outs, ..) = exchange(&mut client);
        (ins, outs) != (1, 1)
    } {
        assert!(Instant::now() < deadline, "no traffic");
    }

    workspace.list(&[&other]);
    let removed = Instant::now();
    let revocations = || {
        let (_, text) = get(metrics(&process), "/metrics");
        text.lines()
            .filter(|line| line.starts_with("snapgate_tunnel_changes_total{"))
            .find(|line| line.contains("change=\"revoked\""))
            .is_some_and(|line| line.ends_with(" 1"))
    };
    while !revocations() {
        exchange(&mut client);
        assert!(Instant::now() < deadline, "the tunnel stays");
    }
    // What left the gateway before it said so.
    let (_, _, last_in, last_out) = exchange(&mut client);
    let after = |last: Option<Instant>| last.unwrap().saturating_duration_since(removed);
    println!(
        "last packet after the removal: from the client {:?}, to it {:?}",
        after(last_in),
        after(last_out)
    );
    for _ in 0..PACKETS_AFTERWARDS {
        let (ins, outs, ..) = exchange(&mut client);
        assert_eq!((ins, outs), (0, 0), "a packet passed");
    }

    // The address is free for another client at once.
    drop(client);
    let bind = address.to_string();
    let mut next = Client::connect_as(other, &bind, listen(&process), &workspace.key);
    next.send(&to_remote(next.address(), 7));
    assert_eq!(router.receive(), to_remote(address, 7));
    router.socket.send_to(&answer, internal).unwrap();
    assert_eq!(next.receive(), answer);
    let (_, text) = get(metrics(&process), "/metrics");
    assert_eq!(sum(&text, "snapgate_identities"), 1);
}
