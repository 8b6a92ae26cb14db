//! `snapgate check`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::output::{USAGE, print, print_error, print_warning};
use super::setting_args::ConfigArgs;
use crate::config::problem::Problem;
use crate::config::resolve::{Effective, EffectiveSetting};
use crate::config::setting::Kind;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// Print one JSON object per line for each setting and warning, or for each error
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

const EXAMPLES: &str = "\
Accepts the flags and environment variables of `snapgate run`. Prints all settings as TOML, each \
with the source of its value in a comment, or all errors with file and line. Reads the files, \
but binds no address, so an address that is missing or in use shows only at the start. Never \
prints a private key.

Examples:
  snapgate check --config snapgate.toml
  snapgate check --config snapgate.toml --workers 4 --json

Exit codes:
  0  valid configuration
  2  invalid configuration";

/// Checks a configuration.
pub(super) fn check(arguments: CheckArgs) -> ExitCode {
    match (arguments.config.load(), arguments.json) {
        (Ok(effective), true) => print(&json_lines(&effective_json(&effective))),
        (Ok(effective), false) => {
            for warning in &effective.warnings {
                print_warning(warning);
            }
            print(&commented_toml(&effective.settings))
        }
        (Err(rejected), true) => {
            print(&json_lines(&problems_json(&rejected.problems)));
            ExitCode::from(USAGE)
        }
        (Err(rejected), false) => {
            for problem in &rejected.problems {
                print_error(problem);
            }
            ExitCode::from(USAGE)
        }
    }
}

fn json_lines(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("{object}\n")).collect()
}

fn effective_json(effective: &Effective) -> Vec<Value> {
    let settings = effective.settings.iter().map(|effective| {
        json!({
            "setting": effective.setting.name,
            "value": effective.value,
            "note": effective.note,
            "from": effective.place.to_string(),
        })
    });
    let public_key = effective.config.private_key.public_key().to_string();
    let warnings = effective.warnings.iter().map(ToString::to_string);
    settings
        .chain([json!({ "public_key": public_key })])
        .chain(warnings.map(|warning| json!({ "warning": warning })))
        .collect()
}

fn problems_json(problems: &[Problem]) -> Vec<Value> {
    let errors = problems.iter().map(|problem| {
        let place = problem.place.as_ref();
        json!({
            "error": problem.fault.to_string(),
            "setting": problem.setting.map(|setting| setting.name),
            "from": place.map(ToString::to_string),
            "file": place.and_then(|place| place.file()).map(|file| file.display().to_string()),
            "line": place.and_then(|place| place.line()),
        })
    });
    errors.collect()
}

/// Maximum width of a line, except for long values and names.
const LINE_WIDTH: usize = 80;

/// Minimum width of an assignment in front of a comment.
const ASSIGNMENT_WIDTH: usize = 45;

/// Formats the settings as TOML, with the source of each value in a comment.
fn commented_toml(settings: &[EffectiveSetting]) -> String {
    settings.iter().map(commented_setting).collect()
}

fn commented_setting(effective: &EffectiveSetting) -> String {
    let EffectiveSetting {
        setting,
        value,
        note,
        place,
    } = effective;
    let name = setting.name;
    let (value, note) = match (&setting.kind, note) {
        _ if value.is_null() => return format!("# {name}: none\n"),
        // The note is the size, with a unit if it is a multiple of one.
        (Kind::Size { .. }, Some(size)) if size.ends_with('B') => (size.as_str().into(), None),
        (Kind::Size { .. }, _) => (value.clone(), None),
        (_, note) => (value.clone(), note.as_ref()),
    };
    let mut assignment = assignment(name, &value).into_iter();
    let first = assignment.next().unwrap_or_default();
    let width = first.chars().count().max(ASSIGNMENT_WIDTH);
    let fits = |comment: &str| width + 2 + comment.chars().count() <= LINE_WIDTH;

    let source = format!("# {place}");
    let mut comments = match note {
        None => vec![source],
        Some(note) => {
            let with_note = format!("{source} ({note})");
            if fits(&with_note) {
                vec![with_note]
            } else {
                vec![source, format!("# {note}")]
            }
        }
    };
    let first = if fits(&comments[0]) {
        format!("{first:ASSIGNMENT_WIDTH$}  {}", comments.remove(0))
    } else {
        first
    };
    let comments = comments.iter().map(|comment| format!("    {comment}"));
    let lines = [first].into_iter().chain(comments).chain(assignment);
    lines.map(|line| line + "\n").collect()
}

/// Returns the lines of TOML that assign `value` to `key`, with one line for each entry of a table or a long array.
fn assignment(key: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Object(entries) if !entries.is_empty() => entries
            .iter()
            .map(|(name, value)| format!("{key}.{} = {}", toml(&name.as_str().into()), toml(value)))
            .collect(),
        _ => {
            let line = format!("{key} = {}", toml(value));
            match value {
                Value::Array(values) if line.chars().count() > LINE_WIDTH => {
                    let values = values.iter().map(|value| format!("    {},", toml(value)));
                    [format!("{key} = [")]
                        .into_iter()
                        .chain(values)
                        .chain(["]".to_owned()])
                        .collect()
                }
                _ => vec![line],
            }
        }
    }
}

fn toml(value: &Value) -> String {
    toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string())
}
