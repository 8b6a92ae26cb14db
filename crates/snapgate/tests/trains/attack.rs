//! A client, its gateway, and an attacker that sends from the client's address.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use snaptun::protocol::{DATA_OVERHEAD_BYTES, INITIATION_BYTES};
use testkit::forge::Datagram;
use testkit::messages::Forgery;
use testkit::{
    Client, Flood, GatewayProcess, GatewaySetup, Host, IpVersion, Metrics, Network, Pace, identity,
};
use udp_shards::Dispatch;

/// Forged datagrams per second.
const FORGED_PER_SECOND: u64 = 20_000;
/// Number of different forged datagrams.
const FORGED: usize = 1_000;
/// Packets of the client per second.
const PACKETS_PER_SECOND: u64 = 5_000;
/// Packets of the client.
pub(crate) const PACKETS: u64 = 10_000;
/// Handshakes of the client per second: half of what one address may begin without a cookie.
const INITIATIONS_PER_SECOND: u64 = 50;
/// Time without progress after which missing packets count as lost.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// Locks out the other tests of this program, whose load would disturb this one.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client with a tunnel under attack.
pub(crate) struct Attacked {
    gateway: GatewayProcess,
    client: Client,
    flood: Flood,
    gateway_host: Host,
    _network: Network,
}

impl Attacked {
    /// Connects the client and starts the attack.
    pub(crate) fn start(forgery: Forgery, version: IpVersion, dispatch: Dispatch) -> Self {
        let mut network = Network::new();
        let [gateway_host, client_host, attacker] = [(); 3].map(|()| network.add_host());
        gateway_host.link.emulate_network_cards();
        let identity = identity();
        let gateway = GatewaySetup::new(env!("CARGO_BIN_EXE_snapgate"))
            .namespace(&gateway_host.namespace)
            .listen(SocketAddr::new(gateway_host.ip(version), 51_820))
            .identities(&[&identity])
            .workers(2)
            .dispatch(dispatch)
            .forward("sink")
            .start();
        let listen = gateway.listen_address();
        let bind = SocketAddr::new(client_host.ip(version), 0);
        let mut client = client_host
            .namespace
            .run(|| Client::connect(&identity, bind, listen, gateway.public_key()));

        let receiver = client.tunnel().session().to_gateway;
        let from = client.local_address();
        let packets = (0..FORGED)
            .map(|number| {
                let message = forgery.message(number, receiver, gateway.public_key());
                Datagram::new(from, listen, &message).to_ip_packet()
            })
            .collect();
        Self {
            flood: Flood::start(&attacker.namespace, FORGED_PER_SECOND, packets),
            gateway,
            client,
            gateway_host,
            _network: network,
        }
    }

    /// Sends packets through the tunnel at a steady rate. Returns the number that the gateway did not deliver.
    pub(crate) fn lost_packets(&mut self) -> u64 {
        let packet = [7; INITIATION_BYTES - DATA_OVERHEAD_BYTES];
        let mut pace = Pace::new(PACKETS_PER_SECOND);
        let mut sent = 0;
        while sent < PACKETS {
            for _ in 0..pace.next_burst() {
                self.client.send(&packet);
                sent += 1;
            }
        }
        let mut received = 0;
        let mut progress = Instant::now();
        while received < sent && progress.elapsed() < LOST_AFTER {
            let now = delivered(&self.gateway.metrics());
            if now > received {
                (received, progress) = (now, Instant::now());
            }
        }
        sent - received
    }

    /// Begins handshakes at a steady rate, each once. Returns the number that the gateway answered.
    pub(crate) fn answered_initiations(&mut self, initiations: usize) -> usize {
        let mut pace = Pace::new(INITIATIONS_PER_SECOND);
        (0..initiations)
            .filter(|_| {
                pace.next_burst();
                let initiation = self.client.tunnel().initiate();
                self.client.send_datagram(&initiation);
                self.is_answered(sender_of(&initiation))
            })
            .count()
    }

    /// Waits for a response to the initiation with this sender index; returns false if there is none. Real clients also
    /// wait before the next initiation: of two that overtake each other, WireGuard rejects one.
    fn is_answered(&mut self, index: [u8; 4]) -> bool {
        let sent_at = Instant::now();
        while sent_at.elapsed() < LOST_AFTER {
            match self.client.try_receive_datagram() {
                Some(message) if message[0] == 2 && receiver_of_response(&message) == index => {
                    return true;
                }
                Some(_) => {}
                None => std::thread::yield_now(),
            }
        }
        false
    }

    /// Ends the attack, checks that it took place and that the network lost nothing, and returns the gateway's metrics.
    pub(crate) fn end(self) -> Metrics {
        let metrics = self.gateway.metrics();
        let forged = self.flood.stop();
        let counters = self.gateway_host.link.left.counters();
        assert_eq!(counters.receive_drops, 0, "the network lost packets");
        assert!(forged > 0, "there was no attack");
        self.gateway.kill();
        metrics
    }
}

fn delivered(metrics: &Metrics) -> u64 {
    metrics.sum_where("snapgate_delivered_packets_total", &[("kind", "sink")])
}

/// Returns the sender index of a handshake message.
fn sender_of(message: &[u8]) -> [u8; 4] {
    message[4..8].try_into().unwrap()
}

/// Returns the receiver index of a response.
fn receiver_of_response(message: &[u8]) -> [u8; 4] {
    message[8..12].try_into().unwrap()
}
