//! Resolution of all sources into the effective configuration, or into all problems.

use std::cmp::Ordering;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde_json::Value;
use snapgate_control::rpc::local::check_directory_of_any_user;

use crate::config::control_plane::ControlPlaneConfig;
use crate::config::fault::Fault;
use crate::config::file::{self, resolve_path};
use crate::config::options::{DrainTimes, Options};
use crate::config::place::Place;
use crate::config::problem::{Problem, Warning};
use crate::config::raw::{RawSettings, RawValue};
use crate::config::setting::{Kind, Scope, Setting};
use crate::config::settings;
use crate::config::text_file::FileFault;
use crate::config::workers::{self, RequestedCpus, RequestedWorkers};
use crate::config::{Authorization, Config, CpuPinning, Forward, WorkerCount, values};
use crate::cpus::AvailableCpus;
use crate::identities::{self, Listed};
use crate::keys::{self, KeyFileFault, PrivateKey};
use crate::logging::LogFormat;
use crate::reload::{FileVersion, IdentitiesFile};

mod control_plane;
mod listen;
mod scion;

/// A valid configuration, and the sources of its values.
#[derive(Debug)]
pub(crate) struct Effective {
    pub(crate) config: Config,
    /// File of the identities in `config`; `None` if any identity is authorized.
    pub(crate) identities_file: Option<IdentitiesFile>,
    /// `None` without a control plane.
    pub(crate) control_plane: Option<ControlPlaneConfig>,
    pub(crate) drain: DrainTimes,
    /// File of the accounting log, if there is one.
    pub(crate) accounting_log: Option<PathBuf>,
    /// Log filter.
    pub(crate) log: String,
    /// Format of the log.
    pub(crate) log_format: LogFormat,
    /// All settings in the order of the table.
    pub(crate) settings: Vec<EffectiveSetting>,
    pub(crate) warnings: Vec<Warning>,
}

/// A configuration with problems.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) problems: Vec<Problem>,
    /// Format of the log; the default if its value is among the problems.
    pub(crate) log_format: LogFormat,
}

/// Value of a setting, and its source.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct EffectiveSetting {
    pub(crate) setting: &'static Setting,
    /// Null for a setting without value.
    pub(crate) value: Value,
    /// Explanation of the value.
    pub(crate) note: Option<String>,
    /// Source of the value.
    pub(crate) place: Place,
}

/// Resolves the flags and environment variables in `raw`, the file and the defaults, in this order of precedence.
///
/// # Errors
///
/// All problems of all sources.
pub(crate) fn load(
    mut raw: RawSettings,
    file: Option<&Path>,
    available: &AvailableCpus,
) -> Result<Effective, Rejected> {
    let mut problems = Vec::new();
    let mut is_whole = true;
    if let Some(file) = file {
        let content = file::read(file);
        problems = content.problems;
        is_whole = content.is_whole;
        raw.fill_from(content.settings);
    }
    Resolver {
        raw,
        is_whole,
        problems,
        settings: Vec::new(),
        warnings: Vec::new(),
        identities_file: None,
    }
    .resolve(available)
}

struct Resolver {
    raw: RawSettings,
    /// [`file::FileSettings::is_whole`].
    is_whole: bool,
    problems: Vec<Problem>,
    settings: Vec<EffectiveSetting>,
    warnings: Vec<Warning>,
    identities_file: Option<IdentitiesFile>,
}

/// The settings of the data plane that clients are told, as far as they are valid.
struct DataPlane<'a> {
    listen: &'a [SocketAddr],
    private_key: Option<&'a PrivateKey>,
    state_dir: Option<&'a Path>,
    forward: Option<&'a Forward>,
}

