//! The metrics, encoded when somebody asks for them.
//!
//! Nothing is kept here: a scrape reads the workers' published counters and the gateway's status. Names
//! follow the Prometheus conventions; the label `worker` is the worker's index.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::counters::{Counters, Published};
use crate::drop_reason::DropReason;
use crate::status::Status;

mod process;
mod state;

/// Encodes the counters of all workers, and how the gateway is, in the OpenMetrics text format.
pub(crate) fn encode(
    workers: &Arc<[Arc<Published>]>,
    status: &Arc<Status>,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process::Process(Arc::clone(status))));
    registry.register_collector(Box::new(Workers(Arc::clone(workers))));
    if let Some(state) = status.state() {
        registry.register_collector(Box::new(state::State(Arc::clone(state))));
    }
    let mut text = String::with_capacity(16 << 10);
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Workers(Arc<[Arc<Published>]>);

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// One time series of a family, for each worker: its label apart from `worker`, and its value.
type Series = (Option<(&'static str, &'static str)>, fn(&Counters) -> u64);

struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    series: &'static [Series],
}

const fn counter(name: &'static str, help: &'static str, series: &'static [Series]) -> Family {
    Family {
        name,
        help,
        kind: Kind::Counter,
        series,
    }
}

const fn gauge(name: &'static str, help: &'static str, series: &'static [Series]) -> Family {
    Family {
        name,
        help,
        kind: Kind::Gauge,
        series,
    }
}

const INCOMING: Option<(&str, &str)> = Some(("direction", "incoming"));
const OUTGOING: Option<(&str, &str)> = Some(("direction", "outgoing"));

