//! Verdict on each case, as text, JSON and Markdown.

use std::io::{self, Write};

use serde::Serialize;

use super::attack::Attack;
use super::attacker::Tally;
use super::case::{Newcomer, Outcome, Target};
use super::counters::Counters;
use super::half_open;
use super::rekeys::Rekeys;
use crate::harness::entry::Entry as _;
use crate::harness::limit::{Limit, Verdict};
use crate::harness::report::{Finding, TERMINAL_COLUMNS, write_table, write_wrapped};

/// Maximum loss of round trips, in percent.
const LOST_PERCENT_MAX: f64 = 0.1;

/// Maximum growth of memory: a few tunnels, and the granularity of the allocator.
const GROWTH_MIB_MAX: f64 = 4.0;

/// Minimum share of random datagrams in the gateway's counters, in percent.
const COUNTED_PERCENT_MIN: f64 = 99.0;

/// Minimum share of its rate that an attack must reach to be meaningful, in percent.
const RATE_PERCENT_MIN: f64 = 90.0;

/// Maximum rate of cookies to one unverified address: 500 per second, and those of the seconds at both ends.
const COOKIES_PER_SECOND_MAX: f64 = 600.0;

/// Maximum additional CPU time of the gateway for the handshakes of one identity, in percent of a CPU.
const CPU_OF_IDENTITY_PERCENT_MAX: f64 = 50.0;

/// Maximum response time of the health check.
const PROBE_SECONDS_MAX: f64 = 2.0;

/// Maximum growth of memory in `half-open`: in addition to [`GROWTH_MIB_MAX`], 1 MiB of waiting packets per identity of
/// the attackers (`waiting_bytes_per_identity`), and as much again for the allocator and receive buffers.
const GROWTH_OF_HALF_OPEN_MIB_MAX: f64 = 4.0 + 2.0 * half_open::ATTACKERS as f64;

/// Maximum time in which an authorized newcomer connects.
const NEWCOMER_SECONDS_MAX: f64 = 5.0;

/// Maximum ratio of the 99th percentile of the latency to that without an attack on the gateway.
const P99_RATIO_MAX: f64 = 3.0;

/// Maximum number of tunnels of one identity (`--tunnels-per-identity`).
const TUNNELS_PER_IDENTITY: f64 = 64.0;

const BYTES_PER_MIB: f64 = (1 << 20) as f64;

/// Results of a case with its verdict.
#[derive(Debug, Serialize)]
pub(crate) struct Judged {
    name: String,
    /// Description of the attack.
    about: String,
    attacker: Tally,
    round_trips: u64,
    lost: u64,
    lost_percent: f64,
    /// The load generator was too slow or lost packets at its sockets, so that `lost` is an upper bound.
    limited_by_generator: bool,
    p50_us: f64,
    p99_us: f64,
    newcomer: Newcomer,
    rekeys: Rekeys,
    gateway_cpu_percent: f64,
    resident_mib: [f64; 2],
    tunnels: u64,
    bounds: Vec<Bound>,
    /// Remarks on the results.
    notes: Vec<&'static str>,
    /// Counters of the gateway during the attack.
    counters: Vec<(String, u64)>,
}

/// A bound, the measured value, and the verdict.
#[derive(Debug, Serialize)]
struct Bound {
    what: &'static str,
    value: f64,
    unit: &'static str,
    limit: Limit,
    holds: bool,
}

impl Bound {
    fn new(what: &'static str, value: f64, unit: &'static str, limit: Limit) -> Self {
        Self {
            what,
            value,
            unit,
            limit,
            holds: limit.holds(value),
        }
    }

    fn text(&self) -> String {
        let Self {
            what, unit, limit, ..
        } = self;
        let (value, verdict) = (number(self.value), Verdict::of(self.holds).text());
        format!("{what}: {value}{unit} ({limit}): {verdict}")
    }
}

