//! Output for people.

use snapload::{ConnectReport, DirectionKind, Report};

pub(crate) fn connected(connect: &ConnectReport) -> String {
    let ConnectReport {
        tunnels,
        seconds,
        retries,
        cookies,
    } = connect;
    format!(
        "connected {} in {} ({retries} retries, {cookies} cookies)",
        plural(*tunnels, "tunnel"),
        time((seconds * 1e9) as u64),
    )
}

/// Returns the summary of a run.
pub(crate) fn summary(report: &Report) -> String {
    let (counts, latency) = (&report.counts, &report.latency);
    let received = format!(
        "{}  {}",
        scaled(report.received_pps, "pps"),
        scaled(report.received_bits_per_second, "bit/s")
    );
    let mut rows = vec![
        row("sent", counts.sent, &scaled(report.sent_pps, "pps")),
        row("received", counts.received, &received),
        row("lost", report.lost, &percent(report.loss_share)),
    ];
    let rare = [
        ("reordered", counts.reordered),
        ("duplicated", counts.duplicated),
        ("late", counts.late),
        ("corrupted", counts.corrupted),
        ("misdelivered", counts.misdelivered),
        ("SCMP errors", counts.scmp),
        ("refused", counts.refused),
        ("send errors", counts.send_errors),
        ("own drops", counts.receive_drops),
    ];
    let rare = rare.iter().filter(|(_, count)| *count > 0);
    rows.extend(rare.map(|(name, count)| row(name, *count, "")));
    let name = match report.direction {
        DirectionKind::Echo => "round trip",
        DirectionKind::Up | DirectionKind::Down => "latency",
    };
    if latency.count == 0 {
        rows.push(format!("{name:<12} nothing arrived\n"));
    } else {
        let cells = [
            ("p50", latency.p50_ns),
            ("p90", latency.p90_ns),
            ("p99", latency.p99_ns),
            ("p99.9", latency.p99_9_ns),
            ("max", latency.max_ns),
        ];
        let names = cells.map(|(name, _)| format!("{name:>11}")).concat();
        let times = cells.map(|(_, ns)| format!("{:>11}", time(ns))).concat();
        rows.push(format!("{name:<12}{names}\n{:<12}{times}\n", ""));
    }
    let busy_shares = report.threads.iter().map(|thread| thread.busy_share);
    rows.push(format!(
        "generator    {}, {:.1} s CPU, busiest {:.0} %\n",
        plural(report.threads.len(), "thread"),
        report.generator_cpu_seconds,
        busy_shares.fold(0.0, f64::max) * 100.0,
    ));
    rows.extend(remarks(report).map(|remark| format!("{remark}\n")));
    rows.concat()
}

/// Returns explanations of unusual results.
fn remarks(report: &Report) -> impl Iterator<Item = &'static str> {
    let counts = &report.counts;
    [
        (
            counts.scmp > 0,
            match report.direction {
                DirectionKind::Up => {
                    "The gateway answered with SCMP errors: check that --isd-as is its AS and that \
                     it has a next hop for --interface."
                }
                DirectionKind::Down | DirectionKind::Echo => {
                    "The gateway answered with SCMP errors: check that --isd-as is its AS."
                }
            },
        ),
        (
            counts.sent > 0 && counts.received == 0 && counts.scmp == 0,
            match report.direction {
                DirectionKind::Up => {
                    "Nothing arrived: check that the gateway forwards SCION of --isd-as and that \
                     --router is its next hop for --interface."
                }
                DirectionKind::Down => {
                    "Nothing arrived: check that the gateway forwards SCION, that --internal is its \
                     internal address, and that it accepts packets from here (a next hop with the \
                     IP address of --router, or --internal-from)."
                }
                DirectionKind::Echo => {
                    "Nothing came back: check that the gateway echoes, or forwards SCION of --isd-as."
                }
            },
        ),
        (
            report.used_up,
            "The run ended when its pre-encrypted packets were used up (--pre-encrypt-memory).",
        ),
        (
            report.limited_by_generator,
            "Limited by the generator: the gateway may reach more.",
        ),
    ]
    .into_iter()
    .filter_map(|(applies, remark)| applies.then_some(remark))
}

fn row(name: &str, count: u64, note: &str) -> String {
    format!("{:<12} {:>14}  {note}", name, grouped(count))
        .trim_end()
        .to_owned()
        + "\n"
}

/// Formats a count with its digits in groups of three.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Formats a share, 0 to 1, in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.4} %", share * 100.0)
}

/// Formats a number with an SI prefix, three or four digits and its unit.
pub(crate) fn scaled(number: f64, unit: &str) -> String {
    match number {
        n if n >= 1e9 => format!("{:.2} G{unit}", n / 1e9),
        n if n >= 1e6 => format!("{:.2} M{unit}", n / 1e6),
        n if n >= 1e4 => format!("{:.1} k{unit}", n / 1e3),
        n => format!("{n:.0} {unit}"),
    }
}

/// Formats a time with a suitable unit.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

/// Formats a latency of `count` packets; without packets there is none.
pub(crate) fn measured(count: u64, ns: u64) -> String {
    match count {
        0 => "-".to_owned(),
        _ => time(ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_digits() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(scaled(999.6, "pps"), "1000 pps");
        assert_eq!(scaled(345_678.0, "pps"), "345.7 kpps");
        assert_eq!(scaled(3_361_000_000.0, "bit/s"), "3.36 Gbit/s");
        assert_eq!(plural(1, "tunnel"), "1 tunnel");
        assert_eq!(plural(2, "tunnel"), "2 tunnels");
        assert_eq!(time(999), "999 ns");
        assert_eq!(time(123_456), "123.5 µs");
        assert_eq!(time(12_345_678), "12.35 ms");
        assert_eq!(time(60_000_000_000), "60.00 s");
    }
}
