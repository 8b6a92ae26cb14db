//! Counters of the gateway, from its metrics.

use std::collections::BTreeMap;

use crate::harness::error::BenchError;
use crate::harness::server::Server;

/// Time series of a gateway, summed over its workers, by name and labels:
/// `dropped_packets_total{stage="tunnel",reason="forged"}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counters(BTreeMap<String, f64>);

impl Counters {
    pub(crate) fn of(server: &Server) -> Result<Self, BenchError> {
        Ok(Self::parse(&server.scrape()?))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut series = BTreeMap::new();
        for line in text.lines() {
            let parts = line
                .strip_prefix("snapgate_")
                .and_then(|line| line.rsplit_once(' '));
            if let Some((name, value)) = parts
                && let Ok(value) = value.parse::<f64>()
            {
                *series.entry(without_worker(name)).or_default() += value;
            }
        }
        Self(series)
    }

    /// Returns the sum of all series whose name and labels begin with `prefix`.
    pub(crate) fn sum(&self, prefix: &str) -> u64 {
        let matching = self.0.iter().filter(|(name, _)| name.starts_with(prefix));
        matching.map(|(_, value)| *value).sum::<f64>() as u64
    }

    /// Returns the increase of each counter since `before`. Gauges keep their value.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let risen = self.0.iter().map(|(name, value)| {
            let is_counter = name.contains("_total");
            let before = before.0.get(name).filter(|_| is_counter);
            (name.clone(), value - before.unwrap_or(&0.0))
        });
        Self(risen.collect())
    }

    /// Returns the counters of drops, cookies, handshakes and tunnel changes that are not 0.
    pub(crate) fn notable(&self) -> impl Iterator<Item = (&str, u64)> {
        const NOTABLE: [&str; 8] = [
            "cookies_demanded_total",
            "cookies_verified_total",
            "dropped_packets_total",
            "handshakes_total",
            "initiations_sent_total",
            "kernel_dropped_packets_total",
            "overloaded_seconds_total",
            "tunnel_changes_total",
        ];
        self.0
            .iter()
            .filter(|(name, value)| {
                **value > 0.0 && NOTABLE.iter().any(|notable| name.starts_with(notable))
            })
            .map(|(name, value)| (name.as_str(), *value as u64))
    }
}

/// Removes the label `worker`: `name{a="b",worker="0"}` becomes `name{a="b"}`.
fn without_worker(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else {
        return series.to_owned();
    };
    let labels: Vec<&str> = labels
        .trim_end_matches('}')
        .split(',')
        .filter(|label| !label.starts_with("worker="))
        .collect();
    if labels.is_empty() {
        return name.to_owned();
    }
    format!("{name}{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "HTTP/1.1 200 OK\r\n\r\n# TYPE snapgate_turns counter\n\
        snapgate_turns_total{worker=\"0\"} 7\nsnapgate_turns_total{worker=\"1\"} 2\n\
        snapgate_tunnels{worker=\"0\"} 5\n\
        snapgate_dropped_packets_total{worker=\"0\",stage=\"tunnel\",reason=\"forged\"} 3\n";

    #[test]
    fn series_are_summed_over_workers() {
        let counters = Counters::parse(TEXT);
        assert_eq!(counters.sum("turns_total"), 9);
        assert_eq!(counters.sum("dropped_packets_total{stage=\"tunnel\""), 3);
        let notable: Vec<_> = counters.notable().collect();
        assert_eq!(
            notable,
            [(
                "dropped_packets_total{stage=\"tunnel\",reason=\"forged\"}",
                3
            )]
        );
    }

    #[test]
    fn since_subtracts_counters_but_not_gauges() {
        let before = Counters::parse(TEXT);
        let later = Counters::parse(&TEXT.replace("} 3\n", "} 10\n"));
        let risen = later.since(&before);
        assert_eq!(risen.sum("dropped_packets_total"), 7);
        assert_eq!(risen.sum("turns_total"), 0);
        assert_eq!(risen.sum("tunnels"), 5);
    }
}
