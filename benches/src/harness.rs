//! What the benchmarks of the gateway as a process share: a command line, gateways to start, and reports.

pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod limit;
mod machine;
pub(crate) mod options;
pub(crate) mod program;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod server;
mod settings;

use std::io::{self, Write as _};
use std::process::ExitCode;

use self::entry::Entry;
use self::error::BenchError;
use self::limit::Verdict;
use self::machine::Machine;
use self::options::Options;
use self::report::{Finding, Report, write_wrapped};
pub use self::run::Programs;
use self::run::Run;

/// A benchmark, parsed from its command line.
pub(crate) trait Benchmark: clap::Parser {
    /// Name for error messages.
    const NAME: &'static str;
    /// What `--only` chooses from.
    type Entry: Entry;
    /// A result.
    type Finding: Finding;

    fn options(&self) -> &Options<Self::Entry>;

    /// Checks what can be known before anything is built.
    fn check(&self) -> Result<(), BenchError>;

    /// Builds the gateway and looks at the machine.
    fn run(&self, programs: Programs) -> Result<Run, BenchError>;

    /// Measures the entries that were asked for, and reports each result as soon as it is there.
    fn measure(&self, run: &Run, report: &mut Report<Self::Finding>) -> Result<(), BenchError>;
}

/// Runs the benchmark that the command line describes.
pub(crate) fn main<B: Benchmark>(programs: Programs) -> ExitCode {
    match measure_all(&B::parse(), programs) {
        Ok(verdict) => verdict.exit_code(),
        Err(error) => {
            let _nobody_listens = writeln!(io::stderr(), "{}: {error}", B::NAME);
            ExitCode::FAILURE
        }
    }
}

fn measure_all<B: Benchmark>(benchmark: &B, programs: Programs) -> Result<Verdict, BenchError> {
    let options = benchmark.options();
    if options.list {
        let mut out = io::stdout().lock();
        for entry in B::Entry::all() {
            write_wrapped(&mut out, "", &entry.name())?;
            write_wrapped(&mut out, "    ", &entry.about())?;
        }
        return Ok(Verdict::Holds);
    }
    benchmark.check()?;
    let files = options.open_files()?;
    let run = benchmark.run(programs)?;
    let mut report = Report::begin(files, Machine::of(&run)?)?;
    benchmark.measure(&run, &mut report)?;
    report.finish()
}
