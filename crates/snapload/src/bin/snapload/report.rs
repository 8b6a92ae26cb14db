//! `snapload report`: recorded runs side by side.

mod comparison;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use snapload::Recording;

use self::comparison::Comparison;
use crate::cli::ReportArguments;
use crate::failure::Failure;

/// Plots the runs if asked to, and compares them.
pub(crate) fn report(arguments: &ReportArguments) -> Result<(), Failure> {
    let recordings = arguments
        .files
        .iter()
        .map(|path| Recording::read_file(path))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let names = names(&arguments.files);
    // First, so that a figure that cannot be is no news below a long table.
    #[cfg(feature = "plot")]
    if let Some(path) = &arguments.plot {
        let runs: Vec<_> = names.iter().cloned().zip(&recordings).collect();
        snapload::plot(&runs, path).map_err(|error| match error {
            snapload::PlotError::Unwritable { .. } => Failure::Plot(error),
            error => Failure::Usage(error.to_string()),
        })?;
    }
    let comparison = Comparison::of(&names, &recordings);
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    let written = if arguments.json {
        comparison.write_json(&mut stdout)
    } else {
        comparison.write_table(&mut stdout)
    };
    written
        .and_then(|()| stdout.flush())
        .map_err(Failure::Output)
}

/// What to call the files: their names without directory and extension, unless that is ambiguous.
fn names(files: &[PathBuf]) -> Vec<String> {
    let stem = |path: &Path| path.file_stem().map(ToOwned::to_owned);
    files
        .iter()
        .map(|path| {
            let alike = files.iter().filter(|other| stem(other) == stem(path));
            match stem(path) {
                Some(stem) if alike.count() == 1 => stem.to_string_lossy().into_owned(),
                _ => path.display().to_string(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_by_their_stems_unless_these_are_alike() {
        let called = |files: &[&str]| names(&files.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(called(&["x/old.json", "new.json"]), ["old", "new"]);
        assert_eq!(
            called(&["a/run.json", "b/run.json"]),
            ["a/run.json", "b/run.json"]
        );
    }
}
