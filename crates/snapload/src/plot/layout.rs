//! Layout of the figure.

use super::axis::{Axis, Scale, round_down, round_up};
use super::drawing::{Anchor, Colour, Drawing, Point};
use super::font;
use crate::recording::Recording;
use crate::report::Interval;

/// Colours of the runs, distinguishable by colour-blind readers (Okabe, Ito: Color Universal Design, 2008).
pub(super) const COLOURS: [Colour; 7] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [230, 159, 0],
    [86, 180, 233],
    [60, 60, 60],
];

const INK: Colour = [50, 50, 50];
const PALE: Colour = [110, 110, 110];
const GRID: Colour = [226, 226, 226];

const WIDTH: f32 = 1200.0;
const HEIGHT: f32 = 560.0;
const MARGIN: f32 = 30.0;
const LABEL_SIZE: f32 = 12.0;
const TITLE_SIZE: f32 = 14.0;
const CURVE_WIDTH: f32 = 1.8;

/// Length of a line's sample in the legend, and the gap after it.
const SAMPLE: f32 = 26.0;
const SAMPLE_GAP: f32 = 8.0;
const LEGEND_GAP: f32 = 28.0;
const LEGEND_LINE: f32 = 20.0;

/// Number of points of a percentile curve.
const PERCENTILE_POINTS: usize = 400;

/// Rectangle with axes.
struct Panel {
    left: f32,
    right: f32,
    top: f32,
    bottom: f32,
}

/// Returns the whole figure.
pub(super) fn figure(recordings: &[(String, &Recording)]) -> Drawing {
    let mut drawing = Drawing::new(WIDTH, HEIGHT);
    let legend_bottom = legend(&mut drawing, recordings);
    let top = legend_bottom + 38.0;
    let bottom = HEIGHT - 58.0;
    let runs: Vec<&Recording> = recordings.iter().map(|(_, run)| *run).collect();
    let latency = Panel {
        left: 94.0,
        right: 600.0,
        top,
        bottom,
    };
    latency_panel(&mut drawing, &latency, &runs);
    let middle = top + (bottom - top) * 0.62;
    let throughput = Panel {
        left: 704.0,
        right: WIDTH - MARGIN,
        top,
        bottom: middle,
    };
    let missing = Panel {
        top: middle + 46.0,
        bottom,
        ..throughput
    };
    let seconds = runs
        .iter()
        .filter_map(|run| run.intervals.last())
        .map(|interval| interval.end_seconds)
        .fold(0.0, f64::max);
    let time = Axis::new(
        Scale::Linear,
        0.0,
        seconds,
        throughput.left,
        throughput.right,
    );
    throughput_panel(&mut drawing, &throughput, &time, &runs);
    missing_panel(&mut drawing, &missing, &time, &runs);
    drawing
}

/// Draws the names of the runs in as many lines as they need. Returns the bottom of the last line.
fn legend(drawing: &mut Drawing, recordings: &[(String, &Recording)]) -> f32 {
    let (mut x, mut y) = (MARGIN, MARGIN);
    for ((name, _), colour) in recordings.iter().zip(COLOURS) {
        let width = SAMPLE + SAMPLE_GAP + font::text_width(name, TITLE_SIZE);
        if x > MARGIN && x + width > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + LEGEND_LINE);
        }
        let middle = y - 5.0;
        drawing.line(vec![(x, middle), (x + SAMPLE, middle)], colour, 3.0);
        let at = (x + SAMPLE + SAMPLE_GAP, y);
        drawing.text(at, name, TITLE_SIZE, INK, Anchor::Start);
        x += width + LEGEND_GAP;
    }
    y
}

