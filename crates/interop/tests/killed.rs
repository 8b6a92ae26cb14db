//! Test of a gateway that is killed under load and started again.
//!
//! A separate test program, because a child process has copies of all its sockets until it executes its program.
#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml allows this in test functions, but not in their helpers"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use snapgate_interop::{SnapTunClient, free_socket, in_time, private_key};
use testkit::{GatewayProcess, GatewaySetup};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Number of clients that send all the time.
const CLIENTS: usize = 10;

/// Interval between packets of a client.
const SEND_INTERVAL: Duration = Duration::from_millis(50);

/// With a state directory the gateway initiates the handshakes, and clients are served at once. Without one they detect
/// the loss of their sessions after 15 s.
#[tokio::test]
async fn clients_of_a_gateway_that_is_killed_are_served_at_once_with_a_state_directory() {
    let state_dir = tempfile::tempdir().unwrap();
    let (with, without) = tokio::join!(
        times_to_service(Some(state_dir.path())),
        times_to_service(None),
    );
    println!("served after the new process was ready, slowest and fastest of {CLIENTS} clients:");
    for (what, times) in [("with --state-dir", &with), ("without", &without)] {
        println!("{what:>16}  {:?}  {:?}", times[CLIENTS - 1], times[0]);
    }
    // Relative, because the machine may be slow.
    assert!(with[CLIENTS - 1] * 3 < without[0], "{with:?} {without:?}");
}

/// Waits until a state file contains all clients.
async fn until_written(file: &Path) {
    /// Length of the record of an IPv4 tunnel.
    const RECORD_BYTES: u64 = 47;
    /// Length of a file without records.
    const EMPTY_BYTES: u64 = 92;

    let mut interval = tokio::time::interval(Duration::from_millis(10));
    while std::fs::metadata(file).map_or(0, |metadata| metadata.len())
        < EMPTY_BYTES + CLIENTS as u64 * RECORD_BYTES
    {
        interval.tick().await;
    }
}

/// Kills a gateway while clients send, and starts another. Returns the time from its readiness to the first packet back
/// for each client, in ascending order.
async fn times_to_service(state_dir: Option<&Path>) -> Vec<Duration> {
    let mut setup = GatewaySetup::new(env!("CARGO_BIN_EXE_snapgate-to-kill")).workers(2);
    if let Some(directory) = state_dir {
        setup = setup.argument(format!("--state-dir={}", directory.display()));
    }
    let (gateway, _) = start(&setup).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let listen = gateway.listen_address();
        let socket = free_socket(listen).await;
        let key = gateway.public_key();
        let client = SnapTunClient::connect_by_key(key, listen, &private_key(), socket).await;
        clients.push(Talker::start(client));
    }
    for client in &mut clients {
        client.is_served().await;
    }
    if let Some(state_dir) = state_dir {
        in_time(
            "records of all clients in the state file",
            until_written(&state_dir.join("tunnels")),
        )
        .await;
    }

    gateway.kill();
    let (_gateway, ready) = start(&setup).await;
    let mut times = Vec::new();
    for client in &mut clients {
        times.push(client.is_served_after(ready).await.duration_since(ready));
    }
    times.sort_unstable();
    times
}

/// Starts the gateway while clients continue to send. Returns it with the time at which it was ready.
async fn start(setup: &GatewaySetup) -> (GatewayProcess, Instant) {
    let setup = setup.clone();
    let start = move || (setup.start(), Instant::now());
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// A client that sends all the time, and records when packets come back.
struct Talker {
    served_at: watch::Receiver<Vec<Instant>>,
    tasks: [JoinHandle<()>; 2],
}

impl Talker {
    fn start(client: SnapTunClient) -> Self {
        let client = Arc::new(client);
        let (served, served_at) = watch::channel(Vec::new());
        let sender = Arc::clone(&client);
        let send = async move {
            let mut interval = tokio::time::interval(SEND_INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                sender.send(&[0x5a; 200]).await;
            }
        };
        let receive = async move {
            loop {
                client.receive().await;
                served.send_modify(|times| times.push(Instant::now()));
            }
        };
        Self {
            served_at,
            tasks: [tokio::spawn(send), tokio::spawn(receive)],
        }
    }

    async fn is_served(&mut self) {
        let served = self.served_at.wait_for(|times| !times.is_empty());
        in_time("a packet back", served).await.unwrap();
    }

    /// Returns the time of the first packet that came back after `start`.
    async fn is_served_after(&mut self, start: Instant) -> Instant {
        let after = |times: &Vec<Instant>| times.iter().copied().find(|at| *at > start);
        let served = self.served_at.wait_for(|times| after(times).is_some());
        after(&in_time("a packet back", served).await.unwrap()).unwrap()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
