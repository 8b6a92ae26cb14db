//! The configuration file: TOML with settings as keys.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use crate::config::fault::Fault;
use crate::config::problem::Problem;
use crate::config::raw::{RawSettings, RawValue};
use crate::config::setting::{Setting, Shape};
use crate::config::settings;
use crate::config::text_file;
use crate::config::toml_file::{self, Diagnostics, in_file_order};

/// Far more than any configuration needs.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Content of a configuration file.
#[derive(Default, Debug)]
pub(crate) struct FileSettings {
    pub(crate) settings: RawSettings,
    pub(crate) problems: Vec<Problem>,
    /// False if a part of the file is unreadable: missing settings may be there.
    pub(crate) is_whole: bool,
}

/// Reads a configuration file.
pub(crate) fn read(path: &Path) -> FileSettings {
    match text_file::read(path, MAX_FILE_BYTES) {
        Ok(text) => parse(path, &text),
        Err(fault) => FileSettings {
            problems: vec![Problem::with_file(path, fault)],
            ..FileSettings::default()
        },
    }
}

/// Parses the text of a configuration file.
pub(crate) fn parse(path: &Path, text: &str) -> FileSettings {
    let (document, diagnostics) = toml_file::parse(path, text);
    let mut reader = Reader {
        diagnostics,
        settings: RawSettings::default(),
    };
    for (key, value) in in_file_order(document.get_ref()) {
        reader.read_setting(key, value);
    }
    let Reader {
        diagnostics,
        settings,
    } = reader;
    FileSettings {
        settings,
        is_whole: diagnostics.is_whole(),
        problems: diagnostics.into_problems(),
    }
}

struct Reader {
    diagnostics: Diagnostics,
    settings: RawSettings,
}

impl Reader {
    fn read_setting(&mut self, key: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let name = key.get_ref().as_ref();
        let Some(setting) = settings::by_name(name) else {
            let fault = Fault::UnknownKey {
                key: name.to_owned(),
                nearest: settings::nearest(name),
            };
            return self.diagnostics.add(key.span().start, None, fault);
        };
        match (setting.kind.shape(), value.get_ref()) {
            // An empty list is the default of the other lists, but `listen` defaults to all addresses.
            (Shape::List, DeValue::Array(entries))
                if entries.is_empty() && *setting == settings::LISTEN =>
            {
                self.settings.mark_invalid(setting);
                self.diagnostics
                    .add(value.span().start, Some(setting), Fault::Empty);
            }
            (Shape::List, DeValue::Array(entries)) => {
                for entry in entries {
                    self.read_string(setting, entry, "");
                }
            }
            (Shape::Table, DeValue::Table(entries)) => {
                for (key, entry) in in_file_order(entries) {
                    self.read_table_entry(setting, key, entry);
                }
            }
            (Shape::Text | Shape::NumberOrText, DeValue::String(_))
            | (Shape::Number | Shape::NumberOrText, DeValue::Integer(_))
            | (Shape::Switch, DeValue::Boolean(_)) => self.add(setting, value, ""),
            _ => self.report_wrong_type(setting, value),
        }
    }

    fn read_table_entry(
        &mut self,
        setting: &'static Setting,
        key: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let name = key.get_ref().as_ref();
        if settings::by_name(name).is_some() {
            let fault = Fault::SettingInTable(name.to_owned());
            return self.diagnostics.add(key.span().start, Some(setting), fault);
        }
        self.read_string(setting, value, &format!("{name}="));
    }

    fn read_string(
        &mut self,
        setting: &'static Setting,
        value: &Spanned<DeValue<'_>>,
        prefix: &str,
    ) {
        match value.get_ref() {
            DeValue::String(_) => self.add(setting, value, prefix),
            _ => self.report_wrong_type(setting, value),
        }
    }

    fn add(&mut self, setting: &'static Setting, value: &Spanned<DeValue<'_>>, prefix: &str) {
        if !self.diagnostics.is_readable(value.span().start) {
            return self.settings.mark_invalid(setting);
        }
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            // TOML integers can be hexadecimal and contain underscores.
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix())
            {
                Ok(value) => value.to_string(),
                Err(_) => number.to_string(),
            },
            DeValue::Boolean(value) => value.to_string(),
            _ => return,
        };
        let place = self.diagnostics.place(value.span().start);
        self.settings.add(
            setting,
            RawValue {
                text: format!("{prefix}{text}"),
                place,
            },
        );
    }

    fn report_wrong_type(&mut self, setting: &'static Setting, value: &Spanned<DeValue<'_>>) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let fault = Fault::WrongType {
            found,
            expected: toml_type(setting.kind.shape()),
            example: setting.example(),
        };
        self.settings.mark_invalid(setting);
        self.diagnostics
            .add(value.span().start, Some(setting), fault);
    }
}

fn toml_type(shape: Shape) -> &'static str {
    match shape {
        Shape::Text => "a string",
        Shape::Number => "an integer",
        Shape::NumberOrText => "an integer or a string",
        Shape::Switch => "true or false",
        Shape::List => "an array of strings",
        Shape::Table => "a table of strings",
    }
}

