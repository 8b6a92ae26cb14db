//! A SNAPtun server: one shard on one UDP socket. It authorizes every identity and echoes the packets in its tunnels.
//!
//! Usage: `cargo run -p snaptun --example one_socket -- [ADDRESS:PORT]`

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program owns the clock, the socket and the terminal"
)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use snaptun::{
    Endpoint, Grant, HandshakeLimits, Incoming, Outgoing, Packet, ReplayGuard, ShardConfig,
    SnapTunAuthorization, SnapTunServer, StaticKey, Transmit, Via,
};

/// Authorizes every identity. A real server looks it up without blocking, and returns another generation after every
/// change.
struct AnyIdentity;

impl SnapTunAuthorization for AnyIdentity {
    type SessionData = ();

    fn is_authorized(&self, _now: Instant, _identity: &[u8; 32]) -> Option<Grant<()>> {
        Some(Grant {
            expires: None,
            session_data: (),
        })
    }

    fn generation(&self) -> u64 {
        0
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let socket = UdpSocket::bind(address.as_deref().unwrap_or("127.0.0.1:51820"))?;
    // A new key for every run. A real server loads the key that its clients know.
    let key = StaticKey::try_filled(|bytes| File::open("/dev/urandom")?.read_exact(bytes))?;
    let public_key: String = key
        .public_key()
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!("address {}", socket.local_addr()?);
    println!("public key {public_key}");
    serve(&socket, key)
}

/// Serves until an I/O error.
fn serve(socket: &UdpSocket, key: StaticKey) -> io::Result<()> {
    let now = Instant::now();
    let config = ShardConfig::default();
    let replay_guard = Arc::new(ReplayGuard::new(
        now,
        ReplayGuard::IDENTITIES_DEFAULT,
        ReplayGuard::TIMESTAMP_TOLERANCE_DEFAULT,
    ));
    let limits = Arc::new(HandshakeLimits::new(now, &config, 1));
    let mut shard = SnapTunServer::new(
        now,
        key,
        Arc::new(AnyIdentity),
        Arc::clone(&replay_guard),
        limits,
        config,
    );
    let mut buffer = vec![0; 65_536];
    let mut send_to_network = VecDeque::new();
    loop {
        // `set_read_timeout` refuses zero.
        let timeout = shard.next_timer().saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        let received = match socket.recv_from(&mut buffer) {
            Ok(received) => Some(received),
            // Nothing in time, or a signal: with a timeout, Linux does not restart the call (signal(7)).
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        replay_guard.set_clock(now, Some(SystemTime::now()));
        shard.start_batch();
        if let Some((length, remote)) = received {
            let datagram = Packet::copy_from(&buffer[..length]);
            let via = Via::default();
            let from = Endpoint { remote, via };
            match shard.handle_incoming_packet(now, datagram, from, &mut send_to_network) {
                Incoming::Delivered { packet, .. } => {
                    let echo =
                        shard.handle_outgoing_packet(now, packet, remote, &mut send_to_network);
                    if let Outgoing::Dropped { reason, .. } = echo {
                        eprintln!("packet to {remote} dropped: {reason}");
                    }
                }
                Incoming::Consumed(consumed) => println!("{consumed:?} from {remote}"),
                Incoming::Dropped(reason) => eprintln!("datagram from {remote} dropped: {reason}"),
            }
        }
        shard.update_timers(now, &mut send_to_network);
        for Transmit { to, packet, .. } in send_to_network.drain(..) {
            if let Err(error) = socket.send_to(&packet, to.remote) {
                eprintln!("datagram to {} not sent: {error}", to.remote);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use snaptun::PublicKey;
    use testkit::shard::{Client, Received};

    use super::*;

    #[test]
    fn a_client_gets_its_packet_back() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let key = StaticKey::from(snaptun::StaticSecret::from([7; 32]));
        let mut client = Client::new(1, PublicKey::from(&key.to_secret()));
        std::thread::spawn(move || serve(&server, key));

        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut buffer = [0; 2048];
        let mut exchange = |datagram: &[u8]| {
            socket.send_to(datagram, address).unwrap();
            let length = socket.recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        };
        let response = exchange(&client.initiation());
        let Received::Answer(keepalive) = client.receive(&response) else {
            panic!("the client did not accept the response");
        };
        assert_eq!(
            client.observed_address(),
            Some(socket.local_addr().unwrap())
        );
        socket.send_to(&keepalive, address).unwrap();
        let echo = exchange(&client.data(b"packet"));
        assert_eq!(client.receive(&echo), Received::Data(b"packet".to_vec()));
    }
}
