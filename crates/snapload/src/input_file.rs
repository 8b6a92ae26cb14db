//! Input files: keys, recordings and scenarios.

use std::io;
use std::path::{Path, PathBuf};

/// Error in an input file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The contents are invalid.
    #[error("{}:{line}{}: {problem}", path.display(), suffix(*column))]
    Invalid {
        /// Path of the file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1, if known.
        column: Option<usize>,
        /// What is wrong, and what is expected.
        problem: String,
    },
}

fn suffix(column: Option<usize>) -> String {
    column.map_or_else(String::new, |column| format!(":{column}"))
}

impl FileError {
    pub(crate) fn at_line(path: &Path, line: usize, problem: impl Into<String>) -> Self {
        Self::Invalid {
            path: path.to_owned(),
            line,
            column: None,
            problem: problem.into(),
        }
    }
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(path).map_err(|source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    })
}
