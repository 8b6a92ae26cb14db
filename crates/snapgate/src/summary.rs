//! What a gateway did, for the human who stopped it.

use std::fmt;
use std::time::Duration;

use crate::counters::{self, Counters};
use crate::drop_reason::DropReason;

/// What a gateway did from its start to its stop. `Display` makes a table of it.
#[derive(Clone, Debug)]
pub struct Summary {
    /// How long it ran.
    pub ran: Duration,
    /// What each worker counted.
    pub workers: Vec<Counters>,
}

impl Summary {
    /// The sum over all workers.
    pub fn total(&self) -> Counters {
        let mut total = Counters::default();
        for worker in &self.workers {
            total.add(worker);
        }
        total
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        writeln!(f, "Ran for {:.1} s.", self.ran.as_secs_f64())?;
        writeln!(f)?;
        write_workers(f, &self.workers, &total)?;
        writeln!(f)?;
        write_drops(f, &total)
    }
}

/// One line for each worker: received and taken from other workers = delivered, sent, dropped and
/// given to other workers.
pub(crate) fn write_workers(
    f: &mut impl fmt::Write,
    workers: &[Counters],
    total: &Counters,
) -> fmt::Result {
    writeln!(
        f,
        "{:<8}{:>12}{:>8}{:>10}{:>11}{:>12}{:>10}{:>10}{:>11}{:>9}",
        "worker",
        "received",
        "share",
        "taken",
        "delivered",
        "sent",
        "dropped",
        "given",
        "handovers",
        "tunnels"
    )?;
    for (index, worker) in workers.iter().enumerate() {
        write_worker(f, &index.to_string(), worker, total)?;
    }
    write_worker(f, "all", total, total)
}

fn write_worker(
    f: &mut impl fmt::Write,
    name: &str,
    worker: &Counters,
    total: &Counters,
) -> fmt::Result {
    writeln!(
        f,
        "{name:<8}{:>12}{:>8}{:>10}{:>11}{:>12}{:>10}{:>10}{:>11}{:>9}",
        worker.received(),
        format!("{:.1}%", percent(worker.received(), total.received())),
        worker.taken_packets,
        worker.delivered(),
        worker.sent(),
        worker.total_dropped(),
        worker.given_packets,
        worker.handovers,
        worker.tunnels,
    )
}

/// One line for each reason for which anything was dropped.
pub(crate) fn write_drops(f: &mut impl fmt::Write, total: &Counters) -> fmt::Result {
    let kernel = kernel_drops(total).map(|(socket, packets)| ("kernel", format!("{socket}_socket"), packets));
    let gateway =
        DropReason::all().map(|r| (r.stage(), r.name().to_owned(), total.dropped[r.index()]));
    let mut dropped = gateway
        .chain(kernel)
        .filter(|&(_, _, packets)| packets > 0)
        .peekable();
    if dropped.peek().is_none() {
        return writeln!(f, "Nothing was dropped.");
    }
    writeln!(f, "{:<16}{:<26}{:>14}", "dropped at", "reason", "packets")?;
    for (stage, reason, packets) in dropped {
        writeln!(f, "{stage:<16}{reason:<26}{packets:>14}")?;
    }
    Ok(())
}

/// What the kernel dropped before a worker could receive it, by the kind of socket.
pub(crate) fn kernel_drops(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> {
    let families = counters::FAMILIES.iter();
    families
        .filter(|family| family.name == "snapgate_kernel_dropped_packets")
        .flat_map(|family| family.series)
        .flat_map(move |series| {
            let sockets = series.labels.iter();
            sockets.map(move |(_, socket)| (*socket, (series.value)(counters)))
        })
}

/// `part` of `whole` in percent; 0 of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
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
    fn the_summary_names_what_was_dropped() {
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
