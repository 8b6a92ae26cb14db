//! The metrics of what a shard counts.

use crate::counters::{Counters, Family, Kind, Series};

const fn counter(name: &'static str, help: &'static str, series: &'static [Series]) -> Family {
    Family {
        name,
        help,
        kind: Kind::Counter,
        series,
    }
}

const fn series(
    labels: &'static [(&'static str, &'static str)],
    help: &'static str,
    value: fn(&Counters) -> u64,
) -> Series {
    Series {
        labels,
        help,
        value,
    }
}

/// The time series of a metric that has one only, for each worker.
const fn single(value: fn(&Counters) -> u64) -> Series {
    series(&[], "", value)
}

pub(super) const FAMILIES: &[Family] = &[
    counter(
        "snapgate_handshakes",
        "Handshakes.",
        &[
            series(
                &[("result", "answered")],
                "Initiations answered, in new and in existing tunnels.",
                |c| c.shard.handshakes_answered(),
            ),
            series(
                &[("result", "completed")],
                "Begun by the gateway, and completed.",
                |c| c.shard.handshakes_completed,
            ),
        ],
    ),
    counter(
        "snapgate_initiations_sent",
        "Handshake initiations sent, retransmissions included.",
        &[single(|c| c.shard.handshakes_initiated)],
    ),
    counter(
        "snapgate_cookies_verified",
        "Handshake messages admitted because they showed a cookie.",
        &[single(|c| c.shard.handshakes_verified)],
    ),
    counter(
        "snapgate_cookies_demanded",
        "Handshake messages answered with a cookie reply.",
        &[
            series(
                &[("reason", "address_limit")],
                "Their address was over its limit of messages without a cookie.",
                |c| c.shard.cookies_demanded_address_limit,
            ),
            series(
                &[("reason", "total_limit")],
                "All workers together were over their limit of initiations without a cookie.",
                |c| c.shard.cookies_demanded_total_limit,
            ),
            series(
                &[("reason", "takeover")],
                "Their address has a tunnel of another identity, which is silent.",
                |c| c.shard.cookies_demanded_takeover,
            ),
        ],
    ),
    counter(
        "snapgate_overloaded_seconds",
        "Seconds in which the gateway took no more initiations without a cookie; each is counted by one worker.",
        &[single(|c| c.shard.overloaded_seconds)],
    ),
    counter(
        "snapgate_flooded_handshakes",
        "Handshakes of tunnels whose addresses are flooded.",
        &[
            series(
                &[("result", "answered")],
                "Initiations answered beyond all limits.",
                |c| c.shard.handshakes_beyond_limits,
            ),
            series(
                &[("result", "initiated")],
                "Begun by the gateway, because initiations from the address were refused unopened.",
                |c| c.shard.handshakes_under_pressure,
            ),
        ],
    ),
    counter(
        "snapgate_restart_handshakes_started",
        "Handshakes begun with clients of the previous process, or whose grant returned.",
        &[single(|c| c.shard.restart_handshakes_started)],
    ),
    counter(
        "snapgate_restart_handshakes_completed",
        "Handshakes completed of those in snapgate_restart_handshakes_started_total.",
        &[single(|c| c.shard.restart_handshakes_completed)],
    ),
    counter(
        "snapgate_restart_handshakes_deferred",
        "Times that such a handshake was put off, because of the limit of handshakes or of tunnels.",
        &[single(|c| c.shard.restart_handshakes_deferred)],
    ),
    counter(
        "snapgate_keepalives_sent",
        "Keepalives sent because data of a client was not answered with data.",
        &[single(|c| c.shard.keepalives_sent)],
    ),
    counter(
        "snapgate_waited_packets_sent",
        "Packets that waited for a session and were then sent.",
        &[single(|c| c.shard.waiting_sent)],
    ),
    counter(
        "snapgate_tunnel_changes",
        "Tunnels made and removed.",
        &[
            series(&[("change", "created")], "Made.", |c| {
                c.shard.tunnels_created
            }),
            series(
                &[("change", "expired")],
                "Removed after a long silence, by WireGuard's timers.",
                |c| c.shard.tunnels_expired,
            ),
            series(
                &[("change", "revoked")],
                "Removed because their identity is no longer authorized.",
                |c| c.shard.tunnels_revoked,
            ),
            series(
                &[("change", "replaced")],
                "Removed because another client has their address now.",
                |c| c.shard.tunnels_replaced,
            ),
            series(
                &[("change", "evicted")],
                "Removed because there were too many.",
                |c| c.shard.tunnels_evicted,
            ),
            series(
                &[("change", "moved")],
                "Removed because their identity uses a newer one.",
                |c| c.shard.tunnels_moved,
            ),
        ],
    ),
];
