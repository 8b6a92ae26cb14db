//! Entries of a benchmark, which `--only` selects.

use clap::ValueEnum;

/// An enum of entries, in the order of the table. Each variant has a doc comment.
pub(crate) trait Entry: ValueEnum + Copy + PartialEq + Send + Sync + 'static {
    /// Returns all entries.
    fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// Returns the name on the command line and in reports.
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Returns the doc comment.
    fn about(self) -> String {
        let value = self.to_possible_value();
        let help = value.as_ref().and_then(|value| value.get_help());
        help.map_or_else(String::new, ToString::to_string)
    }
}
