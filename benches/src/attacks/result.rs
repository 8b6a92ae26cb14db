//! The verdict on each case, and the three forms it is written in.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::attack::Attack;
use super::attacker::Tally;
use super::case::{Newcomer, Outcome, TUNNELS, Target};
use crate::peers::error::BenchError;

/// The most of the round trips that may be lost, in percent.
const LOST_PERCENT_MAX: f64 = 0.1;

/// How much memory may grow: a few tunnels, and what the allocator takes at a time.
const GROWTH_MIB_MAX: f64 = 4.0;

/// The least of the garbage that has to be in some counter, in percent.
const COUNTED_PERCENT_MIN: f64 = 99.0;

/// How long an authorized newcomer may take.
const NEWCOMER_SECONDS_MAX: f64 = 5.0;

/// How much longer the 99th percentile may be than without an attack on the gateway.
const P99_RATIO_MAX: f64 = 3.0;

/// Tunnels of one identity (`--tunnels-per-identity`).
const TUNNELS_PER_IDENTITY: f64 = 64.0;

const BYTES_PER_MIB: f64 = (1 << 20) as f64;

/// A case with its verdict.
#[derive(Debug, Serialize)]
pub(crate) struct Judged {
    name: &'static str,
    /// What was sent.
    about: &'static str,
    attacker: Tally,
    round_trips: u64,
    lost: u64,
    lost_percent: f64,
    /// The load could not keep up, or lost packets at its own sockets: what is lost is a bound then.
    limited_by_generator: bool,
    p50_us: f64,
    p99_us: f64,
    newcomer: Newcomer,
    gateway_cpu_percent: f64,
    resident_mib: [f64; 2],
    tunnels: u64,
    bounds: Vec<Bound>,
    /// What the gateway counted meanwhile.
    counters: Vec<(String, u64)>,
}

/// What has to hold.
#[derive(Debug, Serialize)]
struct Bound {
    what: &'static str,
    value: f64,
    unit: &'static str,
    limit: Limit,
    holds: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn new(what: &'static str, value: f64, unit: &'static str, limit: Limit) -> Self {
        let holds = match limit {
            Limit::AtMost(most) => value <= most,
            Limit::AtLeast(least) => value >= least,
        };
        Self {
            what,
            value,
            unit,
            limit,
            holds,
        }
    }

    fn text(&self) -> String {
        let (sign, limit) = match self.limit {
            Limit::AtMost(most) => ('≤', most),
            Limit::AtLeast(least) => ('≥', least),
        };
        let verdict = if self.holds { "holds" } else { "DOES NOT HOLD" };
        format!(
            "{}: {}{} ({sign} {limit}): {verdict}",
            self.what,
            number(self.value),
            self.unit
        )
    }
}

