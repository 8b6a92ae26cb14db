//! Scenario files in TOML: their keys, and the location of faults.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{Checks, Garbage, GarbageKind, Load, Phase, Scenario};
use crate::config::{MAX_TUNNELS, Presence, Rate, Shares};
use crate::identity::key_from_base64;
use crate::input_file::{self, FileError};
use crate::report;
use crate::values::{parse_pps, parse_time, share_of_percent};

/// Maximum number of steps in a ramp.
const MAX_STEPS: u32 = 1000;

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// Fails if the file cannot be read or is not a scenario.
    pub fn read_file(path: &Path) -> Result<Self, FileError> {
        let text = input_file::read(path)?;
        Self::parse(&text).map_err(|fault| {
            let start = fault.span.map_or(text.len(), |span| span.start);
            let (line, column) = line_and_column(&text, start);
            FileError::Invalid {
                path: path.to_owned(),
                line,
                column: Some(column),
                problem: fault.problem,
            }
        })
    }

    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let file: ScenarioFile = toml::from_str(text)?;
        file.into_scenario()
    }
}

/// A fault in a file, with its position.
#[derive(Debug)]
pub(super) struct Fault {
    span: Option<Range<usize>>,
    pub(super) problem: String,
}

impl Fault {
    fn at(span: Range<usize>, problem: impl Into<String>) -> Self {
        Self {
            span: Some(span),
            problem: problem.into(),
        }
    }
}

impl From<toml::de::Error> for Fault {
    fn from(error: toml::de::Error) -> Self {
        Self {
            span: error.span(),
            problem: with_nearest(error.message()),
        }
    }
}

/// Returns the line and column of a byte, counted from 1.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// Adds the most similar known name to serde's message about an unknown one: "unknown field `a`, expected one of `b`,
/// `c`".
fn with_nearest(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let is_about_a_name =
        message.starts_with("unknown field") || message.starts_with("unknown variant");
    let Some((unknown, known)) = names.split_first().filter(|_| is_about_a_name) else {
        return message.to_owned();
    };
    let nearest = known.iter().max_by(|a, b| {
        strsim::jaro_winkler(a, unknown).total_cmp(&strsim::jaro_winkler(b, unknown))
    });
    match nearest {
        Some(nearest) => format!(
            "unknown name `{unknown}`; did you mean `{nearest}`? Known here: {}",
            known.join(", ")
        ),
        None => message.to_owned(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    title: String,
    gateway: Option<SocketAddr>,
    public_key: Option<Key>,
    key_seed: Option<u64>,
    source_ip: Option<IpNet>,
    #[serde(rename = "phase")]
    phases: Spanned<Vec<PhaseFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseFile {
    name: String,
    duration: Spanned<Time>,
    #[serde(default = "one_second")]
    warm_up: Time,
    #[serde(default = "one_second")]
    drain: Time,
    #[serde(default, rename = "load")]
    loads: Vec<Spanned<LoadFile>>,
    #[serde(default, rename = "garbage")]
    garbage: Vec<Spanned<GarbageFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadFile {
    name: Spanned<String>,
    tunnels: Spanned<usize>,
    rate: Spanned<RateFile>,
    #[serde(default = "default_size")]
    size: usize,
    #[serde(default = "one_u32")]
    train: u32,
    #[serde(default = "one_usize")]
    threads: usize,
    zipf: Option<Spanned<f64>>,
    connect_at: Option<Spanned<Time>>,
    lifetime: Option<Spanned<Time>>,
    rekey_at: Option<Spanned<Time>>,
    #[serde(default)]
    check: ChecksFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GarbageFile {
    name: Spanned<String>,
    kinds: Spanned<Vec<GarbageKind>>,
    rate: Pps,
    #[serde(default = "default_sockets")]
    sockets: Spanned<usize>,
    #[serde(default)]
    check: GarbageChecksFile,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChecksFile {
    max_loss_percent: Option<Spanned<f64>>,
    max_p99: Option<Time>,
    max_connect: Option<Time>,
    loss_free_rate: Option<Spanned<Pps>>,
    #[serde(default)]
    min: BTreeMap<super::CountName, u64>,
    #[serde(default)]
    max: BTreeMap<super::CountName, u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GarbageChecksFile {
    max_answers: Option<u64>,
}

fn one_second() -> Time {
    Time(Duration::from_secs(1))
}

fn default_size() -> usize {
    1200
}

fn one_u32() -> u32 {
    1
}

fn one_usize() -> usize {
    1
}

fn default_sockets() -> Spanned<usize> {
    Spanned::new(0..0, 64)
}

/// A public key in base64.
struct Key([u8; 32]);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        key_from_base64(&text).map(Self).ok_or_else(|| {
            D::Error::custom("expected 32 bytes in base64: 44 characters that end in =")
        })
    }
}

/// A duration with its unit.
#[derive(Clone, Copy)]
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_time(&text).map(Self).map_err(D::Error::custom)
    }
}

/// Packets per second.
#[derive(Clone, Copy)]
struct Pps(f64);

impl<'de> Deserialize<'de> for Pps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PpsVisitor).map(Self)
    }
}

