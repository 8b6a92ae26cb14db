//! Unparsed values of settings.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::place::Place;
use crate::config::setting::Setting;

/// Text of one value, and its source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RawValue {
    /// The value. An entry of a table is `KEY=VALUE`.
    pub(crate) text: String,
    pub(crate) place: Place,
}

/// Values of one source, or of several after [`RawSettings::fill_from`].
#[derive(Clone, Default, Debug)]
pub(crate) struct RawSettings {
    values: BTreeMap<&'static str, Vec<RawValue>>,
    /// Settings with a reported problem, which are not reported as missing too.
    invalid: BTreeSet<&'static str>,
}

impl RawSettings {
    /// Adds a value of a setting.
    pub(crate) fn add(&mut self, setting: &'static Setting, value: RawValue) {
        self.values.entry(setting.name).or_default().push(value);
    }

    /// Marks a setting as one with a reported problem.
    pub(crate) fn mark_invalid(&mut self, setting: &'static Setting) {
        self.invalid.insert(setting.name);
    }

    /// Adds the settings that have no value here from a source of lower precedence.
    pub(crate) fn fill_from(&mut self, lower: Self) {
        for (name, values) in lower.values {
            self.values.entry(name).or_insert(values);
        }
        self.invalid.extend(lower.invalid);
    }

    /// Returns the values of a setting, if it has any.
    pub(crate) fn values(&self, setting: &Setting) -> Option<&[RawValue]> {
        self.values.get(setting.name).map(Vec::as_slice)
    }

    /// Returns true if a problem with the setting was reported.
    pub(crate) fn is_invalid(&self, setting: &Setting) -> bool {
        self.invalid.contains(setting.name)
    }
}
