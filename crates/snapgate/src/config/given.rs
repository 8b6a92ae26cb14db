//! What was given for each setting, before anyone looked at the values.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::place::Place;
use crate::config::setting::Setting;

/// A value as text, and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Text {
    /// The value. An entry of a table is `KEY=VALUE`.
    pub(crate) text: String,
    /// Where it stands.
    pub(crate) place: Place,
}

/// The values of one source, or of several after [`Given::fill_from`].
#[derive(Clone, Default, Debug)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, Vec<Text>>,
    /// Settings whose value was there but of no use: not to be reported as missing as well.
    broken: BTreeSet<&'static str>,
}

impl Given {
    /// Adds a value of a setting.
    pub(crate) fn add(&mut self, setting: &'static Setting, text: Text) {
        self.values.entry(setting.name).or_default().push(text);
    }

    /// Notes that a setting was given in a way that was already complained about.
    pub(crate) fn add_broken(&mut self, setting: &'static Setting) {
        self.broken.insert(setting.name);
    }

    /// Takes the settings that are not given here from a source of lower precedence.
    pub(crate) fn fill_from(&mut self, lower: Self) {
        for (name, texts) in lower.values {
            self.values.entry(name).or_insert(texts);
        }
        self.broken.extend(lower.broken);
    }

    /// The values of a setting, if there are any.
    pub(crate) fn texts(&self, setting: &Setting) -> Option<&[Text]> {
        self.values.get(setting.name).map(Vec::as_slice)
    }

    /// Whether a setting was given badly.
    pub(crate) fn is_broken(&self, setting: &Setting) -> bool {
        self.broken.contains(setting.name)
    }
}