impl Resolver {
    fn resolve(mut self, available: &AvailableCpus) -> Result<Effective, Rejected> {
        let mut options = Options::default();
        let listen = self.listen(&mut options);
        let private_key = self.private_key();
        let authorization = self.authorization(private_key.as_ref(), &mut options);
        let state_dir = self.state_dir();
        let accounting_log = self.accounting_log();
        let forward = self.forward(&listen, &mut options);
        let data_plane = DataPlane {
            listen: &listen,
            private_key: private_key.as_ref(),
            state_dir: state_dir.as_deref(),
            forward: forward.as_ref(),
        };
        let control_plane = self.control_plane(&data_plane, &mut options);
        let workers = self.workers(available);
        self.set_others(&mut options);
        match (private_key, authorization, forward, workers) {
            (Some(private_key), Some(authorization), Some(forward), Some((workers, cpus)))
                if self.problems.is_empty() =>
            {
                self.settings.sort_by_key(|effective| {
                    settings::SETTINGS
                        .iter()
                        .position(|setting| *setting == effective.setting)
                });
                Ok(Effective {
                    drain: options.drain,
                    accounting_log,
                    log: options.log.clone(),
                    log_format: options.log_format,
                    config: Config {
                        listen,
                        workers,
                        cpus,
                        state_dir,
                        ..Config::with_options(options, private_key, authorization, forward)
                    },
                    identities_file: self.identities_file,
                    control_plane,
                    settings: self.settings,
                    warnings: self.warnings,
                })
            }
            _ => {
                self.problems.sort_by(in_order_of_files);
                Err(Rejected {
                    problems: self.problems,
                    log_format: options.log_format,
                })
            }
        }
    }

    fn private_key(&mut self) -> Option<PrivateKey> {
        let setting = &settings::PRIVATE_KEY_FILE;
        let Some((file, place)) = self.one(setting, |value| Ok(resolve_path(value))) else {
            self.require(setting);
            return None;
        };
        match keys::read_private_key_file(&file) {
            Ok((key, mode)) => {
                let note = format!("public key {}", key.public_key());
                self.record(
                    setting,
                    file.display().to_string().into(),
                    Some(note),
                    place,
                );
                if !key.is_clamped() {
                    self.warnings
                        .push(Warning::UnclampedPrivateKey(file.clone()));
                }
                if mode & 0o007 != 0 {
                    self.warnings
                        .push(Warning::KeyReadableByOthers { file, mode });
                }
                Some(key)
            }
            Err(fault) => {
                let fault = match fault {
                    // The error does not quote it, to keep the secret out of logs.
                    KeyFileFault::File(_) if is_a_key(&file) => Fault::KeyInsteadOfFile,
                    KeyFileFault::File(fault) => Fault::NamedFile { file, fault },
                    fault @ KeyFileFault::Key(_) => Fault::PrivateKey { file, fault },
                };
                self.report(Some(place), setting, fault);
                None
            }
        }
    }

    fn authorization(
        &mut self,
        private_key: Option<&PrivateKey>,
        options: &mut Options,
    ) -> Option<Authorization> {
        let identities = self.one(&settings::IDENTITIES, |value| Ok(resolve_path(value)));
        let any_place = self.set(&settings::ALLOW_ANY_IDENTITY, options);
        match (identities, options.allow_any_identity) {
            (Some((_, place)), true) => {
                let fault = Fault::TwoAuthorizations(place);
                self.report(Some(any_place), &settings::ALLOW_ANY_IDENTITY, fault);
                None
            }
            (None, true) => {
                self.record(&settings::IDENTITIES, Value::Null, None, Place::Default);
                self.warnings.push(Warning::AnyIdentity);
                Some(Authorization::AnyIdentity)
            }
            // Clients register their identities.
            (None, false) if self.raw.values(&settings::CONTROL_PLANE).is_some() => {
                self.record(&settings::IDENTITIES, Value::Null, None, Place::Default);
                Some(Authorization::Identities(Vec::new()))
            }
            (None, false) => {
                let is_either_invalid = [&settings::IDENTITIES, &settings::ALLOW_ANY_IDENTITY]
                    .iter()
                    .any(|setting| self.is_invalid(setting));
                if self.is_whole && !is_either_invalid {
                    self.problems.push(Problem {
                        place: None,
                        setting: None,
                        fault: Fault::NoAuthorization,
                    });
                }
                None
            }
            (Some((file, place)), false) => {
                // Taken before reading, so that later changes are detected.
                let version = FileVersion::of(&file);
                let Listed {
                    identities,
                    warnings,
                } = match identities::read(&file, private_key) {
                    Ok(listed) => listed,
                    Err(problems) => {
                        self.report_problems_of(&file, problems, &settings::IDENTITIES, &place);
                        return None;
                    }
                };
                self.warnings.extend(warnings);
                let note = format!("{} listed", identities.len());
                self.record(
                    &settings::IDENTITIES,
                    file.display().to_string().into(),
                    Some(note),
                    place,
                );
                self.identities_file = Some(IdentitiesFile {
                    path: file,
                    own_key: private_key.cloned(),
                    version,
                });
                Some(Authorization::Identities(identities))
            }
        }
    }

