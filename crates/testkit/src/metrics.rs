//! Parser for scraped metrics.

use std::collections::BTreeMap;
use std::fmt;

/// Samples of one scrape, by `name{labels}` as the gateway writes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    /// Parses the Prometheus or OpenMetrics text format.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').expect("name and value");
                (name.to_owned(), value.parse().expect("a number"))
            })
            .collect();
        Self { samples }
    }

    /// Parses the response to `GET /metrics`.
    pub(crate) fn of_response((status, text): (u16, String)) -> Self {
        assert_eq!(status, 200, "{text}");
        Self::parse(&text)
    }

    /// Returns the value of one sample, such as `snapgate_tunnels{worker="0"}`.
    #[must_use]
    pub fn get(&self, sample: &str) -> f64 {
        match self.samples.get(sample) {
            Some(value) => *value,
            None => panic!("no {sample} in\n{self}"),
        }
    }

    /// Returns the sum of all samples of `metric`.
    #[must_use]
    pub fn sum(&self, metric: &str) -> u64 {
        self.sum_where(metric, &[])
    }

    /// Returns the sum of the samples of `metric` that have all of `labels`.
    #[must_use]
    pub fn sum_where(&self, metric: &str, labels: &[(&str, &str)]) -> u64 {
        let mut values = self.samples.iter().filter_map(|(sample, value)| {
            let (name, rest) = sample.split_once('{').unwrap_or((sample, ""));
            let has = |(label, value): &(&str, &str)| {
                rest.trim_end_matches('}')
                    .split(',')
                    .any(|one| one == format!("{label}=\"{value}\""))
            };
            (name == metric && labels.iter().all(has)).then_some(*value)
        });
        let Some(first) = values.next() else {
            panic!("no {metric} with {labels:?} in\n{self}");
        };
        (first + values.sum::<f64>()) as u64
    }

    /// Returns the number of datagrams dropped at `stage` for `reason`.
    #[must_use]
    pub fn dropped(&self, stage: &str, reason: &str) -> u64 {
        let labels = [("stage", stage), ("reason", reason)];
        self.sum_where("snapgate_dropped_packets_total", &labels)
    }

    /// Checks that every received datagram has a fate.
    ///
    /// # Panics
    ///
    /// If one has none, or more than one.
    pub fn assert_balanced(&self) {
        let mailbox = |side| self.sum_where("snapgate_mailbox_packets_total", &[("side", side)]);
        let fates = [
            "snapgate_delivered_packets_total",
            "snapgate_sent_packets_total",
            "snapgate_dropped_packets_total",
            "snapgate_in_flight_packets",
        ];
        assert_eq!(
            self.sum("snapgate_received_packets_total") + mailbox("taken"),
            fates.iter().map(|fate| self.sum(fate)).sum::<u64>() + mailbox("given"),
            "{self}"
        );
    }

    /// Returns all samples except those that are 0, ordered by name.
    pub fn non_zero(&self) -> impl Iterator<Item = (&str, f64)> {
        self.samples
            .iter()
            .filter(|(_, value)| **value != 0.0)
            .map(|(sample, value)| (sample.as_str(), *value))
    }
}

/// One sample per line, without those that are 0.
impl fmt::Display for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (sample, value) in self.non_zero() {
            writeln!(formatter, "{sample} {value}")?;
        }
        Ok(())
    }
}
