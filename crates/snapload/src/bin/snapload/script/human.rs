//! Output of a scenario for people: a line per interval, a table per phase, and the verdict.

use std::io::{self, IsTerminal as _, Write};

use indicatif::ProgressBar;
use snapload::scenario::{
    Garbage, Load, LoadReport, Phase, PhaseReport, Scenario, ScenarioProgress, ScenarioReport,
};
use snapload::{Interval, LoadConfig, Presence, Rate, Shares};

use super::output::Output;
use crate::human::{grouped, plural, scaled, spinner, time};
use crate::table::write_aligned;

/// See the module.
pub(super) struct Human {
    /// What is shown on a terminal while nothing else is.
    spinner: ProgressBar,
    /// Garbage sent by the end of the interval before.
    garbage_before: Vec<u64>,
}

impl Human {
    pub(super) fn new() -> Self {
        let spinner = if io::stderr().is_terminal() {
            spinner()
        } else {
            ProgressBar::hidden()
        };
        Self {
            spinner,
            garbage_before: Vec::new(),
        }
    }

    fn print(&self, text: &str) -> io::Result<()> {
        self.spinner
            .suspend(|| io::stdout().lock().write_all(text.as_bytes()))
    }
}

impl Output for Human {
    fn begin(&mut self, scenario: &Scenario, base: &LoadConfig) -> io::Result<()> {
        self.print(&format!(
            "Scenario    {}\nGateway     {}\nIdentities  {}\n",
            scenario.title,
            base.gateway,
            grouped(scenario.identities_needed() as u64)
        ))
    }

    fn progress(&mut self, progress: ScenarioProgress<'_>) -> io::Result<()> {
        match progress {
            ScenarioProgress::Phase(phase) => {
                self.garbage_before = vec![0; phase.garbage.len()];
                self.print(&plan(phase))
            }
            ScenarioProgress::Connecting {
                population,
                connected,
                tunnels,
            } => {
                self.spinner.set_message(format!(
                    "{population}: {connected} of {tunnels} tunnels connected"
                ));
                Ok(())
            }
            ScenarioProgress::Interval {
                phase,
                loads,
                garbage,
            } => {
                self.spinner.set_message(phase.name.clone());
                let text = line(phase, loads, garbage, &self.garbage_before);
                self.garbage_before = garbage.to_vec();
                self.print(&text)
            }
            ScenarioProgress::PhaseDone(report) => self.print(&tables(report)?),
            _ => Ok(()),
        }
    }

    fn verdict(&mut self, report: &ScenarioReport) -> io::Result<()> {
        self.spinner.finish_and_clear();
        if report.interrupted {
            // Checks are about whole phases.
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
        self.print(&text)
    }
}

/// What a phase consists of.
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
    text
}

fn load_plan(load: &Load) -> String {
    let mut what = plural(load.tunnels, "tunnel");
    match load.presence {
        Presence::Throughout => {}
        Presence::AtOnce { after } => what += &format!(", connecting all at once after {after:?}"),
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

fn line(phase: &Phase, loads: &[Interval], garbage: &[u64], garbage_before: &[u64]) -> String {
    let end = loads.first().map_or(0.0, |interval| interval.end_seconds);
    let seconds = loads.first().map_or(1.0, |interval| interval.seconds);
    let mut parts = Vec::new();
    for (load, interval) in phase.loads.iter().zip(loads) {
        let mut part = format!(
            "{}  sent {:>10}  back {:>10}",
            load.name,
            scaled(interval.sent_pps, "pps"),
            scaled(interval.received_pps, "pps")
        );
        if interval.latency.count > 0 {
            part += &format!("  p99 {:>9}", time(interval.latency.p99_ns));
        }
        for (count, what) in [
            (interval.counts.connected, "connected"),
            (interval.counts.rekeyed, "rekeyed"),
        ] {
            if count > 0 {
                part += &format!("  {count} {what}");
            }
        }
        parts.push(part);
    }
    for ((garbage, sent), before) in phase.garbage.iter().zip(garbage).zip(garbage_before) {
        let rate = sent.saturating_sub(*before) as f64 / seconds;
        parts.push(format!("{} {:>10}", garbage.name, scaled(rate, "pps")));
    }
    format!("{end:7.1} s  {}\n", parts.join("  |  "))
}

/// The result of a phase.
fn tables(report: &PhaseReport) -> io::Result<String> {
    let mut text = Vec::new();
    writeln!(text)?;
    let header = [
        &report.phase,
        "tunnels",
        "connected",
        "handshake p50",
        "max",
        "sent",
        "lost",
        "loss",
        "p50",
        "p99",
        "max",
    ];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    lines.extend(report.loads.iter().map(load_cells));
    write_aligned(&mut text, &lines)?;
    for garbage in &report.garbage {
        writeln!(
            text,
            "{}: {} datagrams sent, {}, {} answered",
            garbage.name,
            grouped(garbage.sent),
            scaled(garbage.sent_pps, "pps"),
            grouped(garbage.answers),
        )?;
    }
    for load in report
        .loads
        .iter()
        .filter(|load| !load.report.steps.is_empty())
    {
        writeln!(text)?;
        write_steps(&mut text, load)?;
    }
    writeln!(text)?;
    String::from_utf8(text).map_err(|error| io::Error::other(error.utf8_error()))
}

fn load_cells(load: &LoadReport) -> Vec<String> {
    let report = &load.report;
    let measured = |count: u64, ns: u64| if count > 0 { time(ns) } else { "-".to_owned() };
    let (handshake, latency) = (&report.handshake, &report.latency);
    vec![
        load.name.clone(),
        grouped(load.tunnels as u64),
        grouped(report.connect.tunnels as u64 + report.counts.connected),
        measured(handshake.count, handshake.p50_ns),
        measured(handshake.count, handshake.max_ns),
        grouped(report.counts.sent),
        grouped(report.lost),
        format!("{:.4} %", report.loss_share * 100.0),
        measured(latency.count, latency.p50_ns),
        measured(latency.count, latency.p99_ns),
        measured(latency.count, latency.max_ns),
    ]
}

fn write_steps(text: &mut Vec<u8>, load: &LoadReport) -> io::Result<()> {
    let header = [load.name.as_str(), "sent", "lost", "loss"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    lines.extend(load.report.steps.iter().map(|step| {
        vec![
            scaled(step.offered_pps, "pps"),
            grouped(step.sent),
            grouped(step.sent.saturating_sub(step.received)),
            format!("{:.4} %", step.loss_share * 100.0),
        ]
    }));
    write_aligned(text, &lines)?;
    match load.loss_free_pps {
        Some(pps) => writeln!(text, "Free of loss up to {}.", scaled(pps, "pps")),
        None if load.report.counts.sent == 0 => Ok(()),
        None => writeln!(text, "Packets were lost at every rate."),
    }
}
