//! Single-threaded gateway that echoes packets, with injected faults.

use std::collections::{HashSet, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use snaptun::{
    Endpoint, Grant, HandshakeLimits, Incoming, Outgoing, Packet, PublicKey, ReplayGuard,
    ShardConfig, SnapTunAuthorization, SnapTunServer, StaticSecret, Transmit, Via,
};
use socket2::SockRef;

/// Function from a packet to the packets that are sent back through the tunnel in its place.
pub type Fault = Box<dyn FnMut(&[u8]) -> Vec<Vec<u8>> + Send>;

/// Returns a [`Fault`] that sends every packet back once.
#[must_use]
pub fn no_fault() -> Fault {
    Box::new(|packet| vec![packet.to_vec()])
}

struct Authorized(HashSet<[u8; 32]>);

impl SnapTunAuthorization for Authorized {
    type SessionData = ();

    fn is_authorized(&self, _now: Instant, identity: &[u8; 32]) -> Option<Grant<()>> {
        self.0.contains(identity).then_some(Grant {
            expires: None,
            session_data: (),
        })
    }

    fn generation(&self) -> u64 {
        0
    }
}

/// Receive buffer that Linux allows without privileges (`net.core.rmem_max`), and doubles: room for 512 datagrams of up
/// to 176 bytes. No datagram is lost here: a run at a rate sends at most 500 packets, in total or in the seconds for
/// which a busy machine may suspend this gateway or the generator.
const RECEIVE_BUFFER_BYTES: usize = 212_992;

/// A shard on a socket of 127.0.0.1, served by a thread until this is dropped.
pub struct EchoGateway {
    /// Address at which clients connect.
    pub address: SocketAddr,
    /// Public key of the gateway.
    pub public_key: [u8; 32],
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EchoGateway {
    /// Starts a gateway that admits `identities`.
    #[must_use]
    pub fn start(identities: Vec<[u8; 32]>, fault: Fault) -> Self {
        Self::start_with(identities, fault, ShardConfig::default())
    }

    /// Starts a gateway that admits `identities`, with the limits of `config`.
    #[must_use]
    pub fn start_with(identities: Vec<[u8; 32]>, fault: Fault, config: ShardConfig) -> Self {
        let secret = StaticSecret::from([42; 32]);
        let public_key = PublicKey::from(&secret).to_bytes();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket
            .set_read_timeout(Some(Duration::from_millis(5)))
            .expect("a socket option");
        SockRef::from(&socket)
            .set_recv_buffer_size(RECEIVE_BUFFER_BYTES)
            .expect("a socket option");
        let address = socket.local_addr().expect("a bound socket");
        let authorized = Arc::new(Authorized(identities.into_iter().collect()));
        let now = Instant::now();
        let guard = Arc::new(ReplayGuard::new(now, 100, Duration::from_secs(60)));
        let limits = Arc::new(HandshakeLimits::new(now, &config, 1));
        let server = SnapTunServer::new(now, secret, authorized, guard, limits, config);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || serve(&socket, server, fault, &stop)
        });
        Self {
            address,
            public_key,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for EchoGateway {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the gateway failed");
        }
    }
}

fn serve(
    socket: &UdpSocket,
    mut server: SnapTunServer<Authorized>,
    mut fault: Fault,
    stop: &AtomicBool,
) {
    let mut buffer = vec![0; 65_536];
    let mut send_to_network = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        if let Ok((size, from)) = socket.recv_from(&mut buffer) {
            let endpoint = Endpoint {
                remote: from,
                via: Via {
                    listener: 0,
                    local_ip: None,
                },
            };
            let packet = Packet::from_bytes(BytesMut::from(&buffer[..size]));
            let now = Instant::now();
            server.start_batch();
            let incoming =
                server.handle_incoming_packet(now, packet, endpoint, &mut send_to_network);
            if let Incoming::Delivered { packet, .. } = incoming {
                for reply in fault(&packet) {
                    let reply = Packet::from_bytes(BytesMut::from(&reply[..]));
                    let outgoing =
                        server.handle_outgoing_packet(now, reply, from, &mut send_to_network);
                    assert!(matches!(outgoing, Outgoing::Encapsulated { .. }));
                }
            }
        }
        server.update_timers(Instant::now(), &mut send_to_network);
        for Transmit { to, packet, .. } in send_to_network.drain(..) {
            socket
                .send_to(&packet, to.remote)
                .expect("a gateway can send");
        }
    }
}
