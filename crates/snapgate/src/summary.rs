//! Totals of a gateway's run, printed when it stops.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::counters::{self, Counters};
use crate::drop_reason::DropReason;

/// Totals of a gateway from start to stop. `Display` formats tables.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Time from start to stop.
    pub ran: Duration,
    /// Counters of each worker.
    pub workers: Vec<Counters>,
}

/// Number of packets dropped at one stage for one reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct DropCount {
    /// Stage of the packet path; `kernel` for packets that no worker received.
    pub stage: &'static str,
    /// Reason; for the kernel's drops the kind of socket.
    pub reason: &'static str,
    /// Number of packets, at least 1.
    pub packets: u64,
}

impl Summary {
    /// Returns the sum over all workers.
    pub fn total(&self) -> Counters {
        let mut total = Counters::default();
        for worker in &self.workers {
            total.add(worker);
        }
        total
    }

    /// Returns every reason with at least one dropped packet.
    pub fn drops(&self) -> impl Iterator<Item = DropCount> {
        let total = self.total();
        let kernel: Vec<_> = kernel_drops(&total).collect();
        DropReason::all()
            .map(move |reason| (reason.stage(), reason.name(), total.dropped[reason.index()]))
            .chain(
                kernel
                    .into_iter()
                    .map(|(socket, packets)| ("kernel", socket, packets)),
            )
            .filter(|&(_, _, packets)| packets > 0)
            .map(|(stage, reason, packets)| DropCount {
                stage,
                reason,
                packets,
            })
    }

    /// Returns a table of the workers and a table of the drops.
    pub fn tables(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            write_workers(f, &self.workers, &self.total())?;
            writeln!(f)?;
            write_drops(f, self.drops())
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Ran for {:.1} s.", self.ran.as_secs_f64())?;
        write!(f, "\n{}", self.tables())
    }
}

/// Writes one line per worker: received + taken from other workers = delivered + sent + dropped + given to other
/// workers.
fn write_workers(f: &mut impl fmt::Write, workers: &[Counters], total: &Counters) -> fmt::Result {
    const HEADER: [&str; 9] = [
        "worker",
        "received",
        "share",
        "taken",
        "delivered",
        "sent",
        "dropped",
        "given",
        "tunnels",
    ];
    let mut rows = vec![HEADER.map(str::to_owned)];
    for (index, worker) in workers.iter().enumerate() {
        rows.push(worker_cells(&index.to_string(), worker, total));
    }
    rows.push(worker_cells("all", total, total));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    for row in &rows {
        write!(f, "{:<width$}", row[0], width = widths[0])?;
        for (cell, width) in row.iter().zip(widths).skip(1) {
            write!(f, "  {cell:>width$}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn worker_cells(name: &str, worker: &Counters, total: &Counters) -> [String; 9] {
    [
        name.to_owned(),
        worker.received().to_string(),
        format!("{:.1}%", percent(worker.received(), total.received())),
        worker.taken_packets.to_string(),
        worker.delivered().to_string(),
        worker.sent().to_string(),
        worker.total_dropped().to_string(),
        worker.given_packets.to_string(),
        worker.tunnels.to_string(),
    ]
}

/// Writes one line per drop reason.
fn write_drops(f: &mut impl fmt::Write, drops: impl Iterator<Item = DropCount>) -> fmt::Result {
    let mut drops = drops.peekable();
    if drops.peek().is_none() {
        return writeln!(f, "Nothing was dropped.");
    }
    writeln!(f, "{:<16}{:<26}{:>14}", "dropped at", "reason", "packets")?;
    for DropCount {
        stage,
        reason,
        packets,
    } in drops
    {
        let suffix = if stage == "kernel" { "_socket" } else { "" };
        let reason = format!("{reason}{suffix}");
        writeln!(f, "{stage:<16}{reason:<26}{packets:>14}")?;
    }
    Ok(())
}

/// Returns the packets that the kernel dropped before a worker received them, by kind of socket.
fn kernel_drops(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> {
    counters::FAMILIES
        .iter()
        .filter(|family| family.name == "snapgate_kernel_dropped_packets")
        .flat_map(|family| family.series)
        .flat_map(move |series| {
            let sockets = series.labels.iter();
            sockets.map(move |(_, socket)| (*socket, (series.value)(counters)))
        })
}

/// Returns `part` of `whole` in percent; 0 if `whole` is 0.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        100.0 * part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drop_reason::QueueLoss;

    #[test]
    fn the_summary_lists_dropped_packets() {
        let mut busy = Counters {
            received_incoming_packets: 3,
            ..Counters::default()
        };
        busy.drop_packets(DropReason::Queue(QueueLoss::MailboxFull), 2);
        let idle = Counters {
            received_incoming_packets: 1,
            ..Counters::default()
        };
        let summary = Summary {
            ran: Duration::from_secs(1),
            workers: vec![busy, idle],
        };

        let text = summary.to_string();

        assert!(text.contains("75.0%") && text.contains("25.0%"), "{text}");
        let line = text
            .lines()
            .find(|line| line.contains("mailbox_full"))
            .unwrap();
        assert!(line.starts_with("queue") && line.ends_with(" 2"), "{line}");
    }
}
