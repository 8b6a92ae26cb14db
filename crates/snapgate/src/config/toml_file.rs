//! Reading of TOML files: locations, order of the file, and recovery after errors.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::fault::Fault;
use crate::config::place::Place;
use crate::config::problem::Problem;
use crate::config::setting::Setting;
use crate::config::text_file::Lines;

/// Collector of the problems of a TOML file.
pub(crate) struct Diagnostics {
    file: Arc<Path>,
    lines: Lines,
    /// Lines with a syntax error. After an error the parser invents values on the same line.
    unreadable_lines: BTreeSet<usize>,
    problems: Vec<Problem>,
}

/// Parses the readable parts of a text. Syntax errors are the first problems.
pub(crate) fn parse<'text>(
    path: &Path,
    text: &'text str,
) -> (Spanned<DeTable<'text>>, Diagnostics) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut diagnostics = Diagnostics {
        file: path.into(),
        lines: Lines::of(text),
        unreadable_lines: BTreeSet::new(),
        problems: Vec::new(),
    };
    for error in &errors {
        let offset = error.span().map_or(text.len(), |span| span.start);
        // Only the first error of a line is reported: it causes the others.
        diagnostics.add(offset, None, Fault::Syntax(error.message().to_owned()));
        diagnostics
            .unreadable_lines
            .insert(diagnostics.line_of(offset));
    }
    (document, diagnostics)
}

impl Diagnostics {
    /// Adds a problem at the byte `offset`, unless its line has a syntax error.
    pub(crate) fn add(&mut self, offset: usize, setting: Option<&'static Setting>, fault: Fault) {
        if self.is_readable(offset) {
            let place = Some(self.place(offset));
            self.problems.push(Problem {
                place,
                setting,
                fault,
            });
        }
    }

    /// Returns the place of the byte at `offset`.
    pub(crate) fn place(&self, offset: usize) -> Place {
        Place::Line {
            file: Arc::clone(&self.file),
            line: self.line_of(offset),
        }
    }

    /// Returns the line of the byte at `offset`, from 1.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.lines.line_of(offset)
    }

    /// Returns true if the line of the byte at `offset` has no syntax error.
    pub(crate) fn is_readable(&self, offset: usize) -> bool {
        !self.unreadable_lines.contains(&self.line_of(offset))
    }

    /// Returns true if the file has no syntax error.
    pub(crate) fn is_whole(&self) -> bool {
        self.unreadable_lines.is_empty()
    }

    /// Returns the problems in the order in which they were added.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// Returns the entries of a table, which the parser sorts by name, in the order of the file.
pub(crate) fn in_file_order<'table, 'text>(
    table: &'table DeTable<'text>,
) -> Vec<(
    &'table Spanned<Cow<'text, str>>,
    &'table Spanned<DeValue<'text>>,
)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}