/// Judges what came out of a case; `baseline` is the case without an attack on the gateway.
pub(crate) fn judge(outcome: &Outcome, baseline: &Outcome) -> Judged {
    let p99_us = |outcome: &Outcome| outcome.report.latency.p99_ns as f64 / 1e3;
    let bounds = bounds(outcome, p99_us(outcome) / p99_us(baseline));
    Judged {
        name: match (outcome.attack, outcome.target) {
            (None, _) => "peace",
            (Some(_), Target::Decoy) => "decoy",
            (Some(attack), Target::Gateway) => attack.name(),
        },
        about: match (outcome.attack, outcome.target) {
            (None, _) => "no attack",
            (Some(_), Target::Decoy) => "the attack that follows, on a socket that nobody reads",
            (Some(attack), Target::Gateway) => attack.about(),
        },
        attacker: outcome.tally,
        round_trips: outcome.report.counts.sent,
        lost: outcome.report.lost,
        lost_percent: outcome.report.loss_share * 100.0,
        limited_by_generator: outcome.report.limited_by_generator,
        p50_us: outcome.report.latency.p50_ns as f64 / 1e3,
        p99_us: p99_us(outcome),
        newcomer: outcome.newcomer,
        gateway_cpu_percent: outcome.gateway_cpu_percent,
        resident_mib: outcome.resident.map(|bytes| bytes as f64 / BYTES_PER_MIB),
        tunnels: outcome.counters.sum("tunnels"),
        bounds,
        counters: outcome
            .counters
            .notable()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

fn bounds(outcome: &Outcome, p99_ratio: f64) -> Vec<Bound> {
    let Outcome {
        attack,
        target,
        tally,
        report,
        newcomer,
        resident: [before, after],
        counters,
        ..
    } = outcome;
    let count = |prefix| counters.sum(prefix) as f64;
    let newcomers = f64::from(u8::from(newcomer.seconds.is_some()));
    let lost = report.loss_share * 100.0;
    let growth = after.saturating_sub(*before) as f64 / BYTES_PER_MIB;
    let mut bounds = vec![
        Bound::new("lost", lost, " %", Limit::AtMost(LOST_PERCENT_MAX)),
        Bound::new(
            "memory grew by",
            growth,
            " MiB",
            Limit::AtMost(GROWTH_MIB_MAX),
        ),
    ];
    bounds.extend(match attack.filter(|_| *target == Target::Gateway) {
        None => vec![],
        Some(Attack::Garbage) => {
            let counted = count("kernel_dropped_packets_total") + count("dropped_packets_total");
            let percent = counted / tally.sent.max(1) as f64 * 100.0;
            let limit = Limit::AtLeast(COUNTED_PERCENT_MIN);
            vec![Bound::new("counted", percent, " %", limit)]
        }
        Some(Attack::Strangers) => {
            let seconds = newcomer.seconds.unwrap_or(f64::INFINITY);
            let limit = Limit::AtMost(NEWCOMER_SECONDS_MAX);
            vec![
                Bound::new("a newcomer connects within", seconds, " s", limit),
                Bound::new(
                    "p99 against that of the decoy",
                    p99_ratio,
                    " x",
                    Limit::AtMost(P99_RATIO_MAX),
                ),
            ]
        }
        Some(Attack::Replay) => {
            let created = count("tunnel_changes_total{change=\"created\"") - newcomers;
            vec![
                Bound::new("tunnels made", created, "", Limit::AtMost(0.0)),
                Bound::new("answers", tally.answers as f64, "", Limit::AtMost(0.0)),
            ]
        }
        Some(Attack::ManyTunnels) => {
            // A newcomer that was kept waiting may have begun from several ports.
            let own = count("tunnels") - TUNNELS as f64 - newcomer.tunnels_max() as f64;
            let limit = Limit::AtMost(TUNNELS_PER_IDENTITY);
            vec![Bound::new("tunnels of the identity", own, "", limit)]
        }
        Some(Attack::ForgedData) => {
            let changes = count("tunnel_changes_total") - newcomers;
            let handshakes = count("handshakes_total{result=\"answered\"") - newcomers;
            vec![
                Bound::new("tunnels changed", changes, "", Limit::AtMost(0.0)),
                Bound::new("sessions made anew", handshakes, "", Limit::AtMost(0.0)),
            ]
        }
    });
    bounds
}

impl Judged {
    /// Whether every bound holds.
    pub(crate) fn holds(&self) -> bool {
        self.bounds.iter().all(|bound| bound.holds)
    }

    /// A paragraph for a terminal.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}: {}", self.name, self.about)?;
        for (name, value) in HEADING.iter().zip(self.cells()).skip(1) {
            writeln!(out, "  {name:<22}{value}")?;
        }
        if self.limited_by_generator {
            writeln!(out, "  {LIMITED}")?;
        }
        for bound in &self.bounds {
            writeln!(out, "  {}", bound.text())?;
        }
        for (name, value) in &self.counters {
            writeln!(out, "    {name} {value}")?;
        }
        writeln!(out)
    }

    /// One JSON object and a newline.
    pub(crate) fn write_json(&self, out: &mut impl Write) -> Result<(), BenchError> {
        serde_json::to_writer(&mut *out, self)?;
        Ok(writeln!(out)?)
    }

    /// What stands below [`HEADING`].
    fn cells(&self) -> [String; 9] {
        let attacker = &self.attacker;
        let rate = if attacker.seconds > 0.0 {
            format!("{:.0}", attacker.sent as f64 / attacker.seconds)
        } else {
            "-".to_owned()
        };
        let newcomer = self.newcomer.seconds.map_or_else(
            || "never".to_owned(),
            |seconds| format!("{:.1} ms", seconds * 1e3),
        );
        let [before, after] = self.resident_mib;
        [
            self.about.to_owned(),
            rate,
            attacker.answers.to_string(),
            format!(
                "{} of {} ({:.4} %)",
                self.lost, self.round_trips, self.lost_percent
            ),
            format!("{:.0} / {:.0} µs", self.p50_us, self.p99_us),
            newcomer,
            format!("{:.0} %", self.gateway_cpu_percent),
            format!("{before:.1} → {after:.1} MiB"),
            self.tunnels.to_string(),
        ]
    }
}

const LIMITED: &str = "the load was the limit: what it lost and how long it took is partly its own";

const HEADING: [&str; 9] = [
    "attack",
    "datagrams/s",
    "answers",
    "lost round trips",
    "p50 / p99",
    "newcomer connects in",
    "gateway's CPU",
    "resident memory",
    "tunnels at the end",
];

/// The tables of docs/SECURITY.md.
pub(crate) fn write_markdown(out: &mut impl Write, results: &[Judged]) -> io::Result<()> {
    writeln!(out, "| {} |", HEADING.join(" | "))?;
    writeln!(out, "|{}", " --- |".repeat(HEADING.len()))?;
    for result in results {
        writeln!(out, "| {} |", result.cells().join(" | "))?;
    }
    writeln!(out, "\nWhat has to hold, and what the gateway counted:\n")?;
    for result in results {
        let bounds: Vec<String> = result.bounds.iter().map(Bound::text).collect();
        let mut counted = String::new();
        if result.limited_by_generator {
            counted = format!(" ({LIMITED})");
        }
        for (name, value) in &result.counters {
            // It cannot fail.
            let _written = write!(counted, " `{name}` {value}");
        }
        let name = result.name;
        writeln!(out, "- **{name}**: {}.{counted}", bounds.join("; "))?;
    }
    Ok(())
}

/// Three significant digits or more; none of a whole number.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_says_what_was_measured_and_whether_it_holds() {
        let most = Bound::new("lost", 0.0512, " %", Limit::AtMost(0.1));
        assert_eq!(most.text(), "lost: 0.051 % (≤ 0.1): holds");
        let least = Bound::new("counted", 12.0, " %", Limit::AtLeast(99.0));
        assert_eq!(least.text(), "counted: 12 % (≥ 99): DOES NOT HOLD");
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        assert!(!Bound::new("p99", f64::NAN, " x", Limit::AtMost(3.0)).holds);
        assert!(!Bound::new("newcomer", f64::INFINITY, " s", Limit::AtMost(5.0)).holds);
    }
}