fn latency_panel(drawing: &mut Drawing, panel: &Panel, runs: &[&Recording]) {
    let measured = || runs.iter().filter(|run| run.summary.latency.count > 0);
    let count = measured()
        .map(|run| run.summary.latency.count)
        .fold(100, u64::max);
    let low = measured()
        .map(|run| run.summary.latency.min_ns.max(1))
        .min()
        .unwrap_or(1_000);
    let high = measured()
        .map(|run| run.summary.latency.max_ns)
        .fold(low + 1, u64::max);
    // x axis: one in how many took longer. Each further nine of the percentile has the same width.
    let one_in = Axis::new(
        Scale::Logarithmic,
        1.0,
        count as f64,
        panel.left,
        panel.right,
    );
    let latency = Axis::new(
        Scale::Logarithmic,
        round_down(low as f64),
        round_up(high as f64),
        panel.bottom,
        panel.top,
    );
    panel.title(drawing, "Round trip by percentile");
    panel.upright_label(drawing, "round trip");
    panel.vertical_grid(drawing, &one_in, 6, Some(percentile));
    panel.horizontal_grid(drawing, &latency, 8, time_label);
    let below = ((panel.left + panel.right) / 2.0, panel.bottom + 40.0);
    drawing.text(below, "percentile", LABEL_SIZE, INK, Anchor::Middle);
    for (run, colour) in runs.iter().zip(COLOURS) {
        if run.summary.latency.count == 0 {
            continue;
        }
        let last = (run.summary.latency.count as f64).ln();
        let points = (0..=PERCENTILE_POINTS)
            .map(|index| {
                let share_above = (-last * index as f64 / PERCENTILE_POINTS as f64).exp();
                let ns = run
                    .summary
                    .latency_histogram
                    .value_at_quantile(1.0 - share_above);
                (one_in.place(1.0 / share_above), latency.place(ns as f64))
            })
            .collect();
        drawing.line(points, colour, CURVE_WIDTH);
    }
    panel.frame(drawing);
}

fn throughput_panel(drawing: &mut Drawing, panel: &Panel, time: &Axis, runs: &[&Recording]) {
    let highest = runs
        .iter()
        .flat_map(|run| &run.intervals)
        .map(|interval| interval.sent_pps.max(interval.received_pps))
        .fold(1.0, f64::max);
    let rate = Axis::new(Scale::Linear, 0.0, highest * 1.08, panel.bottom, panel.top);
    panel.title(drawing, "Throughput (dashed: sent)");
    panel.upright_label(drawing, "packets/s");
    panel.vertical_grid(drawing, time, 8, None);
    panel.horizontal_grid(drawing, &rate, 5, count_label);
    for (run, colour) in runs.iter().zip(COLOURS) {
        let sent = stairs(run, time, &rate, |interval| interval.sent_pps);
        drawing.dashed_line(sent, colour, 1.0, 4.0);
        let received = stairs(run, time, &rate, |interval| interval.received_pps);
        drawing.line(received, colour, CURVE_WIDTH);
    }
    panel.frame(drawing);
}

fn missing_panel(drawing: &mut Drawing, panel: &Panel, time: &Axis, runs: &[&Recording]) {
    let curves: Vec<_> = runs.iter().map(|run| missing(run)).collect();
    let highest = curves
        .iter()
        .flatten()
        .map(|&(_, packets)| packets)
        .fold(4.0, f64::max);
    let packets = Axis::new(Scale::Linear, 0.0, highest * 1.08, panel.bottom, panel.top);
    panel.title(drawing, "Outstanding packets: in flight or lost");
    panel.upright_label(drawing, "packets");
    panel.vertical_grid(drawing, time, 8, Some(plain));
    panel.horizontal_grid(drawing, &packets, 3, count_label);
    let below = ((panel.left + panel.right) / 2.0, panel.bottom + 40.0);
    drawing.text(below, "seconds", LABEL_SIZE, INK, Anchor::Middle);
    for (curve, colour) in curves.iter().zip(COLOURS) {
        let points = curve
            .iter()
            .map(|&(seconds, missing)| (time.place(seconds), packets.place(missing)))
            .collect();
        drawing.line(points, colour, CURVE_WIDTH);
    }
    panel.frame(drawing);
}

/// Returns the packets sent and not yet received at the end of each interval, and finally the lost ones. Packets can
/// arrive in a later interval, so only the last value is loss.
fn missing(run: &Recording) -> Vec<(f64, f64)> {
    let (mut sent, mut received) = (0, 0);
    let mut points = vec![(0.0, 0.0)];
    for interval in &run.intervals {
        sent += interval.counts.sent;
        received += interval.counts.received;
        points.push((interval.end_seconds, sent.saturating_sub(received) as f64));
    }
    if let Some(&(end, _)) = points.last() {
        points.push((end, run.summary.lost as f64));
    }
    points
}

