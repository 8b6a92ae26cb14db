//! SCMP errors that the gateway sends into a tunnel about a packet that it dropped.
//!
//! A packet of an authorized client causes at most one error, of at most 1232 bytes. An SCMP error causes none, and
//! [`ScmpErrorLimits`](crate::config::ScmpErrorLimits) bound the rate.

use std::time::Instant;

use ana_gotatun::packet::Packet;
use scion_packet::{PolicyViolation, ScionAddress, ScionPacket, ScmpError};
use snaptun::Endpoint;

use crate::drop_reason::{DropReason, RouteError};
use crate::worker::pipeline::Pipeline;
use crate::worker::scmp_limit::Origin;
use crate::worker::upstream::Upstream;

impl Pipeline {
    /// Drops a packet that violates the policy and reports that to its sender.
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

    /// Drops an unroutable packet. Its sender gets an error if it chose an interface that does not exist: clients then
    /// avoid the paths through it.
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
