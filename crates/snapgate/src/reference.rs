//! Files generated from the code. The tests fail if a file is outdated;
//! `SNAPGATE_UPDATE_REFERENCE=1 cargo test -p snapgate --lib reference` regenerates all files.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use snapgate_control::registry::{Effect, Refusal};
use snapgate_control::rpc::{Code, ConnectionEnd, EndhostApiResult, LookupRefusal, Method};
use snapgate_control::token::TokenFaultKind;

use crate::accounting::LogStatus;
use crate::authorization::Authorizer;
use crate::config::setting::{Scope, Setting};
use crate::config::settings::{self, SETTINGS};
use crate::config::{Authorization, Forward};
use crate::control_plane::ControlPlaneMetrics;
use crate::counters::Published;
use crate::drop_reason::DropReason;
use crate::metrics::{self, GatewayMetrics};
use crate::pinning::PinnedCpus;
use crate::state::StateStatus;
use crate::status::Status;

/// Asserts that a file of the repository has the expected content.
fn assert_current(file: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(file);
    if std::env::var_os("SNAPGATE_UPDATE_REFERENCE").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{file} is outdated; run `SNAPGATE_UPDATE_REFERENCE=1 cargo test -p snapgate --lib reference`"
    );
}

#[test]
fn settings_reference_is_current() {
    assert_current("docs/CONFIGURATION.md", &settings_page());
}

#[test]
fn fuzzing_corpus_has_all_settings_without_file_names() {
    let settings = SETTINGS
        .iter()
        .filter(|setting| !setting.kind.names_a_file() && !is_for_control_plane(setting));
    let lines = settings.map(|setting| match setting.name {
        // Required without `identities`, which names a file.
        "allow_any_identity" => "allow_any_identity = true\n".to_owned(),
        _ => setting.example() + "\n",
    });
    let file: String = lines.collect();
    assert_current("crates/fuzz/corpus/configuration/all_settings.toml", &file);
}

const SETTINGS_HEAD: &str = "\
# Configuration

<!-- Generated from crates/snapgate/src by the test reference::settings_reference_is_current. -->

Each setting is a key of the configuration file (`--config FILE` or `SNAPGATE_CONFIG`), a flag and an environment
variable: `local_prefix`, `--local-prefix` and `SNAPGATE_LOCAL_PREFIX`. Flags override environment variables, which
override the file. Lists are replaced, not merged. The flag of a list is repeated; its environment variable is separated
by commas. Paths in the file are relative to the file's directory. `snapgate check` prints all values with their
sources, or all errors.
";

fn settings_page() -> String {
    let mut page = SETTINGS_HEAD.to_owned();
    let mut group = "";
    for setting in SETTINGS {
        if setting.group != group {
            group = setting.group;
            writeln!(page, "\n## {group}\n").unwrap();
            page.push_str("| setting | values | default | meaning |\n| --- | --- | --- | --- |\n");
        }
        let values = setting.kind.value_name().replace('|', "\\|");
        let only = match setting.scope {
            Scope::Always => "",
            Scope::Scion => " (only with `forward = \"scion\"`)",
            Scope::ControlPlane => " (only with `control_plane`)",
        };
        writeln!(
            page,
            "| `{}` | `{values}` | {} | {}{only} |",
            setting.name,
            setting.default(),
            setting.help()
        )
        .unwrap();
    }
    page.push_str(
        "\n## Forward modes\n\n| `forward` | packets from tunnels are |\n| --- | --- |\n",
    );
    for mode in Forward::MODES {
        writeln!(page, "| `{}` | {} |", mode.name(), mode.help()).unwrap();
    }
    page.push_str("\n## Example file with all settings\n\n```toml\n");
    for setting in SETTINGS {
        // Excluded by `token_key`.
        if *setting == &settings::TOKEN_JWKS {
            page.push_str("# ");
        }
        page.push_str(&setting.example());
        page.push('\n');
    }
    page.push_str("```\n");
    page
}

#[test]
fn metrics_reference_is_current() {
    assert_current("docs/METRICS.md", &metrics_page());
}

const METRICS_HEAD: &str = "\
# Metrics

<!-- Generated from crates/snapgate/src by the test reference::metrics_reference_is_current. -->

`--metrics ADDRESS:PORT` serves these metrics in the OpenMetrics text format at `/metrics`. Metrics of workers also have
the label `worker`, the worker's index from 0. Direction `incoming` is from tunnels to SCION, `outgoing` is from SCION
into tunnels.

Every received datagram has exactly one fate. In every scrape, for every worker,

    received + mailbox taken = delivered + sent + dropped + mailbox given + in flight