    fn state_dir(&mut self) -> Option<PathBuf> {
        let setting = &settings::STATE_DIR;
        let Some((directory, place)) = self.one(setting, |value| Ok(resolve_path(value))) else {
            self.record(setting, Value::Null, None, Place::Default);
            return None;
        };
        let fault = match fs::metadata(&directory) {
            Ok(metadata) if metadata.is_dir() => {
                let mode = metadata.mode() & 0o7777;
                if self.raw.values(&settings::CONTROL_PLANE).is_some() {
                    if let Err(error) = check_directory_of_any_user(&directory) {
                        let fault = Fault::ControlPlane(error.to_string());
                        self.report(Some(place), setting, fault);
                        return None;
                    }
                } else if mode & 0o002 != 0 {
                    let directory = directory.clone();
                    self.warnings
                        .push(Warning::StateWritableByOthers { directory, mode });
                }
                self.record(setting, directory.display().to_string().into(), None, place);
                return Some(directory);
            }
            Ok(_) => Fault::NotADirectory(directory),
            Err(error) => Fault::NamedFile {
                file: directory,
                fault: FileFault::from_reading(&error),
            },
        };
        self.report(Some(place), setting, fault);
        None
    }

    fn accounting_log(&mut self) -> Option<PathBuf> {
        let setting = &settings::ACCOUNTING_LOG;
        let Some((file, place)) = self.one(setting, |value| Ok(resolve_path(value))) else {
            self.record(setting, Value::Null, None, Place::Default);
            return None;
        };
        let fault = match fs::metadata(&file) {
            Ok(metadata) if metadata.is_file() => None,
            Ok(_) => Some(Fault::NotARegularFile(file.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing_directory(&file),
            Err(error) => Some(Fault::NamedFile {
                file: file.clone(),
                fault: FileFault::from_reading(&error),
            }),
        };
        if let Some(fault) = fault {
            self.report(Some(place), setting, fault);
            return None;
        }
        self.record(setting, file.display().to_string().into(), None, place);
        Some(file)
    }

    fn forward(&mut self, listen: &[SocketAddr], options: &mut Options) -> Option<Forward> {
        self.set(&settings::FORWARD, options);
        if self.is_invalid(&settings::FORWARD) {
            return None;
        }
        let mode = options.forward;
        if mode.scion().is_none() {
            self.ignore(Scope::Scion, &format!("with --forward {}", mode.name()));
        }
        mode.map(|()| self.scion(listen, options)).transpose()
    }

    fn workers(&mut self, available: &AvailableCpus) -> Option<(WorkerCount, CpuPinning)> {
        let workers_setting = &settings::WORKERS;
        let cpus_setting = &settings::CPUS;
        let workers = self.one(workers_setting, |value| {
            RequestedWorkers::parse(&value.text)
        });
        let cpus = self.one(cpus_setting, |value| RequestedCpus::parse(&value.text));
        if self.is_invalid(workers_setting) || self.is_invalid(cpus_setting) {
            return None;
        }
        let (workers, workers_place) = workers.unwrap_or((RequestedWorkers::Auto, Place::Default));
        let (cpus, cpus_place) = cpus.unwrap_or((RequestedCpus::Auto, Place::Default));
        let (workers, pinning) = match workers::choose(workers, &cpus, available) {
            Ok(chosen) => chosen,
            Err(fault) => {
                let (setting, place) = match fault {
                    Fault::CpuNotAllowed { .. } => (cpus_setting, cpus_place),
                    _ => (workers_setting, workers_place),
                };
                self.report(Some(place), setting, fault);
                return None;
            }
        };
        if let Some(millicpus) = available.quota_millicpus
            && workers.count.get() as u64 > (millicpus / 1000).max(1)
        {
            let cpus = (millicpus as f64 / 1000.0).to_string();
            self.warnings.push(Warning::WorkersOverQuota {
                workers: workers.count.get(),
                cpus,
            });
        }
        self.record(
            workers_setting,
            workers.count.get().into(),
            Some(workers.reason.to_string()),
            workers_place,
        );
        let pinned = match &pinning {
            CpuPinning::Pinned(cpus) => crate::cpus::format_list(cpus),
            CpuPinning::Unpinned => "none".to_owned(),
        };
        self.record(cpus_setting, pinned.into(), None, cpus_place);
        Some((workers, pinning))
    }

    /// Leaves the settings of a scope without value, with a warning for each that is set.
    fn ignore(&mut self, scope: Scope, condition: &str) {
        for setting in settings::in_scope(scope) {
            if let Some(value) = self.raw.values(setting).and_then(<[RawValue]>::first) {
                let place = value.place.clone();
                self.warnings.push(Warning::NoEffect {
                    setting: setting.name,
                    place,
                    condition: condition.to_owned(),
                });
            }
            self.record(setting, Value::Null, None, Place::Default);
        }
    }

    /// Resolves the remaining settings, which depend on no other.
    fn set_others(&mut self, options: &mut Options) {
        for setting in settings::SETTINGS {
            let is_resolved = |resolved: &EffectiveSetting| resolved.setting == *setting;
            if setting.scope == Scope::Always && !self.settings.iter().any(is_resolved) {
                self.set(setting, options);
            }
        }
    }
}

/// Operations for all settings.
impl Resolver {
    /// Returns the value of a setting with a single value, if it is set and valid.
    fn one<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&RawValue) -> Result<T, Fault>,
    ) -> Option<(T, Place)> {
        self.all(setting, parse)?.into_iter().next()
    }

