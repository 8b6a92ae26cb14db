//! Path of a packet from SCION into a tunnel.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ana_gotatun::packet::Packet;

use crate::authorization::SnapTunAuthorization;
use crate::drop_reason::DropReason;
use crate::fate::Outgoing;
use crate::protocol::{KEEPALIVE_TIMEOUT, REKEY_TIMEOUT};
use crate::server::SnapTunServer;
use crate::transmit::Transmit;
use crate::tunnel::Sent;

/// Time within which a peer that is there answers data, with a keepalive if it has no data.
const ANSWER_TIME: Duration = KEEPALIVE_TIMEOUT.saturating_add(REKEY_TIMEOUT);

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Sends a packet through the tunnel of the remote address `to`.
    ///
    /// Datagrams to send are appended to `send_to_network`: the encapsulated packet or, without a session, an
    /// initiation if none is under way. Packets are not padded: the peer receives `packet` byte for byte.
    ///
    /// The encapsulated packet is a new buffer, longer by
    /// [`DATA_OVERHEAD_BYTES`](crate::protocol::DATA_OVERHEAD_BYTES). Lengths are not limited: a datagram that is too
    /// long for UDP or the path fails when it is sent.
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
                let is_silent = tunnel.is_silent(now, ANSWER_TIME);
                let to = tunnel.endpoint();
                send_to_network.push_back(Transmit::forwarded(to, packet, is_silent));
                Outgoing::Encapsulated {
                    session_data: tunnel.session_data(),
                }
            }
            Sent::Waiting(initiation) => {
                if let Some(initiation) = initiation {
                    self.counters.handshakes_initiated += 1;
                    send_to_network.push_back(Transmit::protocol(tunnel.endpoint(), initiation));
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

    /// Sends a packet of the gateway, such as an SCMP error, through the tunnel of the remote address `to`, as
    /// [`Payload::Protocol`](crate::Payload::Protocol).
    ///
    /// Such packets do not wait for a session. Returns true if the datagram was appended to `send_to_network`, and
    /// false if `packet` is empty, or if there is no tunnel, no authorization, no session, or if other packets wait in this tunnel.
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
        send_to_network.push_back(Transmit::protocol(tunnel.endpoint(), packet));
        true
    }
}
