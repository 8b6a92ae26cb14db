//! One identity that wants all tunnels for itself.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ana_gotatun::noise::{Tunn, TunnResult};
use ana_gotatun::packet::Packet;
use bytes::{Bytes, BytesMut};
use snaptun::StaticSecret;
use udp_shards::{ReceiveBatch, SendQueue, ShardSocket, SocketOptions, bind_client_socket};

use super::attacker::{Attacker, Clients, Tally};
use super::flood::{ADDRESSES, address, flush, receive};
use crate::StepError;
use crate::peers::error::BenchError;

/// Sockets, each with a port of its own.
const PORTS: usize = 100;

/// IP addresses that each sends from, together as many socket addresses as the other attacks have.
const ADDRESSES_PER_PORT: usize = ADDRESSES as usize / PORTS;

/// Handshakes begun with every socket before the next has its turn.
const BATCH: usize = 16;

pub(crate) struct ManyTunnels {
    gateway: SocketAddr,
    insider: StaticSecret,
    clients: Clients,
    ports: Vec<Port>,
    next: usize,
}

struct Port {
    socket: ShardSocket,
    queue: SendQueue<Bytes>,
    /// The last that was begun from each address.
    handshakes: HashMap<IpAddr, Tunn>,
}

impl ManyTunnels {
    pub(crate) fn new(gateway: SocketAddr, insider: &StaticSecret) -> Result<Self, BenchError> {
        let any = (Ipv4Addr::UNSPECIFIED, 0).into();
        let options = SocketOptions {
            receive_buffer_bytes: 256 << 10,
            send_buffer_bytes: 256 << 10,
            ..SocketOptions::default()
        };
        let port = |_| {
            Ok(Port {
                socket: bind_client_socket(any, &options)?,
                queue: SendQueue::with_limits(4 * BATCH, usize::MAX),
                handshakes: HashMap::new(),
            })
        };
        Ok(Self {
            gateway,
            insider: insider.clone(),
            clients: Clients::new(),
            ports: (0..PORTS).map(port).collect::<Result<_, StepError>>()?,
            next: 0,
        })
    }
}

impl Attacker for ManyTunnels {
    fn send_batch(&mut self, tally: &mut Tally) -> io::Result<()> {
        let (gateway, count) = (self.gateway, self.ports.len());
        let port = &mut self.ports[self.next / BATCH % count];
        let mut answers = ReceiveBatch::new(4 * BATCH);
        let mut came = Vec::new();
        receive(&port.socket, &mut answers, |to, datagram| {
            came.push((to, datagram));
        })?;
        tally.answers += came.len() as u64;
        for (to, datagram) in came {
            port.answer(gateway, to, datagram);
        }
        for _ in 0..BATCH {
            let from = address(self.next % ADDRESSES_PER_PORT);
            self.next += 1;
            let mut client = self.clients.make(self.insider.clone(), gateway);
            if let Some(initiation) = client.format_handshake_initiation(false) {
                port.send(gateway, from, &initiation.into_bytes());
                port.handshakes.insert(from, client);
            }
        }
        flush(&mut port.queue, &port.socket, tally);
        Ok(())
    }
}

impl Port {
    fn send(&mut self, gateway: SocketAddr, from: IpAddr, datagram: &[u8]) {
        // Where there is no room it is lost, as on the way.
        let datagram = Bytes::copy_from_slice(datagram);
        let _room = self.queue.push(gateway, Some(from), datagram);
    }

    /// Confirms a session, or shows the cookie that was demanded.
    fn answer(&mut self, gateway: SocketAddr, to: Option<IpAddr>, datagram: BytesMut) {
        let Some(from) = to else {
            return;
        };
        let Some(client) = self.handshakes.get_mut(&from) else {
            return;
        };
        let Ok(message) = Packet::from_bytes(datagram).try_into_wg() else {
            return;
        };
        let reply = match client.handle_incoming_packet(message) {
            TunnResult::WriteToNetwork(confirmation) => Some(Packet::from(confirmation)),
            TunnResult::Done => client
                .format_handshake_initiation(true)
                .map(|initiation| initiation.into_bytes()),
            TunnResult::Err(_) | TunnResult::WriteToTunnel(_) => None,
        };
        if let Some(reply) = reply {
            self.send(gateway, from, &reply);
        }
    }
}
