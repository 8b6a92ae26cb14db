//! SCMP errors that the gateway sends into a tunnel, about a packet from it that it dropped.
//!
//! There is at most one, no longer than 1232 bytes, for each packet of an authorized client, none for
//! an SCMP error, and no more than [`ScmpErrorLimits`](crate::config::ScmpErrorLimits) allow.

use std::time::Instant;

use ana_gotatun::packet::Packet;
use scion_packet::{PolicyViolation, ScionAddress, ScionPacket, ScmpError};
use snaptun::Endpoint;

use crate::drop_reason::{DropReason, RouteError};
use crate::worker::pipeline::Pipeline;
use crate::worker::scmp_limit::Origin;
use crate::worker::upstream::Upstream;

impl Pipeline {
    /// Drops a packet that violates the policy, and tells its sender.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        from: Endpoint,
        packet: &Packet,
        violation: PolicyViolation,
    ) {
        self.drop_packet(DropReason::Policy(violation));
        let Upstream::Scion(upstream) = &self.upstream else {
            return;
        };
        let gateway = upstream.internal.ip();
        self.scmp_error.clear();
        if violation.append_answer(packet, from.remote.ip(), gateway, &mut self.scmp_error) {
            self.send_scmp_error(now, from);
        }
    }

    /// Drops a packet that no router takes. Its sender is told when it chose an interface that does
    /// not exist: clients then leave the paths through it.
    pub(super) fn report_unroutable(
        &mut self,
        now: Instant,
        from: Endpoint,
        packet: &Packet,
        reason: DropReason,
    ) {
        self.drop_packet(reason);
        if reason != DropReason::Route(RouteError::NoNextHop) {
            return;
        }
        let Upstream::Scion(upstream) = &self.upstream else {
            return;
        };
        let Ok(view) = ScionPacket::parse(packet) else {
            return;
        };
        let Some(error) = ScmpError::unknown_egress_interface(&view) else {
            return;
        };
        let isd_as = view.src_isd_as();
        let gateway = ScionAddress {
            isd_as,
            ip: upstream.internal.ip(),
        };
        let client = ScionAddress {
            isd_as,
            ip: from.remote.ip(),
        };
        self.scmp_error.clear();
        error.append(gateway, client, packet, &mut self.scmp_error);
        self.send_scmp_error(now, from);
    }

    fn send_scmp_error(&mut self, now: Instant, to: Endpoint) {
        if let Some(limiter) = &mut self.scmp_errors
            && limiter.admit(now, Origin::Gateway, to.remote).is_err()
        {
            self.counters.originated_limited += 1;
            return;
        }
        let packet = Packet::copy_from(self.scmp_error.as_slice());
        if !self
            .shard
            .send_own_packet(now, packet, to.remote, &mut self.transmits)
        {
            self.counters.originated_lost += 1;
        }
        self.queue_transmits();
    }
}
