//! The configuration file: TOML whose keys are the settings.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use crate::config::fault::Fault;
use crate::config::given::{Given, Text};
use crate::config::problem::Problem;
use crate::config::setting::{Setting, Shape};
use crate::config::settings;
use crate::config::text_file;
use crate::config::toml_file::{self, Complaints, in_file_order};

/// No configuration comes near this many bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What a configuration file gives.
#[derive(Default, Debug)]
pub(crate) struct FileSettings {
    /// The settings in it.
    pub(crate) given: Given,
    /// What is wrong with it.
    pub(crate) problems: Vec<Problem>,
    /// Whether all of it could be read: otherwise a missing setting may stand in the rest.
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

/// Reads the text of a configuration file.
pub(crate) fn parse(path: &Path, text: &str) -> FileSettings {
    let (document, complaints) = toml_file::parse(path, text);
    let mut reader = Reader {
        complaints,
        given: Given::default(),
    };
    for (key, value) in in_file_order(document.get_ref()) {
        reader.read_setting(key, value);
    }
    let Reader { complaints, given } = reader;
    FileSettings {
        given,
        is_whole: complaints.is_whole(),
        problems: complaints.into_problems(),
    }
}

struct Reader {
    complaints: Complaints,
    given: Given,
}

impl Reader {
    fn read_setting(&mut self, key: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let name = key.get_ref().as_ref();
        let Some(setting) = settings::by_name(name) else {
            let fault = Fault::UnknownKey {
                key: name.to_owned(),
                nearest: settings::nearest(name),
            };
            return self.complaints.add(key.span().start, None, fault);
        };
        match (setting.kind.shape(), value.get_ref()) {
            // The default is to listen everywhere, which is the last thing that this can mean. The
            // other lists may be empty: it is what their defaults come to.
            (Shape::List, DeValue::Array(entries))
                if entries.is_empty() && *setting == settings::LISTEN =>
            {
                self.given.add_broken(setting);
                self.complaints
                    .add(value.span().start, Some(setting), Fault::Empty);
            }
            (Shape::List, DeValue::Array(entries)) => {
                for entry in entries {
                    self.read_text(setting, entry, "");
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
            (_, other) => self.wrong_type(setting, value, other, wanted(setting.kind.shape())),
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
            return self.complaints.add(key.span().start, Some(setting), fault);
        }
        self.read_text(setting, value, &format!("{name}="));
    }

    fn read_text(&mut self, setting: &'static Setting, value: &Spanned<DeValue<'_>>, prefix: &str) {
        match value.get_ref() {
            DeValue::String(_) => self.add(setting, value, prefix),
            other => self.wrong_type(setting, value, other, wanted(setting.kind.shape())),
        }
    }

    fn add(&mut self, setting: &'static Setting, value: &Spanned<DeValue<'_>>, prefix: &str) {
        if !self.complaints.is_readable(value.span().start) {
            return self.given.add_broken(setting);
        }
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            // Written in hexadecimal or with underscores, it means the same.
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix())
            {
                Ok(value) => value.to_string(),
                Err(_) => number.to_string(),
            },
            DeValue::Boolean(value) => value.to_string(),
            _ => return,
        };
        let place = self.complaints.place(value.span().start);
        self.given.add(
            setting,
            Text {
                text: format!("{prefix}{text}"),
                place,
            },
        );
    }

