//! The parsers of files, for the fuzz targets: text in, values or error messages out.

use std::path::Path;

use serde_json::Value;

use crate::config::given::{Given, Text};
use crate::config::place::Place;
use crate::config::problem::Problem;
use crate::config::setting::Setting;
use crate::config::settings;
use crate::config::{file, resolve};
use crate::cpus::AvailableCpus;
use crate::identities::{self, Identity};

/// Name of the files in messages.
pub const FILE_NAME: &str = "x.toml";

/// Result of reading the text of a configuration file.
#[derive(Debug)]
pub struct Configuration {
    /// Values of each setting in the file, as text.
    pub given: Vec<(&'static str, Vec<String>)>,
    /// Problems of the file.
    pub complaints: Vec<String>,
    /// Settings of the gateway that would start, or the problems of the values.
    pub effective: Result<Vec<(&'static str, Value)>, Vec<String>>,
}

/// Reads the text of a configuration file. Settings that name files are left out, so that none is opened, and
/// `private_key_file` is the private key.
#[must_use]
pub fn read_configuration(text: &str, private_key_file: &Path) -> Configuration {
    let settings = file::parse(FILE_NAME.as_ref(), text);
    let texts_of = |setting: &'static Setting| settings.given.texts(setting).unwrap_or_default();
    let mut without_files = Given::default();
    for setting in settings::SETTINGS {
        if setting.kind.names_a_file() {
            continue;
        }
        for text in texts_of(setting) {
            without_files.add(setting, text.clone());
        }
        if settings.given.is_broken(setting) {
            without_files.add_broken(setting);
        }
    }
    let private_key = Text {
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
            .map(|setting| (setting.name, texts_of(setting)))
            .filter(|(_, texts)| !texts.is_empty())
            .map(|(name, texts)| (name, texts.iter().map(|text| text.text.clone()).collect()))
            .collect(),
        complaints: texts(settings.problems),
        effective,
    }
}

/// Reads the text of a file of identities.
///
/// # Errors
///
/// All problems of the file, one sentence each.
pub fn read_identities(text: &str) -> Result<Vec<Identity>, Vec<String>> {
    let listed = identities::parse(FILE_NAME.as_ref(), text).map_err(texts)?;
    Ok(listed.into_iter().map(|(_, identity)| identity).collect())
}

fn texts(problems: Vec<Problem>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
