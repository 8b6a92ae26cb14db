//! CPU time of receiving and sending (CLOCK_THREAD_CPUTIME_ID), with the other ends of the sockets on another CPU; and
//! the send path of snapgate against quinn-udp: `scripts/bench.sh sockets`.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use benches::StepError;
use benches::cpu::Placement;
use benches::statistics::Spread;
use benches::steps::{OwnSend, QuinnSend, Traffic, measure_receive, measure_send, measure_send_by};
use clap::Parser;

const SIZES: [usize; 4] = [64, 512, 1400, 8900];

/// Maximum ratio to quinn-udp at which a separate send path is worth having.
const OWN_SHARE_MAX: f64 = 0.9;

/// Measure the CPU time per datagram of receiving and sending over loopback
///
/// The last table compares the send path of snapgate with quinn-udp. Needs two CPUs.
#[derive(Parser, Debug)]
#[command(
    name = "sockets",
    bin_name = "scripts/bench.sh sockets",
    max_term_width = 80
)]
struct Arguments {
    /// Number of rounds; results are medians over them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Duration of each measurement in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100)]
    time: u64,
    /// Added by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Arrangement of datagrams.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    peers: usize,
    train: usize,
}

const SHAPES: [Shape; 5] = [
    Shape {
        name: "1 peer, single datagrams, 64 per call",
        peers: 1,
        train: 1,
    },
    Shape {
        name: "1 peer, trains of 16",
        peers: 1,
        train: 16,
    },
    Shape {
        name: "1 peer, trains of 44",
        peers: 1,
        train: 44,
    },
    Shape {
        name: "100 peers in rotation, single datagrams",
        peers: 100,
        train: 1,
    },
    Shape {
        name: "100 peers in rotation, trains of 16",
        peers: 100,
        train: 16,
    },
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _closed = writeln!(io::stderr(), "sockets: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let bench = Bench {
        rounds: arguments.rounds,
        time: Duration::from_millis(arguments.time),
        placement: Placement::of_this_machine()?,
    };
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "CPU ns per datagram: median of {} rounds (minimum-maximum)\n",
        bench.rounds
    )?;
    let sizes = SIZES.map(|size| format!("{size} B"));
    write_line(&mut out, "receive", &sizes)?;
    for shape in SHAPES {
        let cells = SIZES.map(|size| {
            bench.repeat(|| measure_receive(&shape.of(size), &bench.placement, bench.time))
        });
        write_line(&mut out, shape.name, &texts(cells)?)?;
    }
    writeln!(out)?;
    write_line(&mut out, "send", &sizes)?;
    for shape in SHAPES {
        let cells = SIZES.map(|size| {
            bench.repeat(|| measure_send(&shape.of(size), &bench.placement, bench.time))
        });
        write_line(&mut out, shape.name, &texts(cells)?)?;
    }
    writeln!(out)?;
    bench.compare_send_paths(&mut out)
}

impl Shape {
    fn of(self, size: usize) -> Traffic {
        Traffic {
            sizes: vec![size],
            peers: self.peers,
            train: self.train,
            // Sent together: 64 single datagrams, one train to one peer, or one train to each of many peers.
            per_send: match (self.peers, self.train) {
                (1, 1) => 64,
                (peers, train) => peers * train,
            },
            gso: self.train > 1,
        }
    }
}

/// Traffic for comparing send paths: name, peers, datagrams per send. Datagrams to many peers are interleaved, as in a
/// gateway.
const SENDS: [(&str, usize, usize); 4] = [
    ("100 peers x 1", 100, 100),
    ("100 peers x 16, interleaved", 100, 1600),
    ("1 peer x 16", 1, 16),
    ("1 peer x 44", 1, 44),
];

struct Bench {
    rounds: u32,
    time: Duration,
    placement: Placement,
}

impl Bench {
    fn repeat(
        &self,
        mut measure: impl FnMut() -> Result<f64, StepError>,
    ) -> Result<Vec<f64>, StepError> {
        (0..self.rounds).map(|_| measure()).collect()
    }

    /// Measures both send paths in every round, so that a drift of the machine cancels.
    fn compare_send_paths(
        &self,
        out: &mut impl io::Write,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let heading = ["snapgate", "quinn-udp", "ratio"].map(str::to_owned);
        write_line(out, "send 1400 B", &heading)?;
        for (name, peers, per_send) in SENDS {
            let traffic = Traffic {
                sizes: vec![1400],
                peers,
                train: 1,
                per_send,
                gso: true,
            };
            let (mut ours, mut quinn) = (Vec::new(), Vec::new());
            for _ in 0..self.rounds {
                ours.push(measure_send_by(
                    OwnSend::default(),
                    &traffic,
                    &self.placement,
                    self.time,
                )?);
                quinn.push(measure_send_by(
                    QuinnSend::default(),
                    &traffic,
                    &self.placement,
                    self.time,
                )?);
            }
            let ratio = Spread::of_ratios(&ours, &quinn).ok_or("no rounds")?;
            let ratio = format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.min, ratio.max);
            write_line(out, name, &[text(&ours)?, text(&quinn)?, ratio])?;
        }
        writeln!(
            out,
            "\nA ratio of at most {OWN_SHARE_MAX} with 100 peers justifies a separate send path."
        )?;
        Ok(())
    }
}

fn texts<const N: usize>(
    cells: [Result<Vec<f64>, StepError>; N],
) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    cells.into_iter().map(|values| text(&values?)).collect()
}

fn text(values: &[f64]) -> Result<String, Box<dyn std::error::Error>> {
    let spread = Spread::of(values.iter().copied()).ok_or("no rounds")?;
    Ok(format!(
        "{:.0} ({:.0}-{:.0})",
        spread.median, spread.min, spread.max
    ))
}

/// Writes a name, and up to four cells in the line below it: 78 columns.
fn write_line(out: &mut impl io::Write, name: &str, cells: &[String]) -> io::Result<()> {
    let cells: String = cells.iter().map(|cell| format!(" {cell:>18}")).collect();
    writeln!(out, "{name}\n  {cells}")
}
