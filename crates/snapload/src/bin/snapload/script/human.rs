//! Output of a scenario for people: lines per interval, tables per phase, and the verdict.

use std::io;

use snapload::scenario::{
    Garbage, Load, LoadReport, Phase, PhaseReport, Scenario, ScenarioProgress, ScenarioReport,
};
use snapload::{Interval, LoadConfig, Presence, Rate, Shares};

use crate::human::{grouped, measured, percent, plural, scaled};
use crate::screen::Screen;
use crate::table::aligned;

/// Output of a scenario for people.
pub(super) struct Human {
    screen: Screen,
    /// Garbage sent by the end of the previous interval.
    garbage_before: Vec<u64>,
}

impl Human {
    pub(super) fn new() -> Self {
        Self {
            screen: Screen::new(false),
            garbage_before: Vec::new(),
        }
    }

    pub(super) fn begin(&self, scenario: &Scenario, base: &LoadConfig) -> io::Result<()> {
        self.screen.print(&format!(
            "Scenario    {}\nGateway     {}\nIdentities  {}\n",
            scenario.title,
            base.gateway,
            grouped(scenario.identities_needed() as u64)
        ))
    }

    pub(super) fn progress(&mut self, progress: ScenarioProgress<'_>) -> io::Result<()> {
        match progress {
            ScenarioProgress::Phase(phase) => {
                self.garbage_before = vec![0; phase.garbage.len()];
                self.screen.print(&plan(phase))
            }
            ScenarioProgress::Connecting {
                population,
                connected,
                tunnels,
            } => {
                self.screen.message(format!(
                    "{population}: {connected} of {tunnels} tunnels connected"
                ));
                Ok(())
            }
            ScenarioProgress::Interval {
                phase,
                loads,
                garbage,
            } => {
                self.screen.message(phase.name.clone());
                let text = lines(phase, loads, garbage, &self.garbage_before);
                self.garbage_before = garbage.to_vec();
                self.screen.print(&text)
            }
            ScenarioProgress::PhaseDone(report) => self.screen.print(&tables(report)),
            _ => Ok(()),
        }
    }

    pub(super) fn verdict(&self, report: &ScenarioReport) -> io::Result<()> {
        self.screen.finish();
        if report.interrupted {
            // Checks apply to whole phases.
            return Ok(());
        }
        let mut text = String::new();
        for phase in &report.phases {
            for (population, check) in phase.failed_checks() {
                text += &format!("FAIL  {}, {population}: {check}\n", phase.phase);
            }
        }
        if report.passed {
            text += &format!("PASS  {}\n", report.title);
        }
        self.screen.print(&text)
    }
}

/// Returns a description of a phase, and the header of its intervals.
fn plan(phase: &Phase) -> String {
    let loads = phase.loads.iter().map(|load| (&load.name, load_plan(load)));
    let garbage = phase
        .garbage
        .iter()
        .map(|garbage| (&garbage.name, garbage_plan(garbage)));
    let mut text = format!("\nPhase {}, {:?}\n", phase.name, phase.duration);
    for (name, what) in loads.chain(garbage) {
        text += &format!("  {name}: {what}\n");
    }
    text + &line(
        phase,
        "time",
        "",
        ["sent", "back", "p99"].map(str::to_owned),
    )
}

/// Returns a line of the table of intervals.
fn line(phase: &Phase, time: &str, name: &str, [sent, back, p99]: [String; 3]) -> String {
    let loads = phase.loads.iter().map(|load| &load.name);
    let names = loads.chain(phase.garbage.iter().map(|garbage| &garbage.name));
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
    let line = format!("{time:>7}  {name:<width$}  {sent:>10}  {back:>10}  {p99:>9}");
    line.trim_end().to_owned() + "\n"
}

fn load_plan(load: &Load) -> String {
    let mut what = plural(load.tunnels, "tunnel");
    match load.presence {
        Presence::Throughout => {}
        Presence::AtOnce { after } => what += &format!(", connecting at once after {after:?}"),
        Presence::Turnover { lifetime, .. } => {
            what += &format!(", each replaced after {lifetime:?}");
        }
    }
    what += &match load.rate {
        Rate::PerSecond(pps) => format!(", {}", scaled(pps, "pps")),
        Rate::Ramp { from, to, steps } => format!(
            ", {} to {} in {steps} steps",
            scaled(from, "pps"),
            scaled(to, "pps")
        ),
        Rate::Max { window } => format!(", {window} packets in flight"),
    };
    if let Shares::Zipf(exponent) = load.shares {
        what += &format!(", shared by Zipf's law ({exponent})");
    }
    if let Some(after) = load.rekey_at {
        what += &format!(", all rekeying after {after:?}");
    }
    what + &format!(", {} bytes", load.size)
}