/// Returns the path that a value names. In a file it is relative to the file's directory, elsewhere to the working
/// directory.
pub(crate) fn resolve_path(value: &RawValue) -> PathBuf {
    match value.place.file().and_then(Path::parent) {
        Some(directory) => directory.join(&value.text),
        None => PathBuf::from(&value.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::place::Place;

    /// Returns the problems of a text.
    fn problems(text: &str) -> Vec<String> {
        parse("x.toml".as_ref(), text)
            .problems
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Returns the values of a setting with their lines.
    fn values(text: &str, setting: &Setting) -> Vec<(String, Option<usize>)> {
        let file = parse("x.toml".as_ref(), text);
        assert_eq!(file.problems, [], "{text}");
        let values = file.settings.values(setting).unwrap_or_default();
        values
            .iter()
            .map(|value| (value.text.clone(), value.place.line()))
            .collect()
    }

    #[test]
    fn values_have_their_lines() {
        let text = "\nlisten = [\n  \"0.0.0.0:1\",\n  \"[::]:2\",\n]\nworkers = 0x1_0\nno_gso = true\n\
                    [next_hop]\n\"1-1#2\" = \"10.0.0.1:1\"\n";
        assert_eq!(
            values(text, &settings::LISTEN),
            [
                ("0.0.0.0:1".to_owned(), Some(3)),
                ("[::]:2".to_owned(), Some(4))
            ]
        );
        assert_eq!(
            values(text, &settings::WORKERS),
            [("16".to_owned(), Some(6))]
        );
        assert_eq!(
            values(text, settings::by_name("no_gso").unwrap()),
            [("true".to_owned(), Some(7))]
        );
        assert_eq!(
            values(text, &settings::NEXT_HOP),
            [("1-1#2=10.0.0.1:1".to_owned(), Some(9))]
        );
    }

    #[test]
    fn unknown_key_is_reported_with_the_most_similar_one() {
        assert_eq!(
            problems("\nlisen = 1\nlocal-prefix = []\nSNAPGATE_LOG = \"\"\nzzz = 1\n"),
            [
                "x.toml:2: unknown key \"lisen\"; did you mean \"listen\"?",
                "x.toml:3: unknown key \"local-prefix\"; did you mean \"local_prefix\"?",
                "x.toml:4: unknown key \"SNAPGATE_LOG\"; did you mean \"log\"?",
                "x.toml:5: unknown key \"zzz\"; `snapgate run --help` lists all settings",
            ]
        );
    }

    #[test]
    fn value_of_the_wrong_type_is_reported_with_an_example() {
        let problems = problems(
            "workers = 1.5\nlisten = \"0.0.0.0:1\"\nno_gso = \"yes\"\nmetrics = \
             9820\nlocal_prefix = [1]\n\
             next_hop = [\"a=b\"]\nhandshakes_per_ip_per_second = \"9\"\nlog = \
             2027-01-01\nforward = {}\n",
        );
        let starts = [
            "x.toml:1: workers: expected an integer or a string, got a float; example: workers = ",
            "x.toml:2: listen: expected an array of strings, got a string; example: listen = [",
            "x.toml:3: no_gso: expected true or false, got a string; example: no_gso = false",
            "x.toml:4: metrics: expected a string, got an integer; example: metrics = \"",
            "x.toml:5: local_prefix: expected an array of strings, got an integer",
            "x.toml:6: next_hop: expected a table of strings, got an array; example: next_hop = {",
            "x.toml:7: handshakes_per_ip_per_second: expected an integer, got a string",
            "x.toml:8: log: expected a string, got a date",
            "x.toml:9: forward: expected a string, got a table",
        ];
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn setting_in_the_table_of_next_hops_is_reported() {
        assert_eq!(
            problems("[next_hop]\n\"1-1#1\" = \"10.0.0.1:1\"\nmetrics = \"127.0.0.1:1\"\n"),
            [
                "x.toml:3: next_hop: \"metrics\" is a setting, but is in the table [next_hop]; move it \
                 above the line [next_hop]"
            ]
        );
    }

    #[test]
    fn all_syntax_errors_are_reported() {
        let file = parse(
            "x.toml".as_ref(),
            "listen = [\"a\"\nworkers = = 2\nlog = \"info\"\nlog = \"warn\"\n",
        );
        assert!(!file.is_whole);
        let lines: Vec<_> = file
            .problems
            .iter()
            .filter_map(|problem| problem.place.as_ref()?.line())
            .collect();
        assert!(lines.len() >= 2, "{:?}", file.problems);
        assert!(
            file.problems[0].to_string().contains("invalid TOML: "),
            "{:?}",
            file.problems
        );
    }

    #[test]
    fn empty_listen_is_rejected() {
        assert_eq!(
            problems("listen = []\nlocal_prefix = []\n"),
            ["x.toml:1: listen: empty value; set a value or remove the setting"]
        );
    }

    #[test]
    fn paths_in_a_file_are_relative_to_its_directory() {
        let value = |place| RawValue {
            text: "a.key".to_owned(),
            place,
        };
        let line = Place::Line {
            file: Path::new("/etc/snapgate/x.toml").into(),
            line: 1,
        };
        assert_eq!(resolve_path(&value(line)), Path::new("/etc/snapgate/a.key"));
        assert_eq!(
            resolve_path(&value(Place::Flag(&settings::TOPOLOGY))),
            Path::new("a.key")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([a-z_]{1,8} ?= ?[\\[\\]{}\"0-9a-z,.#=-]{0,12}\n){0,5}") {
            let _ = parse("x.toml".as_ref(), &text);
        }
    }
}
