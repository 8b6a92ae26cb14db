//! One identity that opens as many tunnels as it can.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use snaptun::StaticSecret;
use testkit::{Tunnel, TunnelEvent};
use udp_shards::SocketOptions;

use super::attacker::{Attacker, Tally};
use super::flood::{ADDRESSES, address};
use super::sender::Sender;
use crate::{StepError, gateway_public_key};

/// Number of sockets.
const PORTS: usize = 100;

/// Number of source IP addresses per socket; in total as many socket addresses as in other attacks.
const ADDRESSES_PER_PORT: usize = ADDRESSES as usize / PORTS;

/// Number of consecutive handshakes per socket.
const BATCH: usize = 16;

pub(crate) struct ManyTunnels {
    gateway: SocketAddr,
    insider: StaticSecret,
    ports: Vec<Port>,
    next: usize,
}

struct Port {
    sender: Sender,
    /// Last handshake from each address.
    handshakes: HashMap<IpAddr, Tunnel>,
}

impl ManyTunnels {
    pub(crate) fn new(gateway: SocketAddr, insider: &StaticSecret) -> Result<Self, StepError> {
        let options = SocketOptions {
            receive_buffer_bytes: 256 << 10,
            send_buffer_bytes: 256 << 10,
            ..SocketOptions::default()
        };
        let port = |_| {
            Ok(Port {
                sender: Sender::new(gateway, 4 * BATCH, &options)?,
                handshakes: HashMap::new(),
            })
        };
        Ok(Self {
            gateway,
            insider: insider.clone(),
            ports: (0..PORTS).map(port).collect::<Result<_, StepError>>()?,
            next: 0,
        })
    }
}

impl Attacker for ManyTunnels {
    fn send_batch(&mut self, tally: &mut Tally) -> io::Result<()> {
        let count = self.ports.len();
        let port = &mut self.ports[self.next / BATCH % count];
        let mut came = Vec::new();
        port.sender
            .receive(|to, datagram| came.push((to, datagram)))?;
        tally.answers += came.len() as u64;
        for (to, datagram) in came {
            port.answer(to, &datagram);
        }
        for _ in 0..BATCH {
            let from = address(self.next % ADDRESSES_PER_PORT);
            self.next += 1;
            let insider = self.insider.clone();
            let mut client = Tunnel::new(insider, self.gateway, &gateway_public_key());
            port.sender.push(Some(from), client.initiate().into());
            port.handshakes.insert(from, client);
        }
        port.sender.flush(tally);
        Ok(())
    }
}

impl Port {
    /// Confirms a session, or sends an initiation with the demanded cookie.
    fn answer(&mut self, to: Option<IpAddr>, datagram: &[u8]) {
        let Some(client) = to.and_then(|to| self.handshakes.get_mut(&to)) else {
            return;
        };
        let reply = match client.handle(datagram) {
            TunnelEvent::Connected(confirmation) | TunnelEvent::Response(confirmation) => {
                confirmation
            }
            TunnelEvent::Cookie => client.initiate(),
            TunnelEvent::Packet(_)
            | TunnelEvent::Keepalive
            | TunnelEvent::Refused(_)
            | TunnelEvent::NotWireGuard => return,
        };
        self.sender.push(to, reply.into());
    }
}
