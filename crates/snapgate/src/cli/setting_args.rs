//! Flags and environment variables, derived from the table of settings.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::place::Place;
use crate::config::problem::Warning;
use crate::config::raw::{RawSettings, RawValue};
use crate::config::resolve::{self, Effective, Rejected};
use crate::config::setting::{Setting, Shape};
use crate::config::settings::{self, SETTINGS};
use crate::cpus::AvailableCpus;

/// Sources of the configuration: flags, environment variables and a file.
#[derive(Args)]
pub(super) struct ConfigArgs {
    /// TOML file with settings; flags and environment variables override it
    #[arg(
        long,
        value_name = "FILE",
        env = "SNAPGATE_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: SettingArgs,
}

impl ConfigArgs {
    /// Returns the effective configuration, or all problems.
    pub(super) fn load(self) -> Result<Effective, Rejected> {
        let available = AvailableCpus::of_this_process();
        let mut effective = resolve::load(self.settings.0, self.config.as_deref(), &available)?;
        effective
            .warnings
            .extend(misspelt_variables(std::env::vars_os()));
        Ok(effective)
    }
}

/// Returns warnings about environment variables with names similar to settings. Other variables are ignored:
/// Kubernetes sets SNAPGATE_PORT and more for a service named `snapgate`.
fn misspelt_variables(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = Warning> {
    variables.filter_map(|(variable, _)| {
        let variable = variable.into_string().ok()?;
        let name = variable.strip_prefix("SNAPGATE_")?.to_lowercase();
        if name == "config" || settings::by_name(&name).is_some() {
            return None;
        }
        let nearest = settings::by_name(settings::nearest(&name)?)?.environment();
        Some(Warning::UnknownVariable { variable, nearest })
    })
}

struct SettingArgs(RawSettings);

impl Args for SettingArgs {
    fn augment_args(command: Command) -> Command {
        command.args(SETTINGS.iter().map(|setting| argument(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut raw = RawSettings::default();
        for setting in SETTINGS {
            let place = match matches.value_source(setting.name) {
                Some(ValueSource::CommandLine) => Place::Flag(setting),
                Some(ValueSource::EnvVariable) => Place::Environment(setting),
                _ => continue,
            };
            for text in matches
                .get_many::<String>(setting.name)
                .into_iter()
                .flatten()
            {
                raw.add(
                    setting,
                    RawValue {
                        text: text.clone(),
                        place: place.clone(),
                    },
                );
            }
        }
        Ok(Self(raw))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let help = match setting.default().as_str() {
        "" => setting.help(),
        default => format!("{} [default: {default}]", setting.help()),
    };
    let argument = Arg::new(setting.name)
        .long(setting.flag())
        .env(setting.environment())
        .hide_env_values(true)
        .help_heading(setting.group)
        .help(help)
        .value_name(setting.kind.value_name());
    match setting.kind.shape() {
        Shape::Text | Shape::Number | Shape::NumberOrText => argument.action(ArgAction::Set),
        Shape::List | Shape::Table => argument.action(ArgAction::Append).value_delimiter(','),
        Shape::Switch => argument
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_a_flag_an_environment_variable_and_a_file_key() {
        let command = SettingArgs::augment_args(Command::new("test"));
        assert_eq!(command.get_arguments().count(), SETTINGS.len());
        for setting in SETTINGS {
            let argument = command
                .get_arguments()
                .find(|argument| argument.get_id() == setting.name)
                .unwrap();
            assert_eq!(
                argument.get_long(),
                Some(setting.name.replace('_', "-").as_str())
            );
            let environment = format!("SNAPGATE_{}", setting.name.to_uppercase());
            assert_eq!(argument.get_env(), Some(environment.as_ref()));

            let example = setting.example();
            let file = crate::config::file::parse("snapgate.toml".as_ref(), &example);
            assert_eq!(file.problems, [], "{example}");
            assert!(
                file.settings
                    .values(setting)
                    .is_some_and(|values| !values.is_empty()),
                "{example}"
            );
        }
    }

    #[test]
    fn flags_have_the_same_values_as_the_file() {
        let command = SettingArgs::augment_args(Command::new("test"));
        for setting in SETTINGS {
            let file = crate::config::file::parse("snapgate.toml".as_ref(), &setting.example());
            let values: Vec<&str> = file
                .settings
                .values(setting)
                .unwrap()
                .iter()
                .map(|value| value.text.as_str())
                .collect();
            let flags = values
                .iter()
                .map(|value| format!("--{}={value}", setting.flag()));
            let matches = command
                .clone()
                .try_get_matches_from(["test".to_owned()].into_iter().chain(flags))
                .unwrap();
            let args = SettingArgs::from_arg_matches(&matches).unwrap();
            let from_flags = args.0.values(setting).unwrap();
            assert_eq!(
                from_flags
                    .iter()
                    .map(|value| value.text.as_str())
                    .collect::<Vec<_>>(),
                values
            );
            assert!(
                from_flags
                    .iter()
                    .all(|value| value.place == Place::Flag(setting))
            );
        }
    }

    #[test]
    fn misspelt_variables_cause_warnings_and_others_do_not() {
        let variables = [
            "SNAPGATE_LISEN",
            "SNAPGATE_LISTEN",
            "SNAPGATE_CONFIG",
            "SNAPGATE_PORT",
            "SNAPGATE_SERVICE_HOST",
            "SNAPGATE_PORT_51820_UDP_ADDR",
            "LISEN",
        ];
        let variables = variables.map(|variable| (variable.into(), OsString::new()));
        let warnings: Vec<_> = misspelt_variables(variables.into_iter())
            .map(|warning| warning.to_string())
            .collect();
        let expected = "unknown environment variable SNAPGATE_LISEN; did you mean SNAPGATE_LISTEN?";
        assert_eq!(warnings, [expected]);
    }
}
