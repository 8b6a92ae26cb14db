//! A path between a client and the gateway that loses, repeats, reorders and changes datagrams.
//!
//! A relay of the test does it, not tc-netem(8): its choices are counted, so the counts of the gateway can be compared,
//! and changed bytes get a correct UDP checksum, as from a faulty middlebox.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use testkit::packets::{FAR_PORT, LOCAL, leaving_by, local, packet};
use testkit::{Client, Metrics, Router, identity, wait_until};

/// Interval at which the relay looks whether it should stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Datagrams that the relay received from the client, by what it did with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fates {
    passed: u64,
    lost: u64,
    repeated: u64,
    changed: u64,
}

impl Fates {
    const fn total(self) -> u64 {
        self.passed + self.lost + self.repeated + self.changed
    }
}

/// A path between one client and the gateway. From client to gateway it damages what it carries while
/// [`is_damaged`](Self::is_damaged) is set; it stops when it is dropped.
struct Path {
    address: SocketAddr,
    is_damaged: Arc<AtomicBool>,
    fates: Arc<Mutex<Fates>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Path {
    fn to(gateway: SocketAddr) -> Self {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(LOOK_INTERVAL)).unwrap();
            socket
        };
        let (inside, outside) = (socket(), socket());
        let address = inside.local_addr().unwrap();
        let is_damaged = Arc::new(AtomicBool::new(false));
        let fates = Arc::new(Mutex::new(Fates::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let client = Arc::new(Mutex::new(None));

        let back = {
            let (inside, outside) = (inside.try_clone().unwrap(), outside.try_clone().unwrap());
            let (client, stop) = (Arc::clone(&client), Arc::clone(&stop));
            thread::spawn(move || {
                receive_all(&outside, &stop, |datagram, _| {
                    let client = client.lock().unwrap().unwrap();
                    inside.send_to(datagram, client).unwrap();
                });
            })
        };
        let forth = {
            let (is_damaged, fates) = (Arc::clone(&is_damaged), Arc::clone(&fates));
            let stop = Arc::clone(&stop);
            let mut damage = Damage::default();
            thread::spawn(move || {
                receive_all(&inside, &stop, |datagram, from| {
                    *client.lock().unwrap() = Some(from);
                    let send = |datagram: &[u8]| {
                        outside.send_to(datagram, gateway).unwrap();
                    };
                    if is_damaged.load(Ordering::Relaxed) {
                        damage.carry(datagram, &mut fates.lock().unwrap(), send);
                    } else {
                        send(datagram);
                    }
                });
            })
        };
        Self {
            address,
            is_damaged,
            fates,
            stop,
            threads: vec![back, forth],
        }
    }

    /// Waits until `datagrams` of the client have a fate.
    fn wait_for(&self, datagrams: u64) -> Fates {
        wait_until("the relay", || {
            let fates = *self.fates.lock().unwrap();
            (fates.total() == datagrams).then_some(fates)
        })
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

/// Calls `take` with each datagram and its sender until `stop` is set.
fn receive_all(socket: &UdpSocket, stop: &AtomicBool, mut take: impl FnMut(&mut [u8], SocketAddr)) {
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => take(&mut buffer[..length], from),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
                "{error}"
            ),
        }
    }
}

/// Damages datagrams in turn, so that a run is repeatable.
#[derive(Default)]
struct Damage {
    number: usize,
    /// A datagram that waits for the next one to overtake it.
    overtaken: Option<Vec<u8>>,
}

impl Damage {
    fn carry(&mut self, datagram: &mut [u8], fates: &mut Fates, send: impl Fn(&[u8])) {
        self.number += 1;
        match self.number % 10 {
            3 => fates.lost += 1,
            5 => {
                send(datagram);
                send(datagram);
                fates.repeated += 1;
            }
            7 => {
                // Any byte except the first: type, index, counter, packet or authentication tag.
                let at = 1 + self.number % (datagram.len() - 1);
                datagram[at] ^= 0x10;
                send(datagram);
                fates.changed += 1;
            }
            8 => {
                self.overtaken = Some(datagram.to_vec());
                fates.passed += 1;
            }
            _ => {
                send(datagram);
                fates.passed += 1;
            }
        }
        if self.number % 10 != 8
            && let Some(late) = self.overtaken.take()
        {
            send(&late);
        }
    }
}

/// Packets sent at once: they fit into every buffer on the way.
const BURST: u64 = 50;
const BURSTS: u64 = 20;

#[test]
fn tunnels_survive_loss_repetition_reordering_and_damage_and_every_datagram_is_counted() {
    let router = Router::bind();
    let gateway = crate::gateway()
        .forward("scion")
        .argument("--internal=127.0.0.1:0")
        .argument(format!("--next-hop={LOCAL}#1={}", router.address()))
        .start();
    let path = Path::to(gateway.listen_address());
    let bind = "127.0.0.1:0".parse().unwrap();
    let mut client = Client::connect(&identity(), bind, path.address, gateway.public_key());
    let address = client.address();
    let numbered = |number: u64| {
        let builder = leaving_by(1, local(address.ip()));
        let payload = number.to_be_bytes();
        packet(|out| builder.append_udp(address.port(), FAR_PORT, &payload, out))
    };
    client.send(&numbered(0));
    assert_eq!(router.receive(), numbered(0));
    // Counters are published at the end of a turn.
    let before = gateway.wait_for_metrics("the first packet", |metrics| {
        metrics.sum("snapgate_sent_packets_total") == 1
    });

    path.is_damaged.store(true, Ordering::Relaxed);
    let mut arrived = BTreeSet::new();
    let mut sent = 0;
    for _ in 0..BURSTS {
        for _ in 0..BURST {
            sent += 1;
            client.send(&numbered(sent));
        }
        let fates = path.wait_for(sent);
        for _ in 0..fates.passed + fates.repeated - arrived.len() as u64 {
            let packet = router.receive();
            let number = packet.last_chunk().unwrap();
            arrived.insert(u64::from_be_bytes(*number));
        }
    }
    let fates = path.wait_for(sent);
    assert!(fates.lost > 0 && fates.repeated > 0 && fates.changed > 0);
    // None of them twice: there are as many numbers as packets.
    assert_eq!(arrived.len() as u64, fates.passed + fates.repeated);

    let reached = fates.passed + 2 * fates.repeated + fates.changed;
    let received = |metrics: &Metrics| {
        let from_tunnels = [("direction", "incoming")];
        metrics.sum_where("snapgate_received_packets_total", &from_tunnels)
            + metrics.sum("snapgate_kernel_dropped_packets_total")
    };
    let metrics = gateway.wait_for_metrics("every datagram", |metrics| {
        received(metrics) - received(&before) == reached
            && metrics.sum("snapgate_dropped_packets_total") == fates.repeated + fates.changed
    });
    // A changed counter may be one that was seen.
    assert!(metrics.dropped("tunnel", "replayed") >= fates.repeated);
    metrics.assert_balanced();

    // The same session, without a handshake.
    path.is_damaged.store(false, Ordering::Relaxed);
    client.send(&numbered(0));
    assert_eq!(router.receive(), numbered(0));
    assert_eq!(gateway.metrics().sum("snapgate_handshakes_total"), 1);
}
