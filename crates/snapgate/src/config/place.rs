//! Where a value or a problem is.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::config::setting::Setting;

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Not set: the default holds.
    Default,
    /// A flag of the command line.
    Flag(&'static Setting),
    /// An environment variable.
    Environment(&'static Setting),
    /// A line of a file.
    Line {
        /// The file as it was named.
        file: Arc<Path>,
        /// Counted from 1.
        line: usize,
    },
    /// A file as a whole.
    File(Arc<Path>),
}

impl Place {
    /// The file, when the place is in one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::Line { file, .. } | Self::File(file) => Some(file),
            Self::Default | Self::Flag(_) | Self::Environment(_) => None,
        }
    }

    /// The line, when there is one.
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
