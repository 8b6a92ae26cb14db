//! `snapload report`: recorded runs side by side.

mod comparison;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use snapload::Recording;

use self::comparison::Comparison;
use crate::cli::ReportArguments;
use crate::failure::Failure;

/// Compares the runs, and plots them if requested.
pub(crate) fn report(arguments: &ReportArguments) -> Result<(), Failure> {
    let recordings = arguments
        .files
        .iter()
        .map(|path| Recording::read_file(path))
        .collect::<Result<Vec<_>, _>>()?;
    let names = names(&arguments.files);
    // Plots first, so that its errors are not printed below a long table.
    #[cfg(feature = "plot")]
    if let Some(path) = &arguments.plot {
        let runs: Vec<_> = names.iter().cloned().zip(&recordings).collect();
        snapload::plot(&runs, path).map_err(|error| match error {
            snapload::PlotError::Unwritable { .. } => Failure::Failed(error.to_string()),
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

/// Returns the names of the runs: file names without directory and extension, or whole paths if these are ambiguous.
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
    fn runs_are_named_by_file_stems_unless_ambiguous() {
        let called = |files: &[&str]| names(&files.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(called(&["x/old.json", "new.json"]), ["old", "new"]);
        assert_eq!(
            called(&["a/run.json", "b/run.json"]),
            ["a/run.json", "b/run.json"]
        );
    }
}