where delivered datagrams are those that the gateway consumes. Datagrams that the gateway originates are not part of the
sum. [TUNING.md](TUNING.md#rising-counters) explains what to do when a counter rises.

";

/// Returns true for settings that need a file with keys.
fn is_for_control_plane(setting: &Setting) -> bool {
    setting.scope == Scope::ControlPlane || setting == &settings::CONTROL_PLANE
}

/// A value of a label of a metric of the control plane.
struct ControlLabel {
    name: &'static str,
    value: &'static str,
    help: String,
}

/// Returns the values of the labels of a metric of the control plane. Those of `method` are the same for both metrics
/// that have this label.
fn control_labels(metric: &str) -> Vec<ControlLabel> {
    macro_rules! values {
        ($name:literal, $enum:ty) => {
            <$enum>::ALL
                .iter()
                .map(|value| ControlLabel {
                    name: $name,
                    value: value.name(),
                    help: value.to_string(),
                })
                .collect::<Vec<_>>()
        };
    }
    let pairs = |name, pairs: [(&'static str, &str); 2]| {
        let label = |(value, help): (&'static str, &str)| ControlLabel {
            name,
            value,
            help: help.to_owned(),
        };
        Vec::from(pairs.map(label))
    };
    match metric {
        "snapgate_control_rpcs" => {
            let mut labels = values!("method", Method);
            labels.extend(values!("code", Code));
            labels
        }
        "snapgate_control_refused_tokens" => values!("reason", TokenFaultKind),
        "snapgate_control_refused_registrations" => values!("reason", Refusal),
        "snapgate_control_ended_connections" => values!("reason", ConnectionEnd),
        "snapgate_control_endhost_api_requests" => values!("result", EndhostApiResult),
        "snapgate_control_refused_lookups" => values!("reason", LookupRefusal),
        "snapgate_control_accepted_registrations" => values!("effect", Effect),
        "snapgate_control_certificate_reloads" => pairs(
            "result",
            [
                ("ok", "a changed certificate is in use"),
                ("failed", "the files cannot be used"),
            ],
        ),
        "snapgate_control_ended_registrations" => pairs(
            "reason",
            [
                ("expired", "the token ended"),
                ("revoked", "a revocation ended it"),
            ],
        ),
        "snapgate_control_commits" => pairs("result", [("ok", "stored"), ("failed", "not stored")]),
        _ => Vec::new(),
    }
}

/// Returns a text with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

/// Returns all metrics of a gateway with a state directory, an identities file, a control plane and an accounting log,
/// and all drop reasons.
fn metrics_page() -> String {
    let workers: Arc<[Arc<Published>]> = Arc::new([Arc::default()]);
    let authorization = Authorizer::new(&Authorization::Identities(Vec::new()));
    authorization.registry().unwrap().note_file();
    let state = Some(Arc::new(StateStatus::new()));
    let cpus = PinnedCpus::new(1);
    let status = Arc::new(Status::new(
        Arc::new(authorization),
        Arc::default(),
        state,
        Some(Arc::new(LogStatus::default())),
        cpus,
    ));
    status.set_control_plane(ControlPlaneMetrics::default());
    let scrape = GatewayMetrics::new(workers, status).page().unwrap();

    let types: HashMap<&str, &str> = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let mut page = METRICS_HEAD.to_owned();
    page.push_str("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
    for line in scrape.lines() {
        let described = line
            .strip_prefix("# HELP ")
            .and_then(|line| line.split_once(' '));
        let Some((name, help)) = described else {
            continue;
        };
        let kind = types[name];
        let suffix = if kind == "counter" { "_total" } else { "" };
        let (help, series) = metrics::families()
            .find(|family| family.name == name)
            .map_or((help, &[][..]), |family| (family.help, family.series));
        let labels = match name {
            "snapgate_dropped_packets" => "`stage`, `reason`",
            "snapgate_build_info" => "`version`",
            "snapgate_control_rpc_seconds" => "`method`",
            _ => "",
        };
        let control_labels = control_labels(name);
        // The help of a scrape ends with the values, which have rows here.
        let help = control_labels
            .first()
            .and_then(|first| help.split_once(&format!(" {}: ", first.value)))
            .map_or(help, |(help, _)| help);
        writeln!(page, "| `{name}{suffix}` | {kind} | {labels} | {help} |").unwrap();
        for ControlLabel { name, value, help } in control_labels {
            writeln!(page, "| | | `{name}=\"{value}\"` | {} |", sentence(&help)).unwrap();
        }
        for series in series.iter().filter(|series| !series.labels.is_empty()) {
            let labels: Vec<String> = series
                .labels
                .iter()
                .map(|(label, value)| format!("`{label}=\"{value}\"`"))
                .collect();
            writeln!(
                page,
                "| | | {} | {} |",
                labels.join(", "),
                series.help.trim()
            )
            .unwrap();
        }
    }
    page.push_str("\n## Drop reasons\n\n");
    page.push_str("Labels of `snapgate_dropped_packets_total`.\n\n");
    page.push_str("| stage | reason | the datagram |\n| --- | --- | --- |\n");
    for reason in DropReason::all() {
        let (stage, name) = (reason.stage(), reason.name());
        writeln!(page, "| `{stage}` | `{name}` | {reason} |").unwrap();
    }
    page
}
