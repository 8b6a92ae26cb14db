//! A gateway that is killed, with a state directory.

use std::time::{Duration, Instant};

use snapgate_e2e::{EchoServer, Snap, Stream, until};

/// Clients that send all the time.
const CLIENTS: usize = 10;

/// Limit for service after the new process is ready. A client detects the loss of its session after 15 s.
const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_killed_gateway_are_served_at_once_without_registering_again() {
    let mut snap = Snap::start().await;
    let remote = snap.remote_application().await;
    let server = EchoServer::start(&remote.socket);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let application = snap.application().await;
        let stream = Stream::start(&application.socket, server.address());
        clients.push((application, stream));
    }
    for (_, stream) in &mut clients {
        stream.more(10).await;
    }
    until("records of all tunnels", async || {
        let records = snap.metrics().sum("snapgate_state_records");
        (records == CLIENTS as u64).then_some(())
    })
    .await;

    let killed = Instant::now();
    snap.kill_gateway();
    snap.start_gateway();
    let ready = Instant::now();
    let mut slowest = Duration::ZERO;
    for (_, stream) in &mut clients {
        let served = stream.served_after(ready).await;
        slowest = slowest.max(served - ready);
        stream.more(50).await;
    }
    println!(
        "killed and started in {:.1?}; {CLIENTS} clients served {slowest:.1?} after the new process was ready",
        ready - killed
    );
    for (_, stream) in clients {
        let record = stream.finish().await;
        println!("{record}");
        assert_eq!(record.gaps().len(), 1, "{record}");
        assert_eq!(record.out_of_order(), 0, "{record}");
    }
    assert!(slowest < AT_ONCE, "{slowest:?}");
    // They need not register again, and new ones can.
    snap.application().await;
}
