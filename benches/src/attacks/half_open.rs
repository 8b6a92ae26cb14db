//! Attack on the memory of packets that wait for a session: authorized identities open tunnels without confirming them,
//! and send packets to these. Meanwhile packets for an honest client wait for its confirmation, too.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use scion_packet::ScionAddress;
use scion_packet::build::PacketBuilder;
use snaptun::StaticSecret;
use testkit::{Pace, Tunnel, TunnelEvent};

use super::attacker::{Aim, Attacker, Tally};
use super::rekeys::Client;
use crate::harness::error::BenchError;
use crate::{LOCAL_ISD_AS, StepError, gateway_public_key};

/// Number of identities of the attackers.
pub(crate) const ATTACKERS: usize = 4;

/// Number of identities in the attack: the attackers, an honest client that makes a new tunnel every second, and
/// another that sends packets to it.
pub(crate) const IDENTITIES: usize = ATTACKERS + 2;

/// Number of half-open tunnels per attacker. With the tunnel that it sends from, they reach the limit
/// (`--tunnels-per-identity`).
pub(crate) const HALF_OPEN: usize = 63;

/// First address of half-open tunnels, and addresses of the clients, on loopback.
const FIRST_HALF_OPEN: Ipv4Addr = Ipv4Addr::new(127, 131, 0, 1);
const SENDERS: Ipv4Addr = Ipv4Addr::new(127, 132, 0, 1);
const HONEST_SENDER: Ipv4Addr = Ipv4Addr::new(127, 132, 0, 2);
const HONEST_RECEIVER: Ipv4Addr = Ipv4Addr::new(127, 132, 0, 3);

/// Packets per second to half-open tunnels, and their length. They fill the memory of all tunnels in 3 s.
const PACKETS_PER_SECOND: u64 = 20_000;
const PACKET_BYTES: usize = 1_200;

/// Number of packets that wait for the honest client, their length, and the interval.
const HONEST_PACKETS: u64 = 20;
const HONEST_PACKET_BYTES: usize = 200;
const HONEST_EVERY: Duration = Duration::from_secs(1);

/// Time until the honest client confirms its new tunnel: a long round trip.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Time limit for an answer or a packet.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct HalfOpen {
    gateway: SocketAddr,
    /// One tunnel per attacker.
    senders: Vec<Client>,
    /// Addresses of half-open tunnels.
    half_open: Vec<SocketAddr>,
    /// Sockets at these addresses, which keep the ports in use.
    _sockets: Vec<UdpSocket>,
    next: usize,
    pace: Pace,
    honest_sender: Client,
    honest_identity: StaticSecret,
    honest_due: Instant,
}

impl HalfOpen {
    pub(crate) fn new(aim: &Aim<'_>) -> Result<Self, BenchError> {
        let gateway = aim.gateway;
        let [attackers @ .., honest_sender, honest_receiver] = aim.accomplices else {
            return Err(BenchError::NoVictim);
        };
        let mut senders = Vec::new();
        let (mut half_open, mut sockets) = (Vec::new(), Vec::new());
        for (number, attacker) in attackers.iter().enumerate() {
            senders.push(Client::connect(attacker, (SENDERS, 0).into(), gateway)?);
            for tunnel in 0..HALF_OPEN {
                let ip = FIRST_HALF_OPEN.to_bits() + (number * HALF_OPEN + tunnel) as u32;
                let bind = (Ipv4Addr::from_bits(ip), 0);
                let socket = UdpSocket::bind(bind).map_err(BenchError::NoPort)?;
                let (_, confirmation) = answered(attacker, &socket, gateway)?;
                if confirmation.is_none() {
                    return Err(BenchError::NoAnswer);
                }
                half_open.push(socket.local_addr().map_err(BenchError::NoPort)?);
                sockets.push(socket);
            }
        }
        Ok(Self {
            gateway,
            senders,
            half_open,
            _sockets: sockets,
            next: 0,
            pace: Pace::new(PACKETS_PER_SECOND),
            honest_sender: Client::connect(honest_sender, (HONEST_SENDER, 0).into(), gateway)?,
            honest_identity: honest_receiver.clone(),
            honest_due: Instant::now(),
        })
    }