struct PpsVisitor;

impl Visitor<'_> for PpsVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("packets per second, such as 50000 or \"50k\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<f64, E> {
        parse_pps(text).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<f64, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<f64, E> {
        self.visit_str(&number.to_string())
    }
}

/// A constant rate or a ramp.
enum RateFile {
    Constant(f64),
    Ramp(RampFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RampFile {
    from: Pps,
    to: Pps,
    steps: std::num::NonZeroU32,
}

impl<'de> Deserialize<'de> for RateFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

struct RateVisitor;

impl<'de> Visitor<'de> for RateVisitor {
    type Value = RateFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "packets per second, such as \"50k\", or { from = \"5k\", to = \"50k\", steps = 10 }",
        )
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RateFile, E> {
        PpsVisitor.visit_str(text).map(RateFile::Constant)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<RateFile, E> {
        PpsVisitor.visit_i64(number).map(RateFile::Constant)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<RateFile, E> {
        PpsVisitor.visit_f64(number).map(RateFile::Constant)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RateFile, A::Error> {
        RampFile::deserialize(MapAccessDeserializer::new(map)).map(RateFile::Ramp)
    }
}

impl ScenarioFile {
    fn into_scenario(self) -> Result<Scenario, Fault> {
        let span = self.phases.span();
        let phases = self.phases.into_inner();
        if phases.is_empty() {
            return Err(Fault::at(span, "expected at least one [[phase]]"));
        }
        Ok(Scenario {
            title: self.title,
            gateway: self.gateway,
            public_key: self.public_key.map(|key| key.0),
            key_seed: self.key_seed,
            source_ips: self.source_ip,
            phases: phases
                .into_iter()
                .map(PhaseFile::into_phase)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl PhaseFile {
    fn into_phase(self) -> Result<Phase, Fault> {
        let duration_span = self.duration.span();
        let duration = self.duration.into_inner().0;
        if duration.is_zero() {
            return Err(Fault::at(duration_span, "expected a duration above 0"));
        }
        if self.loads.is_empty() {
            let problem = format!(
                "phase {:?} has no [[phase.load]]; add at least one population of honest tunnels",
                self.name
            );
            return Err(Fault::at(duration_span, problem));
        }
        let mut names = Vec::new();
        let mut unique = |name: Spanned<String>| {
            let span = name.span();
            let name = name.into_inner();
            if names.contains(&name) {
                let problem =
                    format!("duplicate name {name:?} in this phase; rename one of the two");
                return Err(Fault::at(span, problem));
            }
            names.push(name.clone());
            Ok(name)
        };
        Ok(Phase {
            loads: self
                .loads
                .into_iter()
                .map(|load| {
                    let load = load.into_inner();
                    let name = unique(load.name.clone())?;
                    load.into_load(name, duration)
                })
                .collect::<Result<_, Fault>>()?,
            garbage: self
                .garbage
                .into_iter()
                .map(|garbage| {
                    let garbage = garbage.into_inner();
                    let name = unique(garbage.name.clone())?;
                    garbage.into_garbage(name)
                })
                .collect::<Result<_, Fault>>()?,
            name: self.name,
            duration,
            warm_up: self.warm_up.0,
            drain: self.drain.0,
        })
    }
}

impl LoadFile {
    fn into_load(self, name: String, duration: Duration) -> Result<Load, Fault> {
        let tunnels = *self.tunnels.get_ref();
        if tunnels == 0 {
            return Err(Fault::at(
                self.tunnels.span(),
                "expected at least one tunnel",
            ));
        }
        let rate_span = self.rate.span();
        let rate = match self.rate.into_inner() {
            RateFile::Constant(pps) => Rate::PerSecond(pps),
            RateFile::Ramp(ramp) if ramp.steps.get() > MAX_STEPS => {
                return Err(Fault::at(
                    rate_span,
                    format!("expected at most {MAX_STEPS} steps in a ramp"),
                ));
            }
            RateFile::Ramp(ramp) => Rate::Ramp {
                from: ramp.from.0,
                to: ramp.to.0,
                steps: ramp.steps,
            },
        };
        let shares = match self.zipf {
            None => Shares::Equal,
            Some(exponent) if (0.0..=10.0).contains(exponent.get_ref()) => {
                Shares::Zipf(exponent.into_inner())
            }
            Some(exponent) => {
                return Err(Fault::at(
                    exponent.span(),
                    "expected an exponent from 0 to 10",
                ));
            }
        };
        let within = |time: Option<&Spanned<Time>>| match time {
            Some(time) if time.get_ref().0 >= duration => Err(Fault::at(
                time.span(),
                format!("expected a time before the end of the phase, which takes {duration:?}"),
            )),
            Some(time) => Ok(Some(time.get_ref().0)),
            None => Ok(None),
        };
        let connect_at = within(self.connect_at.as_ref())?;
        let rekey_at = within(self.rekey_at.as_ref())?;
        let presence = match (connect_at, self.lifetime) {
            (None, None) => Presence::Throughout,
            (Some(after), None) => Presence::AtOnce { after },
            (None, Some(lifetime)) if lifetime.get_ref().0 < Presence::MIN_LIFETIME => {
                return Err(Fault::at(
                    lifetime.span(),
                    format!(
                        "expected a lifetime of at least {:?}",
                        Presence::MIN_LIFETIME
                    ),
                ));
            }
            (None, Some(lifetime)) => Presence::Turnover {
                tunnels,
                lifetime: lifetime.into_inner().0,
            },
            (Some(_), Some(lifetime)) => {
                return Err(Fault::at(
                    lifetime.span(),
                    "tunnels either connect at once (connect_at) or are replaced (lifetime); use two loads for both",
                ));
            }
        };
        let load = Load {
            name,
            tunnels,
            rate,
            size: self.size,
            train: self.train,
            threads: self.threads,
            shares,
            presence,
            rekey_at,
            checks: self.check.into_checks(rate)?,
        };
        let needed = load.identities_needed(duration);
        if needed > MAX_TUNNELS {
            return Err(Fault::at(
                self.tunnels.span(),
                format!("the load needs {needed} identities, and the maximum is {MAX_TUNNELS}"),
            ));
        }
        Ok(load)
    }
}

impl ChecksFile {
    fn into_checks(self, rate: Rate) -> Result<Checks, Fault> {
        let max_loss_share = match self.max_loss_percent {
            Some(percent) if !(0.0..=100.0).contains(percent.get_ref()) => {
                return Err(Fault::at(
                    percent.span(),
                    "expected a percentage from 0 to 100",
                ));
            }
            percent => percent.map(|percent| share_of_percent(percent.into_inner())),
        };
        if let Some(rate_checked) = &self.loss_free_rate
            && !matches!(rate, Rate::Ramp { .. })
        {
            return Err(Fault::at(
                rate_checked.span(),
                "only a ramp has a loss-free rate; write rate = { from = .., to = .., steps = .. }, or check \
                 max_loss_percent",
            ));
        }
        Ok(Checks {
            run: report::Checks {
                max_loss_share,
                max_p99: self.max_p99.map(|time| time.0),
            },
            max_connect: self.max_connect.map(|time| time.0),
            loss_free_pps: self.loss_free_rate.map(|rate| rate.into_inner().0),
            min: self.min,
            max: self.max,
        })
    }
}

impl GarbageFile {
    fn into_garbage(self, name: String) -> Result<Garbage, Fault> {
        if self.kinds.get_ref().is_empty() {
            return Err(Fault::at(
                self.kinds.span(),
                "expected at least one kind of garbage",
            ));
        }
        let sockets = *self.sockets.get_ref();
        if !(1..=Garbage::MAX_SOCKETS).contains(&sockets) {
            return Err(Fault::at(
                self.sockets.span(),
                format!("expected 1 to {} sockets", Garbage::MAX_SOCKETS),
            ));
        }
        Ok(Garbage {
            name,
            kinds: self.kinds.into_inner(),
            pps: self.rate.0,
            sockets,
            max_answers: self.check.max_answers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a scenario whose load has a name and `lines`.
    fn scenario(lines: &str) -> String {
        format!(
            "title = \"t\"\n[[phase]]\nname = \"p\"\nduration = \"5s\"\n[[phase.load]]\n\
             name = \"l\"\n{lines}\n"
        )
    }

    /// Returns the line, column and problem of an invalid scenario.
    fn fault(text: &str) -> (usize, usize, String) {
        let fault = Scenario::parse(text).unwrap_err();
        let (line, column) = line_and_column(text, fault.span.unwrap().start);
        (line, column, fault.problem)
    }

    #[test]
    fn missing_keys_have_defaults() {
        let scenario = Scenario::parse(&scenario("tunnels = 3\nrate = 100")).unwrap();
        let phase = &scenario.phases[0];
        assert_eq!(phase.warm_up, Duration::from_secs(1));
        let load = &phase.loads[0];
        assert_eq!((load.tunnels, load.rate), (3, Rate::PerSecond(100.0)));
        assert_eq!((load.size, load.train, load.threads), (1200, 1, 1));
        assert_eq!(
            (load.presence, load.shares),
            (Presence::Throughout, Shares::Equal)
        );
        assert_eq!(load.checks, Checks::default());
        assert_eq!(scenario.identities_needed(), 3);
    }

    #[test]
    fn all_keys_are_read() {
        let text = scenario(
            "tunnels = 4\nrate = { from = \"1k\", to = 2e3, steps = 2 }\nzipf = 1.5\n\
             lifetime = \"2s\"\nrekey_at = \"1s\"\n\
             check = { max_loss_percent = 1, max_p99 = \"5ms\", max_connect = \"1s\", \
             loss_free_rate = 1500, min = { connected = 4 }, max = { lost = 0 } }\n\
             [[phase.garbage]]\nname = \"g\"\nkinds = [\"replay\", \"forged-initiation\"]\n\
             rate = \"2k\"\nsockets = 8\ncheck = { max_answers = 0 }",
        );
        let scenario = Scenario::parse(&text).unwrap();
        let load = &scenario.phases[0].loads[0];
        assert_eq!(load.shares, Shares::Zipf(1.5));
        let lifetime = Duration::from_secs(2);
        assert_eq!(
            load.presence,
            Presence::Turnover {
                tunnels: 4,
                lifetime
            }
        );
        assert_eq!(load.checks.run.max_loss_share, Some(0.01));
        assert_eq!(load.checks.loss_free_pps, Some(1500.0));
        let garbage = &scenario.phases[0].garbage[0];
        assert_eq!(
            (garbage.pps, garbage.sockets, garbage.max_answers),
            (2000.0, 8, Some(0))
        );
        // 4 tunnels, 10 replacements during 5 s, and one tunnel whose packets are replayed.
        assert_eq!(scenario.identities_needed(), 15);
    }

    #[test]
    fn unknown_name_is_reported_with_the_most_similar_one() {
        let (line, column, problem) = fault(&scenario("tunels = 3\nrate = 100"));
        assert_eq!((line, column), (7, 1));
        assert!(
            problem.starts_with("unknown name `tunels`; did you mean `tunnels`?"),
            "{problem}"
        );
        let (_, _, problem) = fault(&scenario(
            "tunnels = 3\nrate = 1\ncheck = { max = { los = 1 } }",
        ));
        assert!(problem.contains("did you mean `lost`?"), "{problem}");
        let garbage = "tunnels = 3\nrate = 1\n[[phase.garbage]]\nname = \"g\"\nrate = 1\n\
                       kinds = [\"replays\"]";
        let (line, _, problem) = fault(&scenario(garbage));
        assert_eq!(line, 12);
        assert!(problem.contains("did you mean `replay`?"), "{problem}");
    }

    #[test]
    fn invalid_values_are_reported_with_their_line() {
        for (lines, line, part) in [
            ("tunnels = 0\nrate = 1", 7, "at least one tunnel"),
            ("tunnels = -1\nrate = 1", 7, "-1"),
            (
                "tunnels = 9223372036854775807\nrate = 1",
                7,
                "needs 9223372036854775807 ident",
            ),
            (
                "tunnels = 10000000\nrate = 1\nlifetime = \"1s\"",
                7,
                "needs 60000000 identities",
            ),
            (
                "tunnels = 1\nrate = { from = 1, to = 2, steps = 1001 }",
                8,
                "at most 1000 steps",
            ),
            ("tunnels = 1\nrate = 0", 8, "expected a rate"),
            ("tunnels = 1\nrate = \"fast\"", 8, "expected a rate"),
            (
                "tunnels = 1\nrate = { from = 1, to = 2, steps = 0 }",
                8,
                "nonzero",
            ),
            ("tunnels = 1\nrate = 1\nzipf = -1.0", 9, "from 0 to 10"),
            (
                "tunnels = 1\nrate = 1\nconnect_at = \"5s\"",
                9,
                "before the end of the phase",
            ),
            (
                "tunnels = 1\nrate = 1\nrekey_at = \"6\"",
                9,
                "expected a time",
            ),
            (
                "tunnels = 1\nrate = 1\nlifetime = \"10ms\"",
                9,
                "lifetime of at least 1s",
            ),
            (
                "tunnels = 1\nrate = 1\nconnect_at = \"1s\"\nlifetime = \"2s\"",
                10,
                "use two loads",
            ),
            (
                "tunnels = 1\nrate = 1\ncheck = { max_loss_percent = 101 }",
                9,
                "0 to 100",
            ),
            (
                "tunnels = 1\nrate = 1\ncheck = { loss_free_rate = 5 }",
                9,
                "only a ramp",
            ),
        ] {
            let (found, _, problem) = fault(&scenario(lines));
            assert!(
                found == line && problem.contains(part),
                "{lines}: {found}: {problem}"
            );
        }
    }

    #[test]
    fn names_must_be_unique_within_a_phase() {
        let text =
            scenario("tunnels = 1\nrate = 1\n[[phase.load]]\nname = \"l\"\ntunnels = 1\nrate = 1");
        let (line, _, problem) = fault(&text);
        assert_eq!(line, 10);
        assert!(problem.starts_with("duplicate name \"l\""), "{problem}");
    }

    #[test]
    fn scenario_needs_a_phase_and_a_phase_needs_a_load() {
        let (_, _, problem) = fault("title = \"t\"\n[[phase]]\nname = \"p\"\nduration = \"1s\"\n");
        assert!(problem.contains("has no [[phase.load]]"), "{problem}");
        let (_, _, problem) = fault("title = \"t\"\nphase = []\n");
        assert!(problem.contains("at least one [[phase]]"), "{problem}");
    }
}
