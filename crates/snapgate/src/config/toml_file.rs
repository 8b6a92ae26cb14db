//! What all TOML files have in common: places, order, and going on after an error.

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

/// Collects what is wrong with a TOML file.
pub(crate) struct Complaints {
    file: Arc<Path>,
    lines: Lines,
    /// Lines with a syntax error. The parser goes on after one with values that nobody wrote.
    unreadable_lines: BTreeSet<usize>,
    problems: Vec<Problem>,
}

/// Parses a text as far as it can be, with the syntax errors as the first complaints.
pub(crate) fn parse<'text>(path: &Path, text: &'text str) -> (Spanned<DeTable<'text>>, Complaints) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut complaints = Complaints {
        file: path.into(),
        lines: Lines::of(text),
        unreadable_lines: BTreeSet::new(),
        problems: Vec::new(),
    };
    for error in &errors {
        let offset = error.span().map_or(text.len(), |span| span.start);
        // The first error of a line is the cause of the others.
        complaints.add(offset, None, Fault::Syntax(error.message().to_owned()));
        complaints
            .unreadable_lines
            .insert(complaints.line_of(offset));
    }
    (document, complaints)
}

impl Complaints {
    /// Adds a complaint about what stands at `offset`, unless it cannot be read anyway.
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

    /// The place of the byte at `offset`.
    pub(crate) fn place(&self, offset: usize) -> Place {
        Place::Line {
            file: Arc::clone(&self.file),
            line: self.line_of(offset),
        }
    }

    /// The line of the byte at `offset`, counted from 1.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.lines.line_of(offset)
    }

    /// Whether the line of the byte at `offset` is without syntax error.
    pub(crate) fn is_readable(&self, offset: usize) -> bool {
        !self.unreadable_lines.contains(&self.line_of(offset))
    }

    /// Whether the file is without syntax error.
    pub(crate) fn is_whole(&self) -> bool {
        self.unreadable_lines.is_empty()
    }

    /// All complaints.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// The entries of a table, which the parser sorts by name, as they stand in the file.
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
