//! Packets into a tunnel, from SCION or from another tunnel.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ana_gotatun::packet::Packet;
use bytes::BytesMut;
use scion_packet::{Host, ScionPacket, scmp};
use snaptun::Outgoing;
use udp_shards::Received;

use crate::drop_reason::{AdmissionError, DropReason, RouteError};
use crate::mailbox::Message;
use crate::worker::pipeline::Pipeline;
use crate::worker::scmp_limit::{Limit, Origin};
use crate::worker::upstream::{Upstream, tunnel_address};

impl Pipeline {
    /// Splits a train from the upstream socket.
    pub(crate) fn receive_outgoing(&mut self, now: Instant, train: Received) {
        let packets = train.datagram_count() as u64;
        self.counters.received_outgoing_packets += packets;
        self.work += 1 + packets;
        self.counters.received_outgoing_bytes += train.buffer.len() as u64;
        self.lanes.heard(train.from);
        // All datagrams of a train have one source, which usually decides for all of them.
        let endhost = self.upstream.endhost(train.from);
        for datagram in self.take_apart(train) {
            self.route_outgoing(now, endhost, datagram);
        }
    }

    /// Routes a packet from SCION to the worker of its tunnel. `endhost` is its sender, unless a router sent it.
    fn route_outgoing(&mut self, now: Instant, endhost: Option<IpAddr>, mut datagram: BytesMut) {
        let destination = ScionPacket::parse(&datagram)
            .map_err(DropReason::from)
            .and_then(|packet| {
                if let Some(endhost) = endhost {
                    self.upstream.check_endhost(&packet, endhost)?;
                }
                Ok((packet.total_len(), tunnel_address(&packet)?))
            });
        let (length, to) = match destination {
            Ok(destination) => destination,
            Err(reason) => return self.drop_packet(reason),
        };
        datagram.truncate(length);
        let packet = Packet::from_bytes(datagram);
        let owner = self.owners.owner_of(to);
        if owner == self.owners.me {
            return self.handle_outgoing(now, to, packet);
        }
        self.counters.handovers += 1;
        self.hand_over(owner, Message::Outgoing { to, packet });
    }

    /// Handles an admitted packet from SCION for a tunnel that this worker owns.
    pub(super) fn handle_outgoing(&mut self, now: Instant, to: SocketAddr, packet: Packet) {
        if self.is_scmp_error_beyond_limit(now, || Some(Origin::Scion), to, &packet) {
            return;
        }
        self.encapsulate(now, to, packet);
    }

    /// Handles a packet from a tunnel to a destination in a local AS.
    pub(super) fn hairpin(&mut self, now: Instant, to: SocketAddr, packet: Packet) {
        let owner = self.owners.owner_of(to);
        if owner == self.owners.me {
            self.counters.hairpins_within_worker += 1;
            return self.handle_hairpin(now, to, packet);
        }
        if self.hand_over(owner, Message::Hairpin { to, packet }) {
            self.counters.hairpins_between_workers += 1;
        }
    }

    /// Handles a hairpin whose destination this worker would own: sends it into its tunnel, or to an endhost of the AS
    /// without a tunnel.
    pub(super) fn handle_hairpin(&mut self, now: Instant, to: SocketAddr, packet: Packet) {
        if self.is_scmp_error_beyond_limit(now, || sender(&packet), to, &packet) {
            return;
        }
        match self.try_encapsulate(now, to, packet) {
            Ok(()) => {}
            Err((snaptun::DropReason::NoTunnel, packet)) => match &self.upstream {
                Upstream::Scion(upstream) if upstream.serves_endhost(to) => {
                    self.queue_to_host(now, to, packet);
                }
                _ => self.drop_packet(DropReason::Route(RouteError::NoTunnel)),
            },
            Err((reason, _)) => self.drop_packet(DropReason::Tunnel(reason)),
        }
    }

    /// Returns true, and drops the packet, if it is an SCMP error beyond the limits of the tunnel to `to`. Errors to
    /// addresses without a tunnel do not count: anyone could use up the budget with them.
    fn is_scmp_error_beyond_limit(
        &mut self,
        now: Instant,
        origin: impl FnOnce() -> Option<Origin>,
        to: SocketAddr,
        packet: &Packet,
    ) -> bool {
        if scmp::is_answerable(packet) || !self.shard.has_tunnel(to) {
            return false;
        }
        let (Some(limiter), Some(origin)) = (&mut self.scmp_errors, origin()) else {
            return false;
        };
        let Err(limit) = limiter.admit(now, origin, to) else {
            return false;
        };
        self.drop_packet(DropReason::Admission(match limit {
            Limit::Tunnel => AdmissionError::ScmpTunnelLimit,
            Limit::Worker => AdmissionError::ScmpWorkerLimit,
        }));
        true
    }

    /// Sends a received packet into the tunnel to `to`.
    pub(super) fn encapsulate(&mut self, now: Instant, to: SocketAddr, packet: Packet) {
        if let Err((reason, _)) = self.try_encapsulate(now, to, packet) {
            self.drop_packet(DropReason::Tunnel(reason));
        }
    }

    /// Sends a received packet into the tunnel to `to`, or returns it with the drop reason.
    fn try_encapsulate(
        &mut self,
        now: Instant,
        to: SocketAddr,
        packet: Packet,
    ) -> Result<(), (snaptun::DropReason, Packet)> {
        let fate = match self
            .shard
            .handle_outgoing_packet(now, packet, to, &mut self.transmits)
        {
            Outgoing::Encapsulated { .. } | Outgoing::Waiting { .. } => Ok(()),
            Outgoing::Dropped { reason, packet } => Err((reason, packet)),
        };
        self.queue_transmits();
        fate
    }
}

/// Returns the client that sent a packet out of a tunnel; the policy has checked its host.
fn sender(packet: &Packet) -> Option<Origin> {
    match ScionPacket::parse(packet).ok()?.src_host() {
        Host::Ip(ip) => Some(Origin::Tunnel(ip)),
        Host::Service(_) | Host::Other { .. } => None,
    }
}