/// Every family but the drops, whose series come from [`DropReason`].
const FAMILIES: &[Family] = &[
    counter(
        "snapgate_received_packets",
        "Datagrams received: incoming from tunnels, outgoing from SCION.",
        &[
            (INCOMING, |c| c.received_incoming_packets),
            (OUTGOING, |c| c.received_outgoing_packets),
        ],
    ),
    counter(
        "snapgate_received_bytes",
        "Bytes of UDP payload received.",
        &[
            (INCOMING, |c| c.received_incoming_bytes),
            (OUTGOING, |c| c.received_outgoing_bytes),
        ],
    ),
    counter(
        "snapgate_delivered_packets",
        "Datagrams meant for the gateway itself.",
        &[
            (Some(("kind", "handshake")), |c| c.delivered_handshakes),
            (Some(("kind", "cookie")), |c| c.delivered_cookies),
            (Some(("kind", "keepalive")), |c| c.delivered_keepalives),
            (Some(("kind", "sink")), |c| c.delivered_to_sink),
        ],
    ),
    counter(
        "snapgate_sent_packets",
        "Received packets sent on: incoming towards SCION, outgoing into tunnels.",
        &[
            (INCOMING, |c| c.sent_incoming_packets),
            (OUTGOING, |c| c.sent_outgoing_packets),
        ],
    ),
    counter(
        "snapgate_sent_bytes",
        "Bytes of UDP payload of the packets sent on.",
        &[
            (INCOMING, |c| c.sent_incoming_bytes),
            (OUTGOING, |c| c.sent_outgoing_bytes),
        ],
    ),
    counter(
        "snapgate_originated_packets",
        "Datagrams made by the gateway (handshakes, cookies, keepalives, SCMP errors): sent, lost, or limited (SCMP errors only).",
        &[
            (Some(("result", "sent")), |c| c.originated_sent),
            (Some(("result", "lost")), |c| c.originated_lost),
            (Some(("result", "limited")), |c| c.originated_limited),
        ],
    ),
    counter(
        "snapgate_handover_packets",
        "Datagrams that arrived at a worker that does not own their tunnel.",
        &[(None, |c| c.handovers)],
    ),
    counter(
        "snapgate_mailbox_packets",
        "Datagrams that went from one worker to another: handovers and hairpins.",
        &[
            (Some(("side", "given")), |c| c.given_packets),
            (Some(("side", "taken")), |c| c.taken_packets),
        ],
    ),
    counter(
        "snapgate_hairpin_packets",
        "Packets from a tunnel to a destination in the local AS.",
        &[
            (Some(("between", "same_worker")), |c| {
                c.hairpins_within_worker
            }),
            (Some(("between", "workers")), |c| c.hairpins_between_workers),
        ],
    ),
    counter(
        "snapgate_handshakes",
        "Handshakes: initiations answered, begun by the gateway, of those completed; messages that showed a cookie.",
        &[
            (Some(("result", "answered")), |c| c.handshakes_answered),
            (Some(("result", "initiated")), |c| c.handshakes_initiated),
            (Some(("result", "completed")), |c| c.handshakes_completed),
            (Some(("result", "verified")), |c| c.handshakes_verified),
        ],
    ),
    counter(
        "snapgate_flooded_handshakes",
        "Handshakes of tunnels whose addresses are flooded: initiations answered beyond all limits, and handshakes begun by the gateway.",
        &[
            (Some(("result", "answered")), |c| c.handshakes_beyond_limits),
            (Some(("result", "initiated")), |c| {
                c.handshakes_under_pressure
            }),
        ],
    ),
    counter(
        "snapgate_restart_handshakes",
        "Handshakes with clients of the previous process, or whose grant returned: begun by the gateway, of those completed; times that one was put off.",
        &[
            (Some(("result", "started")), |c| {
                c.restart_handshakes_started
            }),
            (Some(("result", "completed")), |c| {
                c.restart_handshakes_completed
            }),
            (Some(("result", "deferred")), |c| {
                c.restart_handshakes_deferred
            }),
        ],
    ),
    counter(
        "snapgate_cookies_demanded",
        "Handshake messages answered with a cookie: over the limit of the address or of all together, or for the address of a silent tunnel.",
        &[
            (Some(("because", "address_limit")), |c| {
                c.cookies_demanded_address_limit
            }),
            (Some(("because", "total_limit")), |c| {
                c.cookies_demanded_total_limit
            }),
            (Some(("because", "takeover")), |c| {
                c.cookies_demanded_takeover
            }),
        ],
    ),
    counter(
        "snapgate_overloaded_seconds",
        "Seconds in which more handshakes came than the gateway takes in without a cookie; each is counted by one worker.",
        &[(None, |c| c.overloaded_seconds)],
    ),
    counter(
        "snapgate_tunnel_changes",
        "Tunnels that came and went.",
        &[
            (Some(("change", "created")), |c| c.tunnels_created),
            (Some(("change", "expired")), |c| c.tunnels_expired),
            (Some(("change", "revoked")), |c| c.tunnels_revoked),
            (Some(("change", "replaced")), |c| c.tunnels_replaced),
            (Some(("change", "evicted")), |c| c.tunnels_evicted),
            (Some(("change", "moved")), |c| c.tunnels_moved),
        ],
    ),
    counter(
        "snapgate_kernel_dropped_packets",
        "Datagrams dropped by the kernel, by socket: full receive buffers; at garbage, and with user dispatch at data, what can hold no SNAPtun message. A train counts once.",
        &[
            (Some(("socket", "garbage")), |c| c.kernel_drops_garbage),
            (Some(("socket", "data")), |c| c.kernel_drops_data),
            (Some(("socket", "handshake")), |c| c.kernel_drops_handshake),
            (Some(("socket", "mixed")), |c| c.kernel_drops_mixed),
            (Some(("socket", "upstream")), |c| c.kernel_drops_upstream),
        ],
    ),
    counter(
        "snapgate_turns",
        "Turns of the worker's loop.",
        &[(None, |c| c.turns)],
    ),
    gauge("snapgate_tunnels", "Tunnels now.", &[(None, |c| c.tunnels)]),
    gauge(
        "snapgate_half_open_tunnels",
        "Tunnels now that their clients have not used yet.",
        &[(None, |c| c.half_open_tunnels)],
    ),
    gauge(
        "snapgate_remembered_tunnels",
        "Tunnels of the process before whose clients have not been heard from.",
        &[(None, |c| c.remembered_tunnels)],
    ),
    gauge(
        "snapgate_lapsed_tunnels",
        "Tunnels removed because a grant ended, in the last 540 s, whose clients are served again if it returns.",
        &[(None, |c| c.lapsed_tunnels)],
    ),
    gauge(
        "snapgate_in_flight_packets",
        "Received packets that now wait: for their handshake's turn, for a tunnel's session, or for a socket.",
        &[
            (Some(("queue", "handshake")), |c| c.waiting_handshakes),
            (Some(("queue", "session")), |c| c.waiting_packets),
            (Some(("queue", "send")), |c| c.queued_packets),
        ],
    ),
];

