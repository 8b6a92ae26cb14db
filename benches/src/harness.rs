//! Common parts of the benchmarks of gateway processes: command line, processes, and reports.

pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod limit;
mod machine;
pub(crate) mod options;
pub(crate) mod program;
pub(crate) mod registrations;
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
    /// Values of `--only`.
    type Entry: Entry;
    /// Result of a case.
    type Finding: Finding;

    fn options(&self) -> &Options<Self::Entry>;

    /// Checks the command line and the requirements, before the gateway is built.
    fn check(&self) -> Result<(), BenchError>;

    /// Builds the gateway and inspects the machine.
    fn run(&self, programs: Programs) -> Result<Run, BenchError>;

    /// Measures the selected entries, and reports each result at once.
    fn measure(&self, run: &Run, report: &mut Report<Self::Finding>) -> Result<(), BenchError>;
}

/// Parses the command line, and runs the benchmark.
pub(crate) fn main<B: Benchmark>(programs: Programs) -> ExitCode {
    match measure_all(&B::parse(), programs) {
        Ok(verdict) => verdict.exit_code(),
        Err(error) => {
            let _closed = writeln!(io::stderr(), "{}: {error}", B::NAME);
            error.exit_code()
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
