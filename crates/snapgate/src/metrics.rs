//! The metrics, encoded for each scrape.
//!
//! A scrape reads the workers' published counters and the gateway's status. Names follow the Prometheus conventions;
//! the label `worker` is the worker's index.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::counters::{self, Counters, Family, Kind, Published};
use crate::drop_reason::DropReason;
use crate::status::Status;

mod accounting;
mod gateway;
mod process;
mod shard;
mod state;

/// Collector of a gateway's metrics, for the registry of an embedding program. It reads the gateway's counters at each
/// scrape, and its last counters after the gateway has stopped.
#[derive(Clone)]
pub struct GatewayMetrics {
    workers: Arc<[Arc<Published>]>,
    status: Arc<Status>,
}

impl fmt::Debug for GatewayMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayMetrics").finish_non_exhaustive()
    }
}

impl GatewayMetrics {
    pub(crate) fn new(workers: Arc<[Arc<Published>]>, status: Arc<Status>) -> Self {
        Self { workers, status }
    }

    /// Encodes the metrics of the gateway, of its control plane and of the process in the OpenMetrics text format.
    pub(crate) fn page(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process(Arc::clone(&self.status))));
        registry.register_collector(Box::new(self.clone()));
        if let Some(control_plane) = self.status.control_plane() {
            control_plane.register(&mut registry);
        }
        let mut text = String::with_capacity(16 << 10);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Dropped datagrams, with a time series for each [`DropReason`].
const DROPS: Family = Family {
    name: "snapgate_dropped_packets",
    help: "Datagrams dropped, by stage of the packet path and reason.",
    kind: Kind::Counter,
    series: &[],
};

/// Returns every metric of a worker except [`DROPS`].
pub(crate) fn families() -> impl Iterator<Item = &'static Family> {
    counters::FAMILIES.iter().chain(shard::FAMILIES)
}

impl Collector for GatewayMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        gateway::encode(&mut encoder, &self.status)?;
        let workers: Vec<Counters> = self
            .workers
            .iter()
            .map(|published| published.snapshot())
            .collect();
        for family in families() {
            let samples = workers.iter().enumerate().flat_map(|(worker, counters)| {
                family.series.iter().map(move |series| {
                    let others = series.labels;
                    (Labels { worker, others }, (series.value)(counters))
                })
            });
            encode_family(&mut encoder, family, samples)?;
        }
        encode_drops(&mut encoder, &workers)?;
        if let Some(state) = self.status.state() {
            state::encode(&mut encoder, state)?;
        }
        match self.status.accounting_log() {
            Some(log) => accounting::encode(&mut encoder, log),
            None => Ok(()),
        }
    }
}

fn encode_drops(
    encoder: &mut DescriptorEncoder<'_>,
    workers: &[Counters],
) -> Result<(), fmt::Error> {
    let labels: Vec<[(&str, &str); 2]> = DropReason::all()
        .map(|reason| [("stage", reason.stage()), ("reason", reason.name())])
        .collect();
    let samples = workers.iter().enumerate().flat_map(|(worker, counters)| {
        labels
            .iter()
            .zip(counters.dropped)
            .map(move |(others, dropped)| (Labels { worker, others }, dropped))
    });
    encode_family(encoder, &DROPS, samples)
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
    let help = help_with_labels(family);
    let mut metric = encoder.encode_descriptor(family.name, &help, None, metric_type)?;
    for (labels, value) in samples {
        let sample = metric.encode_family(&labels)?;
        match family.kind {
            Kind::Counter => ConstCounter::new(value).encode(sample)?,
            Kind::Gauge => ConstGauge::new(value.cast_signed()).encode(sample)?,
        }
    }
    Ok(())
}

/// Returns the help of a metric and of its time series.
fn help_with_labels(family: &Family) -> String {
    let mut help = family.help.to_owned();
    for series in family.series {
        for (_, value) in series.labels {
            help.extend([" ", value, ": ", series.help.trim()]);
        }
    }
    help
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
    use snaptun::ShardCounters;

    use super::*;
    use crate::authorization::Authorizer;
    use crate::config::Authorization;
    use crate::pinning::PinnedCpus;

    #[test]
    fn every_shard_counter_is_exported() {
        let is_exported = |counters: &Counters| {
            families().any(|family| {
                family
                    .series
                    .iter()
                    .any(|series| (series.value)(counters) > 0)
            }) || counters.total_dropped() > 0
        };
        assert!(!is_exported(&Counters::default()));
        for index in 0..ShardCounters::COUNT {
            let only = ShardCounters::from_array(std::array::from_fn(|i| u64::from(i == index)));
            let mut counters = Counters::default();
            counters.set_shard(only);
            assert!(is_exported(&counters), "{only:?}");
        }
    }

    #[test]
    fn metrics_of_the_identities_file_are_exported_only_with_one() {
        let authorization = Authorizer::new(&Authorization::Identities(Vec::new()));
        let registry = Arc::clone(authorization.registry().unwrap());
        let cpus = PinnedCpus::new(0);
        let status = Status::new(Arc::new(authorization), Arc::default(), None, None, cpus);
        let metrics = GatewayMetrics::new(Arc::new([]), Arc::new(status));
        let page = metrics.page().unwrap();
        assert!(page.contains("snapgate_identities 0"), "{page}");
        assert!(!page.contains("snapgate_identities_last_"), "{page}");
        registry.note_file();
        let page = metrics.page().unwrap();
        assert_eq!(page.matches("# TYPE snapgate_identities_last_").count(), 3);
    }

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

        let authorization = Authorizer::new(&Authorization::AnyIdentity);
        let cpus = PinnedCpus::new(2);
        let status = Status::new(Arc::new(authorization), Arc::default(), None, None, cpus);
        let text = GatewayMetrics::new(workers, Arc::new(status))
            .page()
            .unwrap();

        for line in [
            r#"snapgate_handover_packets_total{worker="0"} 0"#,
            r#"snapgate_handover_packets_total{worker="1"} 3"#,
            r#"snapgate_tunnels{worker="1"} 5"#,
            r#"snapgate_pinned_cpu{worker="1"} -1"#,
            r#"snapgate_received_packets_total{worker="0",direction="incoming"} 0"#,
            r#"snapgate_dropped_packets_total{worker="1",stage="tunnel",reason="no_tunnel"} 7"#,
        ] {
            assert!(text.lines().any(|l| l == line), "missing {line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