    /// Returns the valid values of a setting, if it is set.
    fn all<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&RawValue) -> Result<T, Fault>,
    ) -> Option<Vec<(T, Place)>> {
        let values = self.raw.values(setting)?.to_vec();
        let mut valid = Vec::with_capacity(values.len());
        for value in values {
            let parsed = if value.text.trim().is_empty() {
                Err(Fault::Empty)
            } else {
                parse(&value)
            };
            match parsed {
                Ok(parsed) => valid.push((parsed, value.place)),
                Err(fault) => {
                    self.raw.mark_invalid(setting);
                    self.report(Some(value.place), setting, fault);
                }
            }
        }
        Some(valid)
    }

    /// Stores the value of a setting in its field, and returns the source.
    fn set(&mut self, setting: &'static Setting, options: &mut Options) -> Place {
        let number = |text: &str, min| values::number(text, min, u64::from(u32::MAX));
        let place = match setting.kind {
            Kind::Number(field) => self.put(setting, field(options), |text| number(text, 1)),
            Kind::Count(field) => self.put(setting, field(options), |text| {
                let count = number(text, 1)?;
                Ok(usize::try_from(count).unwrap_or(usize::MAX))
            }),
            Kind::Seconds { field, min } => self.put(setting, field(options), |text| {
                number(text, min).map(Duration::from_secs)
            }),
            Kind::Size { field, min, max } => {
                self.put(setting, field(options), |text| values::size(text, min, max))
            }
            Kind::Switch { field, on } => self.put(setting, field(options), |text| {
                values::switch(text).map(|value| value == on)
            }),
            Kind::Forward(field) => self.put(setting, field(options), |text| {
                values::choice(text, &Forward::MODES, Forward::name)
            }),
            Kind::Dispatch(field) => self.put(setting, field(options), values::dispatch),
            Kind::Address { field, port } => self.put(setting, field(options), |text| {
                values::socket_address(text, port).map(Some)
            }),
            Kind::Interface(field) => self.put(setting, field(options), |text| {
                values::interface(text).map(Some)
            }),
            Kind::Word { field, .. } => self.put(setting, field(options), values::word),
            Kind::LogFilter(field) => self.put(setting, field(options), values::log_filter),
            Kind::LogFormat(field) => self.put(setting, field(options), |text| {
                values::choice(text, &LogFormat::ALL, LogFormat::name)
            }),
            Kind::Special { .. } => return Place::Default,
        };
        let (value, note) = setting.kind.value(options);
        self.record(setting, value, note, place.clone());
        place
    }

    fn put<T>(
        &mut self,
        setting: &'static Setting,
        field: &mut T,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Place {
        match self.one(setting, |value| parse(&value.text)) {
            Some((value, place)) => {
                *field = value;
                place
            }
            None => Place::Default,
        }
    }

    fn record(
        &mut self,
        setting: &'static Setting,
        value: Value,
        note: Option<String>,
        place: Place,
    ) {
        self.settings.push(EffectiveSetting {
            setting,
            value,
            note,
            place,
        });
    }

    fn report(&mut self, place: Option<Place>, setting: &'static Setting, fault: Fault) {
        self.problems.push(Problem {
            place,
            setting: Some(setting),
            fault,
        });
    }

    fn is_invalid(&self, setting: &Setting) -> bool {
        self.raw.is_invalid(setting)
    }

    /// Reports a missing setting, unless it is set but invalid, or may be in the unreadable part of the file.
    fn require(&mut self, setting: &'static Setting) {
        if self.is_whole && !self.is_invalid(setting) {
            self.report(None, setting, Fault::Missing(setting));
        }
    }

    /// Reports the problems of a file that a setting names. An unreadable file is a problem of the place that names it.
    fn report_problems_of(
        &mut self,
        file: &Path,
        problems: Vec<Problem>,
        setting: &'static Setting,
        place: &Place,
    ) {
        for problem in problems {
            match problem.fault {
                Fault::File(fault) => {
                    let fault = Fault::NamedFile {
                        file: file.to_owned(),
                        fault,
                    };
                    self.report(Some(place.clone()), setting, fault);
                }
                _ => self.problems.push(problem),
            }
        }
    }
}

