//! Parsers of files for the fuzz targets.

use std::path::Path;

use serde_json::Value;

use crate::config::place::Place;
use crate::config::problem::Problem;
use crate::config::raw::{RawSettings, RawValue};
use crate::config::setting::Setting;
use crate::config::settings;
use crate::config::{file, resolve};
use crate::cpus::AvailableCpus;
use crate::identities::{self, Identity};

/// File name in problems.
pub const FILE_NAME: &str = "x.toml";

/// Content of a configuration file.
#[derive(Debug)]
pub struct Configuration {
    /// Values of each setting in the file, as text.
    pub given: Vec<(&'static str, Vec<String>)>,
    /// Problems of the file.
    pub complaints: Vec<String>,
    /// Effective settings, or the problems of the settings in the file.
    pub effective: Result<Vec<(&'static str, Value)>, Vec<String>>,
}

/// Parses the text of a configuration file. Settings with file names are ignored, except for `private_key_file`, which
/// is replaced.
#[must_use]
pub fn read_configuration(text: &str, private_key_file: &Path) -> Configuration {
    let content = file::parse(FILE_NAME.as_ref(), text);
    let values_of =
        |setting: &'static Setting| content.settings.values(setting).unwrap_or_default();
    let mut without_files = RawSettings::default();
    for setting in settings::SETTINGS {
        if setting.kind.names_a_file() {
            continue;
        }
        for value in values_of(setting) {
            without_files.add(setting, value.clone());
        }
        if content.settings.is_invalid(setting) {
            without_files.mark_invalid(setting);
        }
    }
    let private_key = RawValue {
        text: private_key_file.display().to_string(),
        place: Place::Default,
    };
    without_files.add(&settings::PRIVATE_KEY_FILE, private_key);
    let cpus = AvailableCpus {
        allowed: vec![0, 1],
        quota_millicpus: None,
    };
    let effective = resolve::load(without_files, None, &cpus)
        .map(|effective| {
            let values = effective.settings.into_iter();
            values
                .map(|effective| (effective.setting.name, effective.value))
                .collect()
        })
        .map_err(|rejected| texts(rejected.problems));
    Configuration {
        given: settings::SETTINGS
            .iter()
            .map(|setting| (setting.name, values_of(setting)))
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| {
                (
                    name,
                    values.iter().map(|value| value.text.clone()).collect(),
                )
            })
            .collect(),
        complaints: texts(content.problems),
        effective,
    }
}

/// Parses the text of an identities file.
///
/// # Errors
///
/// All problems of the file.
pub fn read_identities(text: &str) -> Result<Vec<Identity>, Vec<String>> {
    let listed = identities::parse(FILE_NAME.as_ref(), text).map_err(texts)?;
    Ok(listed.into_iter().map(|(_, identity)| identity).collect())
}

fn texts(problems: Vec<Problem>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