    /// Opens a new tunnel of the honest client, sends packets to it before it is confirmed, and counts those that
    /// arrive after the confirmation.
    fn probe(&mut self, tally: &mut Tally) -> Result<(), BenchError> {
        tally.probes += HONEST_PACKETS;
        let socket = UdpSocket::bind((HONEST_RECEIVER, 0)).map_err(BenchError::NoPort)?;
        let address = socket.local_addr().map_err(BenchError::NoPort)?;
        let (mut tunnel, confirmation) = answered(&self.honest_identity, &socket, self.gateway)?;
        let Some(confirmation) = confirmation else {
            return Ok(());
        };
        for _ in 0..HONEST_PACKETS {
            self.honest_sender.send_to(address, HONEST_PACKET_BYTES)?;
        }
        thread::sleep(ROUND_TRIP);
        let failed = BenchError::Rekey;
        socket
            .send_to(&confirmation, self.gateway)
            .map_err(failed)?;
        let end = Instant::now() + PATIENCE;
        let mut arrived = 0;
        let mut datagram = [0; 2048];
        while arrived < HONEST_PACKETS && Instant::now() < end {
            let Ok((bytes, _)) = socket.recv_from(&mut datagram) else {
                break;
            };
            if let TunnelEvent::Packet(_) = tunnel.handle(&datagram[..bytes]) {
                arrived += 1;
            }
        }
        tally.probes_answered += arrived;
        Ok(())
    }
}

impl Attacker for HalfOpen {
    fn send_batch(&mut self, tally: &mut Tally) -> io::Result<()> {
        if Instant::now() >= self.honest_due {
            self.probe(tally).map_err(io::Error::other)?;
            self.honest_due = Instant::now() + HONEST_EVERY;
        }
        let due = self.pace.take(32);
        for _ in 0..due {
            let sender = self.next % self.senders.len();
            let to = self.half_open[self.next % self.half_open.len()];
            self.next += 1;
            self.senders[sender]
                .send_to(to, PACKET_BYTES)
                .map_err(io::Error::other)?;
        }
        tally.sent += due;
        if due == 0 {
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    fn wanted_per_second(&self) -> Option<u64> {
        Some(PACKETS_PER_SECOND)
    }
}

/// Starts a handshake, and returns the tunnel and the message that confirms it; `None` without an answer of the
/// gateway.
fn answered(
    identity: &StaticSecret,
    socket: &UdpSocket,
    gateway: SocketAddr,
) -> Result<(Tunnel, Option<Vec<u8>>), BenchError> {
    let mut tunnel = Tunnel::new(identity.clone(), gateway, &gateway_public_key());
    let failed = BenchError::Rekey;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut datagram = [0; 2048];
    // The second initiation has the cookie that the gateway may have demanded.
    for _ in 0..2 {
        let initiation = tunnel.initiate();
        socket.send_to(&initiation, gateway).map_err(failed)?;
        let Ok((bytes, _)) = socket.recv_from(&mut datagram) else {
            continue;
        };
        if let TunnelEvent::Connected(confirmation) = tunnel.handle(&datagram[..bytes]) {
            return Ok((tunnel, Some(confirmation)));
        }
    }
    Ok((tunnel, None))
}

/// Returns a packet of `bytes` from one client of the gateway to another.
pub(crate) fn packet_between(
    from: SocketAddr,
    to: SocketAddr,
    bytes: usize,
) -> Result<Vec<u8>, StepError> {
    let of = |ip: IpAddr| ScionAddress {
        isd_as: LOCAL_ISD_AS,
        ip,
    };
    let headers = PacketBuilder::new(of(from.ip()), of(to.ip()));
    let mut packet = Vec::with_capacity(bytes);
    // Common header, address header with IPv4 hosts, UDP header.
    let payload = vec![0x5a; bytes.saturating_sub(12 + 24 + 8)];
    headers.append_udp(from.port(), to.port(), &payload, &mut packet)?;
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_between_clients_has_the_requested_size() {
        let [from, to] = ["127.0.0.1:1", "127.0.0.2:2"].map(|address| address.parse().unwrap());
        assert_eq!(packet_between(from, to, 200).unwrap().len(), 200);
    }
}