/// Returns the curve of a quantity that is constant during each interval.
fn stairs(
    run: &Recording,
    time: &Axis,
    quantity: &Axis,
    of: impl Fn(&Interval) -> f64,
) -> Vec<Point> {
    run.intervals
        .iter()
        .flat_map(|interval| {
            let y = quantity.place(of(interval));
            let start = interval.end_seconds - interval.seconds;
            [
                (time.place(start), y),
                (time.place(interval.end_seconds), y),
            ]
        })
        .collect()
}

impl Panel {
    fn title(&self, drawing: &mut Drawing, title: &str) {
        let at = (self.left, self.top - 12.0);
        drawing.text(at, title, TITLE_SIZE, INK, Anchor::Start);
    }

    fn upright_label(&self, drawing: &mut Drawing, label: &str) {
        let at = (self.left - 64.0, (self.top + self.bottom) / 2.0);
        drawing.upright_text(at, label, LABEL_SIZE, INK);
    }

    fn vertical_grid(
        &self,
        drawing: &mut Drawing,
        axis: &Axis,
        wanted: usize,
        label: Option<fn(f64) -> String>,
    ) {
        for tick in axis.ticks(wanted) {
            let x = axis.place(tick);
            drawing.line(vec![(x, self.top), (x, self.bottom)], GRID, 1.0);
            if let Some(label) = label {
                let at = (x, self.bottom + 18.0);
                drawing.text(at, label(tick), LABEL_SIZE, PALE, Anchor::Middle);
            }
        }
    }

    fn horizontal_grid(
        &self,
        drawing: &mut Drawing,
        axis: &Axis,
        wanted: usize,
        label: impl Fn(f64) -> String,
    ) {
        for tick in axis.ticks(wanted) {
            let y = axis.place(tick);
            drawing.line(vec![(self.left, y), (self.right, y)], GRID, 1.0);
            let at = (self.left - 8.0, y + 4.0);
            drawing.text(at, label(tick), LABEL_SIZE, PALE, Anchor::End);
        }
    }

    fn frame(&self, drawing: &mut Drawing) {
        let points = vec![
            (self.left, self.top),
            (self.left, self.bottom),
            (self.right, self.bottom),
        ];
        drawing.line(points, PALE, 1.0);
    }
}

/// Returns the percentile that one in `one_in` exceeds: 99.9 for one in 1000.
fn percentile(one_in: f64) -> String {
    let nines = one_in.log10().round().max(0.0) as usize;
    match nines {
        0 => "0".to_owned(),
        1 => "90".to_owned(),
        _ => format!("{:.*}", nines - 2, 100.0 - 100.0 / one_in),
    }
}

fn time_label(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{} ns", plain(ns)),
        ns if ns < 1e6 => format!("{} µs", plain(ns / 1e3)),
        ns if ns < 1e9 => format!("{} ms", plain(ns / 1e6)),
        ns => format!("{} s", plain(ns / 1e9)),
    }
}

fn count_label(count: f64) -> String {
    match count {
        count if count < 1e4 => plain(count),
        count if count < 1e6 => format!("{} k", plain(count / 1e3)),
        count => format!("{} M", plain(count / 1e6)),
    }
}

/// Formats a number without trailing zeros.
fn plain(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short() {
        assert_eq!(percentile(1.0), "0");
        assert_eq!(percentile(10.0), "90");
        assert_eq!(percentile(100.0), "99");
        assert_eq!(percentile(1e3), "99.9");
        assert_eq!(percentile(1e6), "99.9999");
        assert_eq!(
            (time_label(500.0), time_label(2e4)),
            ("500 ns".into(), "20 µs".into())
        );
        assert_eq!(
            (count_label(5000.0), count_label(1.5e6)),
            ("5000".into(), "1.5 M".into())
        );
        assert_eq!((plain(0.05), plain(120.0)), ("0.05".into(), "120".into()));
    }
}
