//! The examples of README.md and `docs/*.md`. The tutorials, with clients from crates.io, are tested by
//! `crates/interop/tests/tutorial.rs` and `crates/e2e/tests/tutorial.rs`.
//!
//! Cargo builds no binary of another package for a test, so this program is also `snapgate`, when called by that name.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test program without the harness of the standard library"
)]

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use testkit::documents::check_examples;

/// Tested in other packages.
const TUTORIALS: [&str; 2] = ["TUTORIAL.md", "TUTORIAL-SNAP.md"];

fn main() -> ExitCode {
    let program = env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if program.file_name().is_some_and(|name| name == "snapgate") {
        return snapgate::cli::main(env::args_os());
    }
    // As in other tests, arguments are parts of names; options of the harness have no meaning.
    let filters: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let this_program = env::current_exe().unwrap();
    let programs = [
        ("snapgate", this_program.as_path()),
        ("snapload", Path::new(env!("CARGO_BIN_EXE_snapload"))),
    ];
    let mut failed = 0;
    for document in documents() {
        let name = document.display().to_string();
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter)) {
            continue;
        }
        let result = catch_unwind(AssertUnwindSafe(|| check_examples(&document, &programs)));
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test examples of {name} ... {verdict}");
        failed += u32::from(result.is_err());
    }
    ExitCode::from(u8::from(failed > 0))
}

/// README.md and the pages in `docs`, in order.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap();
    let pages = fs::read_dir(root.join("docs")).unwrap();
    let mut documents: Vec<PathBuf> = pages.map(|page| page.unwrap().path()).collect();
    documents.push(root.join("README.md"));
    documents.retain(|path| {
        path.extension().is_some_and(|extension| extension == "md")
            && !TUTORIALS.iter().any(|tutorial| path.ends_with(tutorial))
    });
    documents.sort();
    documents
}
