//! Sources of values and locations of problems.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::config::setting::Setting;

/// Source of a value, or location of a problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Not set.
    Default,
    Flag(&'static Setting),
    Environment(&'static Setting),
    /// A line of a file.
    Line {
        /// Path as given by the operator.
        file: Arc<Path>,
        /// Line number from 1.
        line: usize,
    },
    /// A file as a whole.
    File(Arc<Path>),
}

impl Place {
    /// Returns the file, if the place is in one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::Line { file, .. } | Self::File(file) => Some(file),
            Self::Default | Self::Flag(_) | Self::Environment(_) => None,
        }
    }

    /// Returns the line, if the place is one.
    pub(crate) fn line(&self) -> Option<usize> {
        match self {
            Self::Line { line, .. } => Some(*line),
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Flag(setting) => write!(f, "--{}", setting.flag()),
            Self::Environment(setting) => f.write_str(&setting.environment()),
            Self::Line { file, line } => write!(f, "{}:{line}", file.display()),
            Self::File(file) => write!(f, "{}", file.display()),
        }
    }
}
