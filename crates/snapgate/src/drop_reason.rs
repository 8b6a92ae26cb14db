//! All drop reasons of datagrams, in one closed list.

use std::fmt;

use closed_enum::closed_enum;
use scion_packet::{MalformedPacket, NoDeliveryPort, NoEgressInterface, PolicyViolation};
use udp_shards::SendError;

closed_enum! {
    /// Why a datagram was not accepted from the socket.
    pub enum ReceiveError {
        Truncated: "truncated", "larger than the receive buffer";
        LinkLocalClient: "link_local_client",
            "from a link-local IPv6 address, which cannot be a client's SCION address";
    }
}

closed_enum! {
    /// Why a SCION packet for a tunnel was not admitted.
    pub enum AdmissionError {
        ForeignSource: "foreign_source",
            "arrived at the internal address from neither a router, nor its own SCION source host in a local AS, nor \
             a prefix of internal_from";
        ScmpTunnelLimit: "scmp_tunnel_limit",
            "SCMP error beyond the limit of its tunnel or of the tunnel that it came from";
        ScmpWorkerLimit: "scmp_worker_limit", "SCMP error beyond the limit of the worker";
    }
}

closed_enum! {
    /// Why a SCION packet has no route.
    pub enum RouteError {
        NoHostAddress: "no_host_address", "the destination host is not an IP address";
        NoNextHop: "no_next_hop", "no router is configured for the interface of the first hop";
        NoTunnel: "no_tunnel",
            "the destination is neither a tunnel of this gateway nor in a local prefix";
        Unresolved: "unresolved",
            "the destination is in a local prefix, and earlier packets to it did not leave, for example because it does \
             not answer ARP; tried again after 1 to 8 s, or when it sends something";
    }
}

closed_enum! {
    /// Why a datagram was lost in a queue.
    pub enum QueueLoss {
        MailboxFull: "mailbox_full", "the mailbox of another worker was full";
        HandshakesFull: "handshakes_full", "the queue of handshake messages was full";
        SendQueueFull: "send_queue_full", "the send queue was full";
        TunnelExpired: "tunnel_expired", "waited for a session, and its tunnel expired";
        TunnelRevoked: "tunnel_revoked",
            "waited for a session, and the identity of its tunnel was revoked";
        TunnelDisplaced: "tunnel_displaced",
            "waited for a session, and its tunnel was evicted";
        Stopped: "stopped", "waited when the gateway stopped";
    }
}

/// Declares the stages of the packet path that drop datagrams, each with the enum of its reasons and its name, which is
/// the metrics' label `stage`.
macro_rules! stages {
    ($($(#[$meta:meta])+ $stage:ident($reason:ty): $name:literal;)+) => {
        /// Why a datagram was dropped.
        ///
        /// The crates below have their own enums of reasons; this enum adds those of the gateway and numbers all of
        /// them, so that a worker counts drops in one array.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum DropReason {
            $($(#[$meta])+ $stage($reason),)+
        }

        impl DropReason {
            /// Number of reasons.
            pub const COUNT: usize = 0 $(+ <$reason>::ALL.len())+;

            /// Returns every reason, in the order of [`DropReason::index`].
            pub fn all() -> impl Iterator<Item = Self> {
                std::iter::empty()$(.chain(<$reason>::ALL.into_iter().map(Self::$stage)))+
            }

            /// Returns the number of the reason, less than [`DropReason::COUNT`].
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

            /// Returns the stage that dropped the datagram: the metrics' label `stage`.
            pub const fn stage(self) -> &'static str {
                match self {
                    $(Self::$stage(_) => $name,)+
                }
            }

            /// Returns the name of the reason: the metrics' label `reason`.
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
    /// It was not accepted from the socket.
    Receive(ReceiveError): "receive";
    /// The shard rejected it.
    Tunnel(snaptun::DropReason): "tunnel";
    /// It came from an endhost, out of a tunnel or by UDP from the AS, and violates the policy for endhosts.
    Policy(PolicyViolation): "policy";
    /// It came from SCION and is not a SCION packet.
    Header(MalformedPacket): "header";
    /// It was for a tunnel and was not admitted.
    Admission(AdmissionError): "upstream";
    /// Its upper layer has no port, so it has no destination tunnel.
    DeliveryPort(NoDeliveryPort): "delivery_port";
    /// Its path does not name the interface by which it leaves the AS.
    Egress(NoEgressInterface): "egress";
    /// It has no route.
    Route(RouteError): "route";
    /// It was lost in a queue.
    Queue(QueueLoss): "queue";
    /// The kernel refused to send it.
    Send(SendError): "send";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_unique_index_and_labels() {
        let indexes: Vec<usize> = DropReason::all().map(DropReason::index).collect();
        assert_eq!(indexes, (0..DropReason::COUNT).collect::<Vec<_>>());

        let labels: HashSet<_> = DropReason::all().map(|r| (r.stage(), r.name())).collect();
        assert_eq!(labels.len(), DropReason::COUNT);
    }
}
