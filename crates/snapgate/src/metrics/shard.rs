//! The metrics of the shards' counters.

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

/// The time series of a metric without labels.
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
                "Initiations answered, in new and existing tunnels.",
                |c| c.shard.handshakes_answered(),
            ),
            series(
                &[("result", "completed")],
                "Begun by the gateway and completed.",
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
        "Handshake messages admitted with a valid cookie.",
        &[single(|c| c.shard.handshakes_verified)],
    ),
    counter(
        "snapgate_cookies_demanded",
        "Handshake messages answered with a cookie reply.",
        &[
            series(
                &[("reason", "address_limit")],
                "The address exceeded its limit of messages without a cookie.",
                |c| c.shard.cookies_demanded_address_limit,
            ),
            series(
                &[("reason", "total_limit")],
                "All workers together exceeded their limit of initiations without a cookie.",
                |c| c.shard.cookies_demanded_total_limit,
            ),
            series(
                &[("reason", "takeover")],
                "The address has a tunnel of another identity, which is silent.",
                |c| c.shard.cookies_demanded_takeover,
            ),
        ],
    ),
    counter(
        "snapgate_overloaded_seconds",
        "Seconds in which the gateway required a cookie of every initiation; each is counted by one worker.",
        &[single(|c| c.shard.overloaded_seconds)],
    ),
    counter(
        "snapgate_flooded_handshakes",
        "Handshakes with tunnels whose addresses are flooded.",
        &[
            series(
                &[("result", "answered")],
                "Initiations answered beyond all limits.",
                |c| c.shard.handshakes_beyond_limits,
            ),
            series(
                &[("result", "initiated")],
                "Begun by the gateway, because initiations from the address were refused without being decrypted.",
                |c| c.shard.handshakes_under_pressure,
            ),
        ],
    ),
    counter(
        "snapgate_restart_handshakes_started",
        "Handshakes begun with clients of the previous process, or of tunnels that were removed.",
        &[single(|c| c.shard.restart_handshakes_started)],
    ),
    counter(
        "snapgate_restart_handshakes_completed",
        "Handshakes in snapgate_restart_handshakes_started_total that were completed.",
        &[single(|c| c.shard.restart_handshakes_completed)],
    ),
    counter(
        "snapgate_restart_handshakes_deferred",
        "Deferrals of such handshakes by the limit of handshakes or tunnels.",
        &[single(|c| c.shard.restart_handshakes_deferred)],
    ),
    counter(
        "snapgate_keepalives_sent",
        "Keepalives sent because data from a client was not answered with data.",
        &[single(|c| c.shard.keepalives_sent)],
    ),
    counter(
        "snapgate_waited_packets_sent",
        "Packets that were sent after waiting for a session.",
        &[single(|c| c.shard.waiting_sent)],
    ),
    counter(
        "snapgate_tunnel_changes",
        "Tunnels created and removed.",
        &[
            series(&[("change", "created")], "Created.", |c| {
                c.shard.tunnels_created
            }),
            series(
                &[("change", "expired")],
                "Removed by WireGuard's timers after a long silence.",
                |c| c.shard.tunnels_expired,
            ),
            series(
                &[("change", "revoked")],
                "Removed because the identity is no longer authorized.",
                |c| c.shard.tunnels_revoked,
            ),
            series(
                &[("change", "replaced")],
                "Removed because another client took over the address.",
                |c| c.shard.tunnels_replaced,
            ),
            series(
                &[("change", "evicted")],
                "Removed because the limit of tunnels was reached.",
                |c| c.shard.tunnels_evicted,
            ),
            series(
                &[("change", "moved")],
                "Removed because the identity uses a newer tunnel.",
                |c| c.shard.tunnels_moved,
            ),
            series(
                &[("change", "reopened")],
                "Removed because its sessions may no longer be used, after a suspension of the host or the end of all \
                 sessions; the gateway begins a new handshake.",
                |c| c.shard.tunnels_reopened,
            ),
        ],
    ),
];
