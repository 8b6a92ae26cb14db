//! The way of a packet from SCION into a tunnel.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use ana_gotatun::packet::Packet;

use crate::authorization::SnapTunAuthorization;
use crate::drop_reason::DropReason;
use crate::server::SnapTunServer;
use crate::transmit::{Payload, Transmit};
use crate::tunnel::Sent;

/// The fate of an outgoing packet.
#[must_use]
pub enum Outgoing<'a, S> {
    /// Its datagram was appended to `send_to_network`.
    Encapsulated {
        /// What the authorization layer said about the peer.
        session_data: &'a S,
    },
    /// It waits for a session. Later it is either sent, as [`Payload::Forwarded`], or discarded with its
    /// tunnel and counted in [`ShardCounters`](crate::ShardCounters).
    Waiting {
        /// What the authorization layer said about the peer.
        session_data: &'a S,
    },
    /// It went no further.
    Dropped {
        /// Why. [`DropReason::NoTunnel`]: the address is no tunnel's.
        reason: DropReason,
        /// The packet, unchanged.
        packet: Packet,
    },
}

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Sends a packet through the tunnel of the remote address `to`.
    ///
    /// What goes to the network is appended to `send_to_network`: the packet itself, or, where there is
    /// no session, possibly an initiation. Nothing is padded: the peer receives `packet` byte for byte.
    pub fn handle_outgoing_packet(
        &mut self,
        now: Instant,
        packet: Packet,
        to: SocketAddr,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Outgoing<'_, A::SessionData> {
        if packet.is_empty() {
            return Outgoing::Dropped {
                reason: DropReason::Empty,
                packet,
            };
        }
        let Some(slot) = self.tunnels.find(to) else {
            return Outgoing::Dropped {
                reason: DropReason::NoTunnel,
                packet,
            };
        };
        if let Err(reason) = self.prepare(slot, now, send_to_network) {
            return Outgoing::Dropped { reason, packet };
        }
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return Outgoing::Dropped {
                reason: DropReason::NoTunnel,
                packet,
            };
        };
        match tunnel.send(now, packet, &self.config, &mut self.waiting) {
            Sent::Encapsulated(packet) => {
                let to = tunnel.endpoint();
                send_to_network.push_back(Transmit {
                    to,
                    packet,
                    payload: Payload::Forwarded,
                });
                Outgoing::Encapsulated {
                    session_data: tunnel.session_data(),
                }
            }
            Sent::Waiting(initiation) => {
                if let Some(initiation) = initiation {
                    self.counters.handshakes_initiated += 1;
                    send_to_network.push_back(Transmit {
                        to: tunnel.endpoint(),
                        packet: initiation.into(),
                        payload: Payload::Protocol,
                    });
                }
                Outgoing::Waiting {
                    session_data: tunnel.session_data(),
                }
            }
            Sent::Refused(packet) => Outgoing::Dropped {
                reason: DropReason::WaitingQueueFull,
                packet,
            },
        }
    }

    /// Sends a packet of the caller's own, such as an SCMP error, through the tunnel of the remote
    /// address `to`: as [`Payload::Protocol`], and only if it can leave at once. It is not worth a wait.
    ///
    /// Returns whether its datagram was appended to `send_to_network`.
    #[must_use]
    pub fn send_own_packet(
        &mut self,
        now: Instant,
        packet: Packet,
        to: SocketAddr,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> bool {
        let Some(slot) = self.tunnels.find(to) else {
            return false;
        };
        if packet.is_empty() || self.prepare(slot, now, send_to_network).is_err() {
            return false;
        }
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return false;
        };
        let Ok(packet) = tunnel.send_at_once(now, packet) else {
            return false;
        };
        send_to_network.push_back(Transmit {
            to: tunnel.endpoint(),
            packet,
            payload: Payload::Protocol,
        });
        true
    }
}

impl<S> fmt::Debug for Outgoing<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outgoing::Encapsulated { .. } => f.write_str("Encapsulated"),
            Outgoing::Waiting { .. } => f.write_str("Waiting"),
            Outgoing::Dropped { reason, packet } => f
                .debug_struct("Dropped")
                .field("reason", reason)
                .field("packet_bytes", &packet.len())
                .finish(),
        }
    }
}
