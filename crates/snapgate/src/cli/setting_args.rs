//! The settings as flags and environment variables, made from the one table.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::given::{Given, Text};
use crate::config::place::Place;
use crate::config::problem::Warning;
use crate::config::resolve::{self, Effective, Rejected};
use crate::config::setting::{Setting, Shape};
use crate::config::settings::{self, SETTINGS};
use crate::cpus::AvailableCpus;

/// Where a configuration comes from: a file and flags, or environment variables.
#[derive(Args)]
pub(super) struct ConfigArgs {
    /// Read settings from this TOML file; flags and environment variables win over it
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
    /// The configuration for this machine.
    pub(super) fn load(self) -> Result<Effective, Rejected> {
        let available = AvailableCpus::of_this_process();
        let mut effective = resolve::load(self.settings.given, self.config.as_deref(), &available)?;
        effective
            .warnings
            .extend(misspelt_variables(std::env::vars_os()));
        Ok(effective)
    }
}

/// Variables of the environment that were probably meant to be settings. Others are left alone:
/// Kubernetes sets SNAPGATE_PORT and more for a service of this name.
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

/// All settings of the table.
struct SettingArgs {
    given: Given,
}

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
        let mut given = Given::default();
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
                given.add(
                    setting,
                    Text {
                        text: text.clone(),
                        place: place.clone(),
                    },
                );
            }
        }
        Ok(Self { given })
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
                file.given
                    .texts(setting)
                    .is_some_and(|texts| !texts.is_empty()),
                "{example}"
            );
        }
    }

    #[test]
    fn flags_give_what_the_file_gives() {
        let command = SettingArgs::augment_args(Command::new("test"));
        for setting in SETTINGS {
            let file = crate::config::file::parse("snapgate.toml".as_ref(), &setting.example());
            let values: Vec<&str> = file
                .given
                .texts(setting)
                .unwrap()
                .iter()
                .map(|text| text.text.as_str())
                .collect();
            let flags = values
                .iter()
                .map(|value| format!("--{}={value}", setting.flag()));
            let matches = command
                .clone()
                .try_get_matches_from(["test".to_owned()].into_iter().chain(flags))
                .unwrap();
            let args = SettingArgs::from_arg_matches(&matches).unwrap();
            let texts = args.given.texts(setting).unwrap();
            assert_eq!(
                texts
                    .iter()
                    .map(|text| text.text.as_str())
                    .collect::<Vec<_>>(),
                values
            );
            assert!(texts.iter().all(|text| text.place == Place::Flag(setting)));
        }
    }

    #[test]
    fn misspelt_variables_are_noticed_and_foreign_ones_left_alone() {
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
        let expected =
            "the environment variable SNAPGATE_LISEN is not known; did you mean SNAPGATE_LISTEN?";
        assert_eq!(warnings, [expected]);
    }
}
