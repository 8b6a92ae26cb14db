//! Command-line options that all benchmarks have.

use std::fs::File;
use std::path::PathBuf;

use super::entry::Entry;
use super::error::BenchError;
use super::report::Files;

#[derive(clap::Args, Debug)]
pub(crate) struct Options<E: Entry> {
    /// Measure this only; repeatable
    #[arg(long, value_name = "NAME", value_enum)]
    only: Vec<E>,
    /// Print what can be measured and end
    #[arg(long)]
    pub(super) list: bool,
    /// Measure for a short time, with fewer tunnels: shows that everything works, measures little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write the results here as well, one JSON object a line
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables of the documentation here
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Measure this gateway instead of building the one of this tree
    #[arg(long, value_name = "FILE")]
    pub(super) snapgate: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

impl<E: Entry> Options<E> {
    /// What to measure, in the order of the table.
    pub(crate) fn chosen(&self) -> impl Iterator<Item = E> {
        E::all().filter(|entry| self.only.is_empty() || self.only.contains(entry))
    }

    /// Opens the file that results go to as they come.
    pub(super) fn open_files(&self) -> Result<Files, BenchError> {
        let create =
            |path: &PathBuf| File::create(path).map_err(|source| BenchError::write(path, source));
        Ok(Files {
            json: self.json.as_ref().map(create).transpose()?,
            markdown: self.markdown.clone(),
        })
    }
}