/// Checks the bounds of a case; `baseline` is the case without an attack on the gateway.
pub(crate) fn judge(outcome: &Outcome, baseline: &Outcome) -> Judged {
    let (name, about) = match (outcome.attack, outcome.target) {
        (None, _) => ("no-attack".to_owned(), "no attack".to_owned()),
        (Some(_), Target::Decoy(_)) => (
            "decoy".to_owned(),
            "the next attack, on a socket that is never read".to_owned(),
        ),
        (Some(attack), Target::Gateway) => (attack.name(), attack.about()),
    };
    Judged {
        name,
        about,
        attacker: outcome.tally,
        round_trips: outcome.report.counts.sent,
        lost: outcome.report.lost,
        lost_percent: outcome.report.loss_share * 100.0,
        limited_by_generator: outcome.report.limited_by_generator,
        p50_us: outcome.report.latency.p50_ns as f64 / 1e3,
        p99_us: p99_us(outcome),
        newcomer: outcome.newcomer,
        rekeys: outcome.rekeys,
        gateway_cpu_percent: outcome.gateway_cpu_percent,
        resident_mib: outcome.resident.map(|bytes| bytes as f64 / BYTES_PER_MIB),
        tunnels: outcome.counters.sum("tunnels"),
        bounds: bounds(outcome, baseline),
        notes: notes(outcome),
        counters: outcome
            .counters
            .notable()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

fn notes(outcome: &Outcome) -> Vec<&'static str> {
    let limited = outcome.report.limited_by_generator.then_some(LIMITED);
    let not_judged = outcome.attack == Some(Attack::Future) && !is_clock_trusted(&outcome.counters);
    limited
        .into_iter()
        .chain(not_judged.then_some(CLOCK_NOT_TRUSTED))
        .collect()
}

fn is_clock_trusted(counters: &Counters) -> bool {
    counters.sum("system_clock_trusted") > 0
}

fn p99_us(outcome: &Outcome) -> f64 {
    outcome.report.latency.p99_ns as f64 / 1e3
}

fn bounds(outcome: &Outcome, baseline: &Outcome) -> Vec<Bound> {
    let [before, after] = outcome.resident;
    let growth_max = match outcome.attack {
        Some(Attack::HalfOpen) => GROWTH_OF_HALF_OPEN_MIB_MAX,
        _ => GROWTH_MIB_MAX,
    };
    let lost = outcome.report.loss_share * 100.0;
    let growth = after.saturating_sub(before) as f64 / BYTES_PER_MIB;
    let mut bounds = vec![
        at_most("lost", lost, " %", LOST_PERCENT_MAX),
        at_most("memory grew by", growth, " MiB", growth_max),
    ];
    let Some(attack) = outcome.attack.filter(|_| outcome.target == Target::Gateway) else {
        return bounds;
    };
    let tally = &outcome.tally;
    if let Some(wanted) = tally.wanted_per_second {
        let percent = tally.sent as f64 / tally.seconds / wanted as f64 * 100.0;
        let limit = Limit::AtLeast(RATE_PERCENT_MIN);
        bounds.push(Bound::new("of the attack's rate", percent, " %", limit));
    }
    let Rekeys { begun, failed, .. } = outcome.rekeys;
    let limit = Limit::AtLeast(1.0);
    bounds.push(Bound::new("renewals begun", begun as f64, "", limit));
    bounds.push(at_most("renewals that failed", failed as f64, "", 0.0));
    bounds.extend(bounds_of(attack, outcome, baseline));
    bounds
}

/// Returns the bounds that are specific to an attack.
fn bounds_of(attack: Attack, outcome: &Outcome, baseline: &Outcome) -> Vec<Bound> {
    let Outcome {
        tally,
        newcomer,
        rekeys,
        counters,
        ..
    } = outcome;
    let count = |prefix| counters.sum(prefix) as f64;
    let newcomers = f64::from(u8::from(newcomer.seconds.is_some()));
    // Includes late responses.
    let honest_handshakes = newcomers + rekeys.tries as f64;
    let newcomer_seconds = newcomer.seconds.unwrap_or(f64::INFINITY);
    let connects = at_most(
        "a newcomer connects within",
        newcomer_seconds,
        " s",
        NEWCOMER_SECONDS_MAX,
    );
    let answered = count("handshakes_total{result=\"answered\"") - honest_handshakes;
    match attack {
        Attack::Garbage => {
            let percent = garbage_counted(counters) as f64 / tally.sent.max(1) as f64 * 100.0;
            let limit = Limit::AtLeast(COUNTED_PERCENT_MIN);
            vec![Bound::new("counted", percent, " %", limit), connects]
        }
        Attack::TinyTrains | Attack::Mac1At100 | Attack::Mac1At20k => vec![connects],
        // A newcomer may need longer than the run.
        Attack::Exhausted => vec![],
        Attack::TrainGarbage | Attack::TrainMac1 | Attack::TrainData | Attack::TrainMixed => {
            let renewed = rekeys.begun - rekeys.failed;
            let unanswered = (rekeys.tries - renewed) as f64;
            let by_link = outcome.lost_by_link as f64;
            vec![
                at_most("unanswered initiations", unanswered, "", 0.0),
                at_most("lost by the network", by_link, "", 0.0),
            ]
        }
        Attack::Strangers => {
            let ratio = p99_us(outcome) / p99_us(baseline);
            let p99 = at_most("p99 relative to the decoy", ratio, " x", P99_RATIO_MAX);
            vec![connects, p99]
        }
        Attack::OneAddress => {
            let per_second = tally.answers as f64 / tally.seconds;
            let cookies = at_most("cookies", per_second, "/s", COOKIES_PER_SECOND_MAX);
            vec![cookies, connects]
        }
        Attack::Replay => {
            let created = count("tunnel_changes_total{change=\"created\"") - newcomers;
            vec![
                at_most("tunnels made", created, "", 0.0),
                at_most("answers", tally.answers as f64, "", 0.0),
            ]
        }
        Attack::Future if !is_clock_trusted(counters) => vec![],
        Attack::Future => {
            let seconds = outcome.insider_seconds.unwrap_or(f64::INFINITY);
            vec![
                // One answer is for the identity itself, with a correct clock.
                at_most("initiations answered", answered - 1.0, "", 0.0),
                at_most(
                    "the identity connects within",
                    seconds,
                    " s",
                    NEWCOMER_SECONDS_MAX,
                ),
            ]
        }
        Attack::ManyTunnels => {
            // A slow newcomer may have opened tunnels from several ports.
            let own =
                count("tunnels") - outcome.tunnels_before as f64 - newcomer.tunnels_max() as f64;
            let cpu = outcome.gateway_cpu_percent - baseline.gateway_cpu_percent;
            vec![
                at_most("tunnels of the identity", own, "", TUNNELS_PER_IDENTITY),
                at_most("CPU taken", cpu, " %", CPU_OF_IDENTITY_PERCENT_MAX),
            ]
        }
        Attack::ForgedData => {
            let changes = count("tunnel_changes_total") - newcomers;
            vec![
                at_most("tunnels changed", changes, "", 0.0),
                at_most("new sessions", answered, "", 0.0),
            ]
        }
        Attack::HalfOpen => {
            let arrived = tally.probes_answered as f64 / tally.probes.max(1) as f64 * 100.0;
            let limit = Limit::AtLeast(100.0);
            vec![Bound::new(
                "honest packets that waited arrived",
                arrived,
                " %",
                limit,
            )]
        }
        Attack::IdleHttp => {
            let seconds = tally.slowest_probe_seconds.unwrap_or(f64::INFINITY);
            vec![at_most(
                "slowest response of /livez",
                seconds,
                " s",
                PROBE_SECONDS_MAX,
            )]
        }
    }
}

/// Returns the number of random datagrams in the gateway's counters. The BPF program drops datagrams that cannot be
/// messages, and counts a train as one. The worker drops those in trains with messages or with a message type.
fn garbage_counted(counters: &Counters) -> u64 {
    let by_kernel: u64 = ["garbage", "mixed", "data", "handshake"]
        .map(|socket| {
            counters.sum(&format!(
                "kernel_dropped_packets_total{{socket=\"{socket}\""
            ))
        })
        .iter()
        .sum();
    let by_worker = "dropped_packets_total{stage=\"tunnel\",reason=\"malformed\"";
    by_kernel + counters.sum(by_worker)
}

fn at_most(what: &'static str, value: f64, unit: &'static str, limit: f64) -> Bound {
    Bound::new(what, value, unit, Limit::AtMost(limit))
}

impl Finding for Judged {
    fn verdict(&self) -> Verdict {
        Verdict::of(self.bounds.iter().all(|bound| bound.holds))
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        write_wrapped(out, "", &format!("{}: {}", self.name, self.about))?;
        for (name, value) in HEADING.iter().zip(self.cells()).skip(1) {
            let line = format!("  {name:<22}{value}");
            if line.chars().count() <= TERMINAL_COLUMNS {
                writeln!(out, "{line}")?;
            } else {
                write_wrapped(out, "  ", &format!("{name}: {value}"))?;
            }
        }
        for note in &self.notes {
            write_wrapped(out, "  ", note)?;
        }
        for bound in &self.bounds {
            write_wrapped(out, "  ", &bound.text())?;
        }
        for (name, value) in &self.counters {
            writeln!(out, "  {name} {value}")?;
        }
        writeln!(out)
    }

    fn write_markdown(results: &[Self], out: &mut dyn Write) -> io::Result<()> {
        write_table(out, &HEADING, results.iter().map(Self::cells))?;
        writeln!(out, "\nBounds, and counters of the gateway:\n")?;
        for result in results {
            let bounds: Vec<String> = result.bounds.iter().map(Bound::text).collect();
            write!(out, "- **{}**: {}.", result.name, bounds.join("; "))?;
            for note in &result.notes {
                write!(out, " ({note})")?;
            }
            for (name, value) in &result.counters {
                write!(out, " `{name}` {value}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

impl Judged {
    /// Returns the row below [`HEADING`].
    fn cells(&self) -> [String; 10] {
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
            self.about.clone(),
            rate,
            attacker.answers.to_string(),
            format!(
                "{} of {} ({:.4} %)",
                self.lost, self.round_trips, self.lost_percent
            ),
            format!("{:.0} / {:.0} µs", self.p50_us, self.p99_us),
            newcomer,
            self.rekeys.text(),
            format!("{:.0} %", self.gateway_cpu_percent),
            format!("{before:.1} → {after:.1} MiB"),
            self.tunnels.to_string(),
        ]
    }
}

const LIMITED: &str =
    "the load was the limit: its losses and latencies are partly due to the load generator";

const CLOCK_NOT_TRUSTED: &str =
    "not judged: the gateway does not trust the system clock, so it rejects no timestamps";

const HEADING: [&str; 10] = [
    "attack",
    "sent/s",
    "answers",
    "lost round trips",
    "p50 / p99",
    "newcomer connects in",
    "sessions renewed",
    "gateway's CPU",
    "resident memory",
    "tunnels at the end",
];

/// Formats a number with at least three significant digits, and whole numbers without decimals.
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
    fn bound_text_has_value_limit_and_verdict() {
        let most = Bound::new("lost", 0.0512, " %", Limit::AtMost(0.1));
        assert_eq!(most.text(), "lost: 0.051 % (≤ 0.1): holds");
        let least = Bound::new("counted", 12.0, " %", Limit::AtLeast(99.0));
        assert_eq!(least.text(), "counted: 12 % (≥ 99): DOES NOT HOLD");
    }

    #[test]
    fn garbage_is_counted_by_tunnel_sockets_and_workers() {
        let text = "snapgate_kernel_dropped_packets_total{worker=\"0\",socket=\"garbage\"} 1000\n\
            snapgate_kernel_dropped_packets_total{worker=\"0\",socket=\"mixed\"} 200\n\
            snapgate_kernel_dropped_packets_total{worker=\"1\",socket=\"mixed\"} 30\n\
            snapgate_kernel_dropped_packets_total{worker=\"0\",socket=\"upstream\"} 50000\n\
            snapgate_dropped_packets_total{worker=\"0\",stage=\"tunnel\",reason=\"malformed\"} 4\n\
            snapgate_dropped_packets_total{worker=\"0\",stage=\"tunnel\",reason=\"forged\"} 60000\n";
        assert_eq!(garbage_counted(&Counters::parse(text)), 1234);
    }
}