impl Collector for Workers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let workers: Vec<Counters> = self
            .0
            .iter()
            .map(|published| published.snapshot())
            .collect();
        for family in FAMILIES {
            let samples = workers.iter().enumerate().flat_map(|(worker, counters)| {
                family.series.iter().map(move |(label, value)| {
                    (
                        Labels {
                            worker,
                            others: label.as_slice(),
                        },
                        value(counters),
                    )
                })
            });
            encode_family(&mut encoder, family, samples)?;
        }
        encode_drops(&mut encoder, &workers)
    }
}

fn encode_drops(
    encoder: &mut DescriptorEncoder<'_>,
    workers: &[Counters],
) -> Result<(), fmt::Error> {
    let family = counter(
        "snapgate_dropped_packets",
        "Datagrams dropped, by the step of their way and the reason.",
        &[],
    );
    let labels: Vec<[(&str, &str); 2]> = DropReason::all()
        .map(|reason| [("stage", reason.stage()), ("reason", reason.name())])
        .collect();
    let samples = workers.iter().enumerate().flat_map(|(worker, counters)| {
        labels
            .iter()
            .zip(counters.dropped)
            .map(move |(others, dropped)| (Labels { worker, others }, dropped))
    });
    encode_family(encoder, &family, samples)
}

fn encode_family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    samples: impl Iterator<Item = (Labels<'a>, u64)>,
) -> Result<(), fmt::Error> {
    use prometheus_client::metrics::MetricType;

    let metric_type = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    };
    let mut metric = encoder.encode_descriptor(family.name, family.help, None, metric_type)?;
    for (labels, value) in samples {
        let sample = metric.encode_family(&labels)?;
        match family.kind {
            Kind::Counter => ConstCounter::new(value).encode(sample)?,
            Kind::Gauge => ConstGauge::new(value.cast_signed()).encode(sample)?,
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Labels<'a> {
    worker: usize,
    others: &'a [(&'static str, &'static str)],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>,
    ) -> Result<(), fmt::Error> {
        use prometheus_client::encoding::EncodeLabel as _;

        ("worker", self.worker).encode(encoder.encode_label())?;
        for label in self.others {
            label.encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::ConfiguredIdentities;
    use crate::config::Authorization;

    #[test]
    fn every_counter_appears_for_every_worker() {
        let workers: Arc<[Arc<Published>]> = (0..2).map(|_| Arc::default()).collect();
        let mut counters = Counters {
            handovers: 3,
            tunnels: 5,
            ..Counters::default()
        };
        let reason = DropReason::Tunnel(snaptun::DropReason::NoTunnel);
        counters.drop_packets(reason, 7);
        workers[1].publish(&counters);

        let authorization = ConfiguredIdentities::new(&Authorization::AnyIdentity);
        let text = encode(
            &workers,
            &Arc::new(Status::new(Arc::new(authorization), Arc::default(), None)),
        )
        .unwrap();

        for line in [
            r#"snapgate_handover_packets_total{worker="0"} 0"#,
            r#"snapgate_handover_packets_total{worker="1"} 3"#,
            r#"snapgate_tunnels{worker="1"} 5"#,
            r#"snapgate_received_packets_total{worker="0",direction="incoming"} 0"#,
            r#"snapgate_dropped_packets_total{worker="1",stage="tunnel",reason="no_tunnel"} 7"#,
        ] {
            assert!(text.lines().any(|l| l == line), "missing {line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
