//! Lines of the log: a constant message with fields, as text or as JSON.

use std::fmt::{Debug, Display, Write as _};

use jiff::Timestamp;
use serde_json::Value;
use tracing::Level;
use tracing::field::{Field, Visit};

/// Format of the log: the values of the setting `log_format`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// `TIME LEVEL message name=value ...`
    Text,
    /// One object per line: `timestamp`, `level`, `message`, and the fields beside them.
    Json,
}

impl LogFormat {
    /// Every format, the default first.
    pub(crate) const ALL: [Self; 2] = [Self::Text, Self::Json];

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// Returns an error or warning that is printed rather than logged: `error: TEXT` as text.
    pub(crate) fn printed(self, level: Level, text: &dyn Display) -> String {
        match self {
            Self::Text if level == Level::ERROR => format!("error: {text}\n"),
            Self::Text => format!("warning: {text}\n"),
            Self::Json => json_line(level, &text.to_string(), &[]),
        }
    }
}

/// A field of an event.
pub(crate) type LineField = (&'static str, Value);

/// Format of the lines of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Style {
    pub(super) format: LogFormat,
    /// Colours text lines with ANSI escape sequences.
    pub(super) has_colours: bool,
    /// Begins text lines with the time.
    pub(super) has_time: bool,
}

impl Style {
    /// Returns the line of an event, with its line break.
    pub(super) fn line(self, level: Level, message: &str, fields: &[LineField]) -> String {
        match self.format {
            LogFormat::Text => self.text_line(level, message, fields),
            LogFormat::Json => json_line(level, message, fields),
        }
    }

    fn text_line(self, level: Level, message: &str, fields: &[LineField]) -> String {
        const DIM: u8 = 2;
        let mut line = String::new();
        if self.has_time {
            self.paint(&mut line, DIM, &format!("{:.6}", Timestamp::now()));
            line.push(' ');
        }
        self.paint(&mut line, colour_of(level), &format!("{level:>5}"));
        line.push(' ');
        line.extend(message.chars().flat_map(escape_control));
        for (name, value) in fields {
            line.push(' ');
            self.paint(&mut line, DIM, &format!("{name}="));
            line.push_str(&text_of(value));
        }
        line.push('\n');
        line
    }

    /// Appends `text` in a colour: a parameter of the escape sequence SGR.
    fn paint(self, line: &mut String, colour: u8, text: &str) {
        // Writing to a string cannot fail.
        let _ = if self.has_colours {
            write!(line, "\x1b[{colour}m{text}\x1b[0m")
        } else {
            line.write_str(text)
        };
    }
}

const fn colour_of(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// Returns the characters for a character of a message: text from outside cannot begin a line or move the cursor.
fn escape_control(character: char) -> impl Iterator<Item = char> {
    let is_control = character.is_control();
    let escaped = is_control.then(|| character.escape_default());
    let plain = (!is_control).then_some(character);
    escaped.into_iter().flatten().chain(plain)
}

/// Returns a value as text, in quotes if it could be taken for more than one value.
fn text_of(value: &Value) -> String {
    let needs_quotes =
        |character: char| character.is_whitespace() || character.is_control() || character == '"';
    match value {
        Value::String(text) if text.is_empty() || text.contains(needs_quotes) => {
            format!("{text:?}")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns an event as a JSON object, with a line break.
pub(crate) fn json_line(level: Level, message: &str, fields: &[LineField]) -> String {
    let mut line = format!(
        r#"{{"timestamp":"{:.6}","level":"{level}","message":{}"#,
        Timestamp::now(),
        Value::from(message)
    );
    for (name, value) in fields {
        // Writing to a string cannot fail.
        let _ = write!(line, ",{}:{value}", Value::from(*name));
    }
    line.push_str("}\n");
    line
}

/// Collects the message and the fields of an event.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) message: String,
    pub(super) fields: Vec<LineField>,
}

impl Recorder {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            // The origin of a record of the `log` crate.
            (name, _) if name.starts_with("log.") => {}
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Recorder {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Style = Style {
        format: LogFormat::Text,
        has_colours: false,
        has_time: false,
    };

    fn fields() -> Vec<LineField> {
        vec![
            ("signal", "SIGTERM".into()),
            ("tunnels", 3.into()),
            ("error", "no space".into()),
            ("file", "".into()),
            ("key", "a\"b".into()),
        ]
    }

    #[test]
    fn text_has_the_message_and_the_fields() {
        assert_eq!(
            TEXT.line(Level::INFO, "draining", &fields()),
            " INFO draining signal=SIGTERM tunnels=3 error=\"no space\" file=\"\" key=\"a\\\"b\"\n"
        );
    }

    #[test]
    fn text_begins_with_the_time() {
        let style = Style {
            has_time: true,
            ..TEXT
        };
        let line = style.line(Level::ERROR, "x", &[]);
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(
            time.parse::<Timestamp>().is_ok() && time.len() == 27,
            "{line}"
        );
        assert_eq!(rest, "ERROR x\n");
    }

    #[test]
    fn text_stays_on_one_line() {
        let line = TEXT.line(Level::WARN, "a\nb\x1b[1m", &[("file", "c\nd".into())]);
        assert_eq!(line, " WARN a\\nb\\u{1b}[1m file=\"c\\nd\"\n");
    }

    #[test]
    fn colours_are_reset() {
        let style = Style {
            has_colours: true,
            ..TEXT
        };
        assert_eq!(
            style.line(Level::INFO, "draining", &[("tunnels", 3.into())]),
            "\x1b[32m INFO\x1b[0m draining \x1b[2mtunnels=\x1b[0m3\n"
        );
    }

    #[test]
    fn json_has_one_flat_object() {
        let line = json_line(Level::INFO, "draining \"now\"\n", &fields());
        assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
        let object: Value = serde_json::from_str(&line).unwrap();
        assert!(
            object["timestamp"]
                .as_str()
                .unwrap()
                .parse::<Timestamp>()
                .is_ok()
        );
        assert_eq!(object["level"], "INFO");
        assert_eq!(object["message"], "draining \"now\"\n");
        assert_eq!(object["tunnels"], 3);
        assert_eq!(object["key"], "a\"b");
    }

    #[test]
    fn printed_lines_follow_the_format() {
        let text = LogFormat::Text;
        assert_eq!(text.printed(Level::ERROR, &"broken"), "error: broken\n");
        assert_eq!(text.printed(Level::WARN, &"odd"), "warning: odd\n");
        let line = LogFormat::Json.printed(Level::ERROR, &"broken");
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&object["level"], &object["message"]),
            (&"ERROR".into(), &"broken".into())
        );
    }
}
