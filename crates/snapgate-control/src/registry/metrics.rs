//! Metrics of the registrations.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::outcome::Effect;
use super::{Counts, Registry, Sizes};

/// Collector of the metrics of a registry. Refused registrations are among the metrics of the
/// [server](crate::rpc::ControlMetrics).
#[derive(Clone)]
pub struct RegistryMetrics(Registry);

impl RegistryMetrics {
    /// Returns the collector of a registry.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self(registry)
    }
}

impl fmt::Debug for RegistryMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryMetrics").finish_non_exhaustive()
    }
}

impl Collector for RegistryMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Sizes {
            registrations,
            used_tokens,
            revocations,
        } = self.0.sizes();
        for (name, help, number) in [
            (
                "snapgate_control_registrations",
                "Registered identities, which the settings registrations and registrations_per_pssid limit.",
                registrations,
            ),
            (
                "snapgate_control_used_tokens",
                "Replaced and revoked tokens, which are remembered so that they register no other identity.",
                used_tokens,
            ),
            (
                "snapgate_control_revocations",
                "Revocations in force.",
                revocations,
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX)).encode(metric)?;
        }
        let counts = self.0.counts();
        let help = explained("Accepted registrations, by effect.");
        let name = "snapgate_control_accepted_registrations";
        let mut accepted = encoder.encode_descriptor(name, &help, None, MetricType::Counter)?;
        for (effect, number) in Effect::ALL.iter().zip(counts.accepted) {
            let labels = [("effect", effect.name())];
            ConstCounter::new(number).encode(accepted.encode_family(&labels)?)?;
        }
        encode_ended(&mut encoder, &counts)?;
        let name = "snapgate_control_commits";
        let help = "Writes of registrations and revocations to storage, each of one or more of them, by result.";
        let mut commits = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        let ok = counts.commits.saturating_sub(counts.failed_commits);
        for (result, number) in [("ok", ok), ("failed", counts.failed_commits)] {
            let labels = [("result", result)];
            ConstCounter::new(number).encode(commits.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn encode_ended(encoder: &mut DescriptorEncoder<'_>, counts: &Counts) -> fmt::Result {
    let name = "snapgate_control_ended_registrations";
    let help = "Registrations that ended, by reason.";
    let mut ended = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (reason, number) in [("expired", counts.expired), ("revoked", counts.revoked)] {
        let labels = [("reason", reason)];
        ConstCounter::new(number).encode(ended.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Appends the meaning of each effect to a help text.
fn explained(help: &str) -> String {
    let mut text = help.to_owned();
    for effect in Effect::ALL {
        text.push_str(&format!(" {}: {effect}.", effect.name()));
    }
    text
}