fn garbage_plan(garbage: &Garbage) -> String {
    let kinds: Vec<String> = garbage.kinds.iter().map(ToString::to_string).collect();
    format!(
        "{} from {}, {}",
        kinds.join(", "),
        plural(garbage.sockets, "socket"),
        scaled(garbage.pps, "pps")
    )
}

/// Returns the lines of an interval, one per population.
fn lines(phase: &Phase, loads: &[Interval], garbage: &[u64], garbage_before: &[u64]) -> String {
    let end = loads.first().map_or(0.0, |interval| interval.end_seconds);
    let seconds = loads.first().map_or(1.0, |interval| interval.seconds);
    let mut time_cell = format!("{end:.1} s");
    let mut text = String::new();
    for (load, interval) in phase.loads.iter().zip(loads) {
        let p99 = measured(interval.latency.count, interval.latency.p99_ns);
        let [sent, back] = [interval.sent_pps, interval.received_pps].map(|pps| scaled(pps, "pps"));
        let mut line = line(phase, &time_cell, &load.name, [sent, back, p99]);
        for (count, what) in [
            (interval.counts.connected, "connected"),
            (interval.counts.rekeyed, "rekeyed"),
        ] {
            if count > 0 {
                line = format!("{}  {count} {what}\n", line.trim_end());
            }
        }
        text += &line;
        time_cell.clear();
    }
    for ((garbage, sent), before) in phase.garbage.iter().zip(garbage).zip(garbage_before) {
        let rate = sent.saturating_sub(*before) as f64 / seconds;
        let cells = [scaled(rate, "pps"), String::new(), String::new()];
        text += &line(phase, "", &garbage.name, cells);
    }
    text
}

/// Returns the results of a phase: handshakes, packets, garbage and the steps of ramps.
fn tables(report: &PhaseReport) -> String {
    let header = ["tunnels", "connected", "handshake p50", "handshake max"];
    let mut text = loads_table(report, &header, handshake_cells);
    let header = ["sent", "lost", "loss", "p50", "p99", "max"];
    text += &loads_table(report, &header, packet_cells);
    for garbage in &report.garbage {
        text += &format!(
            "{}: {} datagrams sent, {}, {} answers\n",
            garbage.name,
            grouped(garbage.sent),
            scaled(garbage.sent_pps, "pps"),
            grouped(garbage.answers),
        );
    }
    for load in report
        .loads
        .iter()
        .filter(|load| !load.report.steps.is_empty())
    {
        text += &format!("\n{}", steps_table(load));
    }
    text + "\n"
}

/// Returns a table with a line per load, after a blank line.
fn loads_table(
    report: &PhaseReport,
    header: &[&str],
    cells: fn(&LoadReport) -> Vec<String>,
) -> String {
    let header = header.iter().map(|name| (*name).to_owned()).collect();
    let mut lines = vec![[vec![report.phase.clone()], header].concat()];
    for load in &report.loads {
        lines.push([vec![load.name.clone()], cells(load)].concat());
    }
    format!("\n{}", aligned(&lines))
}

fn handshake_cells(load: &LoadReport) -> Vec<String> {
    let report = &load.report;
    let handshake = &report.handshake;
    vec![
        grouped(load.tunnels as u64),
        grouped(report.connect.tunnels as u64 + report.counts.connected),
        measured(handshake.count, handshake.p50_ns),
        measured(handshake.count, handshake.max_ns),
    ]
}

fn packet_cells(load: &LoadReport) -> Vec<String> {
    let report = &load.report;
    let latency = &report.latency;
    vec![
        grouped(report.counts.sent),
        grouped(report.lost),
        percent(report.loss_share),
        measured(latency.count, latency.p50_ns),
        measured(latency.count, latency.p99_ns),
        measured(latency.count, latency.max_ns),
    ]
}

fn steps_table(load: &LoadReport) -> String {
    let header = [load.name.as_str(), "sent", "lost", "loss"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    lines.extend(load.report.steps.iter().map(|step| {
        vec![
            scaled(step.offered_pps, "pps"),
            grouped(step.sent),
            grouped(step.sent.saturating_sub(step.received)),
            percent(step.loss_share),
        ]
    }));
    let result = match load.loss_free_pps {
        Some(pps) => format!("No loss up to {}.\n", scaled(pps, "pps")),
        None if load.report.counts.sent == 0 => String::new(),
        None => "Loss at every rate.\n".to_owned(),
    };
    aligned(&lines) + &result
}