    fn wrong_type(
        &mut self,
        setting: &'static Setting,
        value: &Spanned<DeValue<'_>>,
        found: &DeValue<'_>,
        wanted: &'static str,
    ) {
        let found = match found {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let fault = Fault::WrongType {
            found,
            wanted,
            example: setting.example(),
        };
        self.given.add_broken(setting);
        self.complaints
            .add(value.span().start, Some(setting), fault);
    }
}

fn wanted(shape: Shape) -> &'static str {
    match shape {
        Shape::Text => "a string",
        Shape::Number => "an integer",
        Shape::NumberOrText => "an integer or a string",
        Shape::Switch => "true or false",
        Shape::List => "an array of strings",
        Shape::Table => "a table of strings",
    }
}

/// A path from a file is relative to the file's directory; others are relative to where the process
/// is.
pub(crate) fn resolve_path(text: &Text) -> PathBuf {
    match text.place.file().and_then(Path::parent) {
        Some(directory) => directory.join(&text.text),
        None => PathBuf::from(&text.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::place::Place;

    /// Each complaint about a text.
    fn complaints(text: &str) -> Vec<String> {
        parse("x.toml".as_ref(), text)
            .problems
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// What a text gives for a setting.
    fn given(text: &str, setting: &Setting) -> Vec<(String, Option<usize>)> {
        let settings = parse("x.toml".as_ref(), text);
        assert_eq!(settings.problems, [], "{text}");
        let texts = settings.given.texts(setting).unwrap_or_default();
        texts
            .iter()
            .map(|text| (text.text.clone(), text.place.line()))
            .collect()
    }

    #[test]
    fn values_come_with_their_lines() {
        let text = "\nlisten = [\n  \"0.0.0.0:1\",\n  \"[::]:2\",\n]\nworkers = 0x1_0\nno_gso = true\n\
                    [next_hop]\n\"1-1#2\" = \"10.0.0.1:1\"\n";
        assert_eq!(
            given(text, &settings::LISTEN),
            [
                ("0.0.0.0:1".to_owned(), Some(3)),
                ("[::]:2".to_owned(), Some(4))
            ]
        );
        assert_eq!(
            given(text, &settings::WORKERS),
            [("16".to_owned(), Some(6))]
        );
        assert_eq!(
            given(text, settings::by_name("no_gso").unwrap()),
            [("true".to_owned(), Some(7))]
        );
        assert_eq!(
            given(text, &settings::NEXT_HOP),
            [("1-1#2=10.0.0.1:1".to_owned(), Some(9))]
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest() {
        assert_eq!(
            complaints("\nlisen = 1\nlocal-prefix = []\nSNAPGATE_LOG = \"\"\nzzz = 1\n"),
            [
                "x.toml:2: unknown key \"lisen\"; did you mean \"listen\"?",
                "x.toml:3: unknown key \"local-prefix\"; did you mean \"local_prefix\"?",
                "x.toml:4: unknown key \"SNAPGATE_LOG\"; did you mean \"log\"?",
                "x.toml:5: unknown key \"zzz\"; `snapgate run --help` lists all",
            ]
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_a_right_line() {
        let complaints = complaints(
            "workers = 1.5\nlisten = \"0.0.0.0:1\"\nno_gso = \"yes\"\nmetrics = \
             9820\nlocal_prefix = [1]\n\
             next_hop = [\"a=b\"]\nhandshakes_per_ip_per_second = \"9\"\nlog = \
             2027-01-01\nforward = {}\n",
        );
        let starts = [
            "x.toml:1: workers: an integer or a string belongs here instead of a fraction; write \
             it like workers = ",
            "x.toml:2: listen: an array of strings belongs here instead of a string; write it \
             like listen = [",
            "x.toml:3: no_gso: true or false belongs here instead of a string; write it like \
             no_gso = false",
            "x.toml:4: metrics: a string belongs here instead of an integer; write it like \
             metrics = \"",
            "x.toml:5: local_prefix: an array of strings belongs here instead of an integer",
            "x.toml:6: next_hop: a table of strings belongs here instead of an array; write it \
             like next_hop = {",
            "x.toml:7: handshakes_per_ip_per_second: an integer belongs here instead of a string",
            "x.toml:8: log: a string belongs here instead of a date",
            "x.toml:9: forward: a string belongs here instead of a table",
        ];
        assert_eq!(complaints.len(), starts.len(), "{complaints:#?}");
        for (complaint, start) in complaints.iter().zip(starts) {
            assert!(complaint.starts_with(start), "{complaint}");
        }
    }

    #[test]
    fn a_setting_below_the_table_of_next_hops_is_told_where_it_belongs() {
        let complaints =
            complaints("[next_hop]\n\"1-1#1\" = \"10.0.0.1:1\"\nmetrics = \"127.0.0.1:1\"\n");
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].starts_with("x.toml:3: next_hop: \"metrics\" stands below [next_hop]"),
            "{complaints:?}"
        );
    }

    #[test]
    fn every_syntax_error_is_named_and_the_rest_still_read() {
        let settings = parse(
            "x.toml".as_ref(),
            "listen = [\"a\"\nworkers = = 2\nlog = \"info\"\nlog = \"warn\"\n",
        );
        assert!(!settings.is_whole);
        let lines: Vec<_> = settings
            .problems
            .iter()
            .filter_map(|problem| problem.place.as_ref()?.line())
            .collect();
        assert!(lines.len() >= 2, "{:?}", settings.problems);
        assert!(
            settings.problems[0]
                .to_string()
                .contains("this is not TOML: "),
            "{:?}",
            settings.problems
        );
    }

    #[test]
    fn nothing_to_listen_on_is_not_everything() {
        assert_eq!(
            complaints("listen = []\nlocal_prefix = []\n"),
            ["x.toml:1: listen: the value is empty; give it one or leave the setting out"]
        );
    }

    #[test]
    fn paths_in_a_file_are_relative_to_it() {
        let text = |place| Text {
            text: "a.key".to_owned(),
            place,
        };
        let line = Place::Line {
            file: Path::new("/etc/snapgate/x.toml").into(),
            line: 1,
        };
        assert_eq!(resolve_path(&text(line)), Path::new("/etc/snapgate/a.key"));
        assert_eq!(
            resolve_path(&text(Place::Flag(&settings::TOPOLOGY))),
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
