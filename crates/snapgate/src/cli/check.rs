//! `snapgate check`.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::output::{USAGE, print, print_error, print_warning};
use super::setting_args::ConfigArgs;
use crate::config::problem::Problem;
use crate::config::resolve::{Effective, EffectiveSetting};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// Print one JSON object, of the effective configuration or of the errors
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

const EXAMPLES: &str = "\
Takes the flags and environment variables of `snapgate run`. Prints every setting with where its \
value came from, and never a secret; or every error, with its file, line and remedy.

Examples:
  snapgate check --config snapgate.toml
  snapgate check --config snapgate.toml --workers 4 --json

Exit codes:
  0  the configuration is good
  2  it is not";

/// Checks a configuration.
pub(super) fn check(arguments: CheckArgs) -> ExitCode {
    match (arguments.config.load(), arguments.json) {
        (Ok(effective), true) => print(&line(&effective_json(&effective))),
        (Ok(effective), false) => {
            for warning in &effective.warnings {
                print_warning(warning);
            }
            print(&table(&effective.settings))
        }
        (Err(rejected), true) => {
            print(&line(&problems_json(&rejected.problems)));
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

fn line(value: &Value) -> String {
    format!("{value:#}\n")
}

fn effective_json(effective: &Effective) -> Value {
    let settings: serde_json::Map<String, Value> = effective
        .settings
        .iter()
        .map(
            |EffectiveSetting {
                 setting,
                 value,
                 note,
                 place,
             }| {
                let entry = json!({ "value": value, "note": note, "from": place.to_string() });
                (setting.name.to_owned(), entry)
            },
        )
        .collect();
    let warnings: Vec<String> = effective.warnings.iter().map(ToString::to_string).collect();
    json!({
        "ok": true,
        "public_key": effective.config.private_key.public_key().to_string(),
        "settings": settings,
        "warnings": warnings,
    })
}

fn problems_json(problems: &[Problem]) -> Value {
    let errors: Vec<Value> = problems
        .iter()
        .map(|problem| {
            let place = problem.place.as_ref();
            json!({
                "file": place.and_then(|place| place.file()).map(|file| file.display().to_string()),
                "line": place.and_then(|place| place.line()),
                "from": place.map(ToString::to_string),
                "setting": problem.setting.map(|setting| setting.name),
                "error": problem.fault.to_string(),
            })
        })
        .collect();
    json!({ "ok": false, "errors": errors })
}

/// What is wider than this many characters pushes only its own line's place to the right.
const VALUE_WIDTH: usize = 58;

/// One line for each value: setting, value, where it came from. A note that does not fit next to the
/// value has a line of its own.
fn table(settings: &[EffectiveSetting]) -> String {
    let mut rows: Vec<[String; 3]> = Vec::new();
    for EffectiveSetting {
        setting,
        value,
        note,
        place,
    } in settings
    {
        let values = match value {
            Value::Null => vec!["none".to_owned()],
            Value::String(text) => vec![text.clone()],
            Value::Array(values) if !values.is_empty() => values.iter().map(plain).collect(),
            Value::Object(entries) if !entries.is_empty() => entries
                .iter()
                .map(|(key, value)| format!("{key} = {}", plain(value)))
                .collect(),
            Value::Array(_) | Value::Object(_) => vec!["none".to_owned()],
            other => vec![other.to_string()],
        };
        let mut values = values.into_iter();
        let mut first = values.next().unwrap_or_default();
        let mut note = note.as_ref().map(|note| format!("({note})"));
        if let Some(short) =
            note.take_if(|note| first.chars().count() + 1 + note.chars().count() <= VALUE_WIDTH)
        {
            first = format!("{first} {short}");
        }
        rows.push([setting.name.to_owned(), first, place.to_string()]);
        rows.extend(
            note.into_iter()
                .chain(values)
                .map(|value| [String::new(), value, String::new()]),
        );
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let (names, values) = (width(0), width(1).min(VALUE_WIDTH));
    let mut text = String::new();
    for [name, value, place] in &rows {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}",
            format!("{name:names$}  {value:values$}  {place}").trim_end()
        );
    }
    text
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