/// Returns the fault of a path whose file cannot be created, because its directory does not exist.
fn missing_directory(file: &Path) -> Option<Fault> {
    // The parent of a name is the empty path.
    let parent = file.parent()?;
    let is_here = parent.as_os_str().is_empty() || parent.is_dir();
    (!is_here).then(|| Fault::NoDirectory(parent.to_owned()))
}

/// Returns true if a path ends with a private key, possibly after the directory of the configuration.
fn is_a_key(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let start = text.len().checked_sub(keys::KEY_BASE64_LEN);
    start
        .and_then(|start| text.get(start..))
        .is_some_and(|end| PrivateKey::from_base64(end).is_ok())
}

/// Orders problems by file and line, and those outside of files last.
fn in_order_of_files(left: &Problem, right: &Problem) -> Ordering {
    let key = |problem: &'_ Problem| {
        let place = problem.place.as_ref();
        let file = place.and_then(Place::file).map(Path::to_owned);
        (file.is_none(), file, place.and_then(Place::line))
    };
    key(left).cmp(&key(right))
}

fn strings<T: ToString>(values: &[T]) -> Value {
    values.iter().map(ToString::to_string).collect()
}

/// Returns the source of a list; all values of a list have the same source.
fn first_place<T>(values: &[(T, Place)]) -> Place {
    values
        .first()
        .map_or(Place::Default, |(_, place)| place.clone())
}

#[cfg(test)]
mod tests;
