//! Command-line options common to the benchmarks of gateway processes.

use std::fs::File;
use std::path::PathBuf;

use super::entry::Entry;
use super::error::BenchError;
use super::report::Files;

#[derive(clap::Args, Debug)]
pub(crate) struct Options<E: Entry> {
    /// Measure only this entry; repeat the option for several
    #[arg(long, value_name = "NAME", value_enum)]
    only: Vec<E>,
    /// Print the names and descriptions of all entries, and exit
    #[arg(long)]
    pub(super) list: bool,
    /// Run with short measurements and fewer tunnels, as a test of the setup; the results are not meaningful
    #[arg(long)]
    pub(crate) quick: bool,
    /// Also write the results to this file, one JSON object per line
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the results to this file as Markdown tables
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Measure this snapgate executable, instead of building one from the source tree
    #[arg(long, value_name = "FILE")]
    pub(super) snapgate: Option<PathBuf>,
    /// Added by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

impl<E: Entry> Options<E> {
    /// Returns the selected entries, in the order of the table.
    pub(crate) fn chosen(&self) -> impl Iterator<Item = E> {
        E::all().filter(|entry| self.only.is_empty() || self.only.contains(entry))
    }

    /// Creates the JSON file, to which results are written as they are measured.
    pub(super) fn open_files(&self) -> Result<Files, BenchError> {
        let create =
            |path: &PathBuf| File::create(path).map_err(|source| BenchError::write(path, source));
        Ok(Files {
            json: self.json.as_ref().map(create).transpose()?,
            markdown: self.markdown.clone(),
        })
    }
}
