//! Every reason for which a datagram can be dropped, in one closed list.

use std::fmt;

use closed_enum::closed_enum;
use scion_packet::{MalformedPacket, NoDeliveryPort, NoEgressInterface, PolicyViolation};
use udp_shards::SendError;

closed_enum! {
    /// Why a datagram was lost when it was received.
    pub enum ReceiveError {
        Truncated: "truncated", "larger than the receive buffer";
    }
}

closed_enum! {
    /// Why a SCION packet for a tunnel was not let in.
    pub enum AdmissionError {
        ForeignSource: "foreign_source",
            "arrived at the internal address from neither a router, nor its own SCION source host in a local AS, nor \
             a prefix of internal_from";
        ScmpTunnelLimit: "scmp_tunnel_limit",
            "SCMP error, and its tunnel, or the tunnel that it came from, was over its limit";
        ScmpWorkerLimit: "scmp_worker_limit", "SCMP error, and the worker was over its limit";
    }
}

closed_enum! {
    /// Why the gateway knows no place for a SCION packet.
    pub enum RouteError {
        NoHostAddress: "no_host_address", "the destination host is not an IP address";
        NoNextHop: "no_next_hop", "no router is configured for the interface of the first hop";
        NoTunnel: "no_tunnel",
            "the destination is neither a tunnel of this gateway nor in a local prefix";
    }
}

closed_enum! {
    /// How a datagram was lost in a queue.
    pub enum QueueLoss {
        MailboxFull: "mailbox_full", "the mailbox of another worker was full";
        HandshakesFull: "handshakes_full", "too many handshake messages waited";
        SendQueueFull: "send_queue_full",
            "too many datagrams waited for the socket to become writable";
        TunnelExpired: "tunnel_expired", "waited for the session of a tunnel that expired";
        TunnelRevoked: "tunnel_revoked",
            "waited for the session of a tunnel whose identity is no longer authorized";
        TunnelDisplaced: "tunnel_displaced",
            "waited for the session of a tunnel that made room for another";
        Stopped: "stopped", "waited when the gateway stopped";
    }
}

/// Declares the stages of a packet's way that drop datagrams, each with the enum of its reasons and its name: the
/// metrics' label `stage`.
macro_rules! stages {
    ($($(#[$meta:meta])+ $stage:ident($reason:ty): $name:literal;)+) => {
        /// Why a datagram was dropped.
        ///
        /// The reasons of the crates below keep their own enums; this one adds those of the gateway and gives all of
        /// them one index, so that a worker counts drops in one array.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum DropReason {
            $($(#[$meta])+ $stage($reason),)+
        }

        impl DropReason {
            /// How many reasons there are.
            pub const COUNT: usize = 0 $(+ <$reason>::ALL.len())+;

            /// Every reason, in the order of [`DropReason::index`].
            pub fn all() -> impl Iterator<Item = Self> {
                std::iter::empty()$(.chain(<$reason>::ALL.into_iter().map(Self::$stage)))+
            }

            /// Its place among all reasons: less than [`DropReason::COUNT`].
            pub const fn index(self) -> usize {
                let first = 0;
                $(
                    if let Self::$stage(reason) = self {
                        return first + reason.index();
                    }
                    let first = first + <$reason>::ALL.len();
                )+
                first
            }

            /// The step of a packet's way that dropped it: the metrics' label `stage`.
            pub const fn stage(self) -> &'static str {
                match self {
                    $(Self::$stage(_) => $name,)+
                }
            }

            /// What was wrong: the metrics' label `reason`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$stage(reason) => reason.name(),)+
                }
            }
        }

        impl fmt::Display for DropReason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$stage(reason) => fmt::Display::fmt(reason, f),)+
                }
            }
        }

        $(
            impl From<$reason> for DropReason {
                fn from(reason: $reason) -> Self {
                    Self::$stage(reason)
                }
            }
        )+
    };
}

stages! {
    /// Its end was lost.
    Receive(ReceiveError): "receive";
    /// The shard refused it.
    Tunnel(snaptun::DropReason): "tunnel";
    /// It came from an endhost, out of a tunnel or by UDP from the AS, and violates the policy for what endhosts may
    /// send.
    Policy(PolicyViolation): "policy";
    /// It came from SCION and is no SCION packet.
    Header(MalformedPacket): "header";
    /// It was for a tunnel and was not let in.
    Admission(AdmissionError): "upstream";
    /// Its upper layer names no port, so no tunnel can be its destination.
    DeliveryPort(NoDeliveryPort): "delivery_port";
    /// Its path names no interface that it leaves the AS by.
    Egress(NoEgressInterface): "egress";
    /// The gateway knows no place for it.
    Route(RouteError): "route";
    /// It was lost in a queue between two steps of its way.
    Queue(QueueLoss): "queue";
    /// The kernel refused to send it.
    Send(SendError): "send";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_index_and_labels() {
        let indexes: Vec<usize> = DropReason::all().map(DropReason::index).collect();
        assert_eq!(indexes, (0..DropReason::COUNT).collect::<Vec<_>>());

        let labels: HashSet<_> = DropReason::all().map(|r| (r.stage(), r.name())).collect();
        assert_eq!(labels.len(), DropReason::COUNT);
    }
}
