//! Reports: text, JSON, and Markdown tables for the documentation.

use std::fs::{self, File};
use std::io::{self, StdoutLock, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::error::BenchError;
use super::limit::Verdict;
use super::machine::Machine;

/// Result of a case.
pub(crate) trait Finding: Serialize + Sized {
    /// Returns the verdict on its bounds.
    fn verdict(&self) -> Verdict;

    /// Writes a paragraph for a terminal.
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Writes a table of all results, and their notes.
    fn write_markdown(findings: &[Self], out: &mut dyn Write) -> io::Result<()>;
}

/// Files for results, besides standard output.
pub(crate) struct Files {
    pub(super) json: Option<File>,
    /// Written at the end of the run.
    pub(super) markdown: Option<PathBuf>,
}

/// Results measured so far, and where they are written.
pub(crate) struct Report<F> {
    out: StdoutLock<'static>,
    files: Files,
    machine: Machine,
    findings: Vec<F>,
}

impl<F: Finding> Report<F> {
    /// Begins a report with the description of the machine.
    pub(super) fn begin(mut files: Files, machine: Machine) -> Result<Self, BenchError> {
        let mut out = io::stdout().lock();
        write_wrapped(&mut out, "", &machine.to_string())?;
        writeln!(out)?;
        files.write_json(&(serde_json::to_string(&machine)? + "\n"))?;
        Ok(Self {
            out,
            files,
            machine,
            findings: Vec::new(),
        })
    }

    /// Adds a result and prints it.
    pub(crate) fn add(&mut self, finding: F) -> Result<(), BenchError> {
        finding.write_text(&mut self.out)?;
        self.out.flush()?;
        self.files.write_json(&json_line(&finding)?)?;
        self.findings.push(finding);
        Ok(())
    }

    /// Writes the tables, and returns the verdict on the run.
    pub(super) fn finish(self) -> Result<Verdict, BenchError> {
        if let Some(path) = &self.files.markdown {
            let mut text = Vec::new();
            writeln!(text, "{}.\n", self.machine)?;
            F::write_markdown(&self.findings, &mut text)?;
            fs::write(path, text).map_err(|source| BenchError::write(path, source))?;
        }
        let verdicts = self.findings.iter().map(Finding::verdict);
        Ok(verdicts.max().unwrap_or(Verdict::Holds))
    }
}

impl Files {
    fn write_json(&mut self, line: &str) -> io::Result<()> {
        match &mut self.json {
            Some(json) => json.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }
}

/// Returns a result and its verdict as one JSON object and a newline.
pub(crate) fn json_line<F: Finding>(finding: &F) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct WithVerdict<'a, F> {
        #[serde(flatten)]
        finding: &'a F,
        holds: bool,
    }
    let json = serde_json::to_string(&WithVerdict {
        finding,
        holds: finding.verdict() == Verdict::Holds,
    })?;
    Ok(json + "\n")
}

/// Maximum length of a line for a terminal, in characters.
pub(crate) const TERMINAL_COLUMNS: usize = 80;

/// Writes words in lines of at most [`TERMINAL_COLUMNS`]; lines after the first are indented further. A longer word,
/// such as a path, is written to a separate line.
pub(crate) fn write_wrapped(out: &mut dyn Write, indent: &str, text: &str) -> io::Result<()> {
    let mut line = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let word_width = word.chars().count();
        if line.is_empty() {
            line.push_str(indent);
            width = indent.len();
        } else if width + 1 + word_width > TERMINAL_COLUMNS {
            writeln!(out, "{line}")?;
            line = format!("{indent}  ");
            width = line.len();
        } else {
            line.push(' ');
            width += 1;
        }
        line.push_str(word);
        width += word_width;
    }
    if line.is_empty() {
        return Ok(());
    }
    writeln!(out, "{line}")
}

/// Writes a table in Markdown.
pub(crate) fn write_table<const N: usize>(
    out: &mut dyn Write,
    heading: &[&str; N],
    lines: impl IntoIterator<Item = [String; N]>,
) -> io::Result<()> {
    writeln!(out, "| {} |", heading.join(" | "))?;
    writeln!(out, "|{}", " --- |".repeat(N))?;
    for line in lines {
        writeln!(out, "| {} |", line.join(" | "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_long_words_are_written_to_separate_lines() {
        let mut out = Vec::new();
        let path = "/long".repeat(20);
        write_wrapped(&mut out, " ", &format!("at {path} it is")).unwrap();
        let wrapped = format!(" at\n   {path}\n   it is\n");
        assert_eq!(String::from_utf8(out).unwrap(), wrapped);
    }
}
