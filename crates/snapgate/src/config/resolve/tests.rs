use std::fs;

use super::*;
use crate::config::{Dispatch, InternalFrom, ScmpErrorLimits, ShardConfig, WorkerReason};

mod addresses;
mod ases;
mod control_plane;
mod every_setting;

const KEY: &str = "cAdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LGo=\n";
const OWN_PUBLIC_KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const PEER: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
const TOPOLOGY: &str = r#"{
    "isd_as": "1-ff00:0:110",
    "border_routers": {
        "br1": { "internal_addr": "10.0.0.1:31002", "interfaces": { "1": {}, "2": {} } }
    }
}"#;

/// A minimal valid configuration.
const MINIMAL: &str = "\
private_key_file = 'key'
identities = 'ids'
internal = '10.0.0.5:30100'
topology = 'topo'
";

/// Adds a control plane to [`MINIMAL`].
const CONTROL_PLANE: &str = "\
control_plane = ['127.0.0.1:8443']
public_address = ['192.0.2.1:51820']
token_key = 'token.pem'
";

/// RFC 8037, appendix A.2, in PEM.
const TOKEN_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
";

/// A certificate that signs itself.
const CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUGAeCmwnTHWsVa3xtwIvo+U+UP8EwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMzAyMTE0MDRaGA8yMTI2MTEwNjIxMTQw
NFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABG7F
2Caa80qQMaW7KJrvKKtDuC+H81QL86XIN3M1EPz8qR268l7rrhSBr/kRcUrn0S6l
0MwJ4jCuDsUFKqGCYnijUzBRMB0GA1UdDgQWBBQvENkvc8/L/KxYrTTFZu5bxy5W
GTAfBgNVHSMEGDAWgBQvENkvc8/L/KxYrTTFZu5bxy5WGTAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIC2ppeRKf1l3HzOK0lIdehlIxtcpMYknAeAJ
2NX8RVG3AiEAnUjJDbk5+mPrJ0uf6iaa1I6I9mglHku2m21qOn7XjIM=
-----END CERTIFICATE-----
";

/// A directory with a configuration and the files that it names.
struct Setup {
    directory: tempfile::TempDir,
    available: AvailableCpus,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let setup = Self {
            directory,
            available: AvailableCpus {
                allowed: vec![0, 1],
                quota_millicpus: None,
            },
        };
        setup.write("key", KEY);
        setup.write("ids", &format!("[[identity]]\npublic_key = '{PEER}'\n"));
        setup.write("topo", TOPOLOGY);
        setup.write("token.pem", TOKEN_KEY);
        setup.write("ca.pem", CA);
        setup
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, owner_only).unwrap();
    }

    fn load(&self, text: &str) -> Result<Effective, Vec<Problem>> {
        self.write("x.toml", text);
        load(
            RawSettings::default(),
            Some(&self.directory.path().join("x.toml")),
            &self.available,
        )
        .map_err(|rejected| rejected.problems)
    }

    fn valid(&self, text: &str) -> Effective {
        self.load(text)
            .unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"))
    }

    /// Returns the problems without the directory.
    fn problems(&self, text: &str) -> Vec<String> {
        let directory = format!("{}/", self.directory.path().display());
        let problems = self.load(text).expect_err(text);
        problems
            .iter()
            .map(|problem| problem.to_string().replace(&directory, ""))
            .collect()
    }

    /// Returns the problems of an addition to a valid configuration.
    fn problems_of_addition(&self, addition: &str) -> Vec<String> {
        self.problems(&format!("{MINIMAL}{addition}"))
    }
}

fn scion(effective: &Effective) -> &crate::config::ScionForward {
    match &effective.config.forward {
        Forward::Scion(scion) => scion,
        other => panic!("{other:?}"),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn minimal_configuration_has_a_value_for_every_setting() {
    let effective = Setup::new().valid(MINIMAL);
    assert_eq!(effective.warnings, []);
    let names: Vec<_> = effective
        .settings
        .iter()
        .map(|effective| effective.setting.name)
        .collect();
    let table: Vec<_> = settings::SETTINGS
        .iter()
        .map(|setting| setting.name)
        .collect();
    assert_eq!(names, table);

    let config = &effective.config;
    assert_eq!(config.private_key.public_key().to_string(), OWN_PUBLIC_KEY);
    assert_eq!(config.workers.count.get(), 2);
    assert_eq!(
        config.workers.reason,
        WorkerReason::AffinityMask { cpus: 2 }
    );
    assert_eq!(config.cpus, CpuPinning::Pinned(vec![0, 1]));
    assert_eq!(config.limits, ShardConfig::default());
    assert!(config.sockets.gso && config.sockets.gro);
    let scion = scion(&effective);
    assert_eq!(scion.internal, address("10.0.0.5:30100"));
    let isd_as = "1-ff00:0:110".parse().unwrap();
    assert_eq!(scion.local_isd_as, [isd_as]);
    assert_eq!(
        scion.next_hops.get(&(isd_as, 2)),
        Some(&address("10.0.0.1:31002"))
    );
}

#[test]
fn echo_and_sink_have_a_value_for_every_setting() {
    for mode in Forward::MODES.iter().filter(|mode| mode.scion().is_none()) {
        let text = format!(
            "private_key_file = 'key'\nallow_any_identity = true\nforward = '{}'\n",
            mode.name()
        );
        let effective = Setup::new().valid(&text);
        assert_eq!(effective.settings.len(), settings::SETTINGS.len());
        assert_eq!(effective.warnings, [Warning::AnyIdentity]);
    }
}

#[test]
fn each_setting_changes_only_its_own_value() {
    let setup = Setup::new();
    let values = |text: &str| -> Vec<Value> {
        let settings = setup.valid(text).settings.into_iter();
        settings.map(|effective| effective.value).collect()
    };
    let rest = format!("{CONTROL_PLANE}{MINIMAL}");
    let defaults = values(&rest);
    for (index, setting) in settings::SETTINGS.iter().enumerate() {
        let other = match setting.kind {
            Kind::Number(_) | Kind::Count(_) | Kind::Seconds { .. } => "4321".to_owned(),
            Kind::Size { .. } => "765432".to_owned(),
            Kind::Switch { .. } => (defaults[index] == false).to_string(),
            Kind::Dispatch(_) => "'user'".to_owned(),
            Kind::Address { .. } => "'127.0.0.1:1'".to_owned(),
            Kind::Interface(_) => "'eth1'".to_owned(),
            Kind::Word { .. } => "'other'".to_owned(),
            Kind::LogFilter(_) => "'trace'".to_owned(),
            Kind::LogFormat(_) => "'json'".to_owned(),
            Kind::Forward(_) | Kind::Special { .. } => continue,
        };
        if *setting == &settings::ALLOW_ANY_IDENTITY {
            continue;
        }
        let changed = values(&format!("{} = {other}\n{rest}", setting.name));
        for (at, (value, default)) in changed.iter().zip(&defaults).enumerate() {
            let name = settings::SETTINGS[at].name;
            assert_eq!(
                value == default,
                at != index,
                "{name} after {}",
                setting.name
            );
        }
    }
}

#[test]
fn internal_from_accepts_any() {
    let effective = Setup::new().valid(&format!("{MINIMAL}internal_from = ['any']\n"));
    assert_eq!(scion(&effective).internal_from, InternalFrom::Any);
    let default = Setup::new().valid(MINIMAL);
    assert_eq!(
        scion(&default).internal_from,
        InternalFrom::Prefixes(Vec::new())
    );
}

#[test]
fn documented_defaults_are_in_effect() {
    let effective = Setup::new().valid(&format!("{CONTROL_PLANE}{MINIMAL}"));
    for EffectiveSetting {
        setting,
        value,
        note,
        place,
    } in &effective.settings
    {
        let default = setting.default();
        if *place != Place::Default || default.contains(' ') || default.is_empty() {
            continue;
        }
        let actual = match value {
            Value::Null => "none".to_owned(),
            Value::String(text) => text.clone(),
            number_or_switch => number_or_switch.to_string(),
        };
        assert!(
            default == actual || Some(&default) == note.as_ref(),
            "{}: {actual}",
            setting.name
        );
    }
}

#[test]
fn all_missing_settings_are_reported() {
    assert_eq!(
        Setup::new().problems(""),
        [
            "private_key_file is not set; set it with --private-key-file, \
             SNAPGATE_PRIVATE_KEY_FILE or `private_key_file = \"/etc/snapgate/private.key\"` in \
             the file",
            "no client may open a tunnel; set --identities FILE, or --control-plane ADDRESS:PORT to let clients \
             register, or --allow-any-identity to accept all clients",
            "internal is not set; set it with --internal, SNAPGATE_INTERNAL or `internal = \
             \"10.0.0.5:30100\"` in the file",
            "no local ISD-AS number; set --local-isd-as, --next-hop or --topology",
        ]
    );
}

#[test]
fn invalid_setting_is_not_reported_as_missing() {
    let problems = Setup::new().problems(
        "private_key_file = 5\nidentities = 6\ninternal = 'nowhere'\nlocal_isd_as = \
         ['x']\nforward = 'scion'\n",
    );
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(
        problems
            .iter()
            .all(|problem| problem.starts_with("x.toml:")),
        "{problems:#?}"
    );
}

#[test]
fn nothing_is_reported_as_missing_after_a_syntax_error() {
    let problems = Setup::new().problems("private_key_file = \nidentities = 'ids'\n");
    assert!(
        problems
            .iter()
            .all(|problem| problem.contains("invalid TOML")),
        "{problems:#?}"
    );
}

#[test]
fn unusable_files_are_reported_with_the_line_that_names_them() {
    let setup = Setup::new();
    setup.write("binary", "");
    fs::write(setup.directory.path().join("binary"), b"fine\nnot \xff\n").unwrap();
    setup.write("bad key", "c2hvcnQ=\n");
    setup.write("empty", "");
    for (file, fault) in [
        ("missing", "missing: not found; check the path"),
        (".", ": is a directory; use the path of a file"),
        (
            "binary",
            "binary: not UTF-8 text (byte 9, line 2); check the path",
        ),
        (
            "bad key",
            "bad key: expected 32 bytes in base64, got 5; `snapgate genkey",
        ),
        (
            "empty",
            "empty: expected 32 bytes in base64, got an empty text; `snapgate genkey",
        ),
    ] {
        let text = MINIMAL.replace("'key'", &format!("'{file}'"));
        let problems = setup.problems(&text);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        let (start, rest) = problems[0].split_at("x.toml:1: private_key_file: ".len());
        assert_eq!(start, "x.toml:1: private_key_file: ");
        assert!(
            rest.trim_start_matches('.').starts_with(fault),
            "{problems:?}"
        );
    }
    for (name, line) in [("ids", 2), ("topo", 4)] {
        let problems = setup.problems(&MINIMAL.replace(&format!("'{name}'"), "'missing'"));
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(
            problems[0].starts_with(&format!("x.toml:{line}: ")),
            "{problems:?}"
        );
        assert!(
            problems[0].ends_with("missing: not found; check the path"),
            "{problems:?}"
        );
    }
}

#[test]
fn unusable_configuration_file_is_reported() {
    let setup = Setup::new();
    for (file, fault) in [("missing", "not found"), ("", "is a directory")] {
        let path = setup.directory.path().join(file);
        let rejected = load(RawSettings::default(), Some(&path), &setup.available).unwrap_err();
        let problems = rejected.problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        let problem = problems[0].to_string();
        assert!(
            problem.starts_with(&format!("{}: {fault}", path.display())),
            "{problem}"
        );
    }
}

#[test]
fn identities_conflict_with_allow_any_identity() {
    let problems = Setup::new().problems_of_addition("allow_any_identity = true\n");
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with(
            "x.toml:5: allow_any_identity: conflicts with identities (set by x.toml:2)"
        )
    );
}

#[test]
fn own_public_key_is_rejected_as_an_identity() {
    let setup = Setup::new();
    setup.write(
        "ids",
        &format!("[[identity]]\npublic_key = '{OWN_PUBLIC_KEY}'\n"),
    );
    assert_eq!(
        setup.problems(MINIMAL),
        ["ids:1: public_key is the gateway's own key; use the client's public key"]
    );
}

#[test]
fn own_private_key_is_rejected_as_an_identity_and_not_shown() {
    let setup = Setup::new();
    let key = KEY.trim();
    setup.write(
        "ids",
        &format!("[[identity]]\npublic_key = '{PEER}'\n\n[[identity]]\npublic_key = '{key}'\n"),
    );
    let problems = setup.problems(MINIMAL);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with("ids:4: public_key is the gateway's private key"),
        "{problems:?}"
    );
    assert!(!problems[0].contains(key), "{problems:?}");
}

#[test]
fn empty_list_and_expired_identities_cause_warnings() {
    let setup = Setup::new();
    setup.write("ids", "");
    let warnings = setup.valid(MINIMAL).warnings;
    assert!(
        matches!(warnings.as_slice(), [Warning::NoIdentities(_)]),
        "{warnings:?}"
    );

    setup.write(
        "ids",
        &format!(
            "[[identity]]\npublic_key = '{PEER}'\nname = 'old'\nexpires = 2001-01-01T00:00:00Z\n"
        ),
    );
    let warnings = setup.valid(MINIMAL).warnings;
    let [warning @ Warning::IdentityExpired { .. }] = warnings.as_slice() else {
        panic!("{warnings:?}")
    };
    assert!(
        warning
            .to_string()
            .ends_with(": identity \"old\" expired at 2001-01-01T00:00:00Z"),
        "{warning}"
    );
}

#[test]
fn key_readable_by_others_causes_a_warning() {
    let setup = Setup::new();
    let world_readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(setup.directory.path().join("key"), world_readable).unwrap();
    let warnings = setup.valid(MINIMAL).warnings;
    assert!(
        matches!(
            warnings.as_slice(),
            [Warning::KeyReadableByOthers { mode: 0o644, .. }]
        ),
        "{warnings:?}"
    );
}

#[test]
fn state_dir_must_be_a_directory() {
    let setup = Setup::new();
    for (directory, problem) in [
        ("missing", "missing: not found; check the path"),
        ("key", "key is not a directory; use the path of a directory"),
    ] {
        let problems = setup.problems_of_addition(&format!("state_dir = '{directory}'\n"));
        assert!(problems[0].ends_with(problem), "{problems:?}");
        assert!(problems[0].contains(": state_dir: "), "{problems:?}");
    }
}

#[test]
fn accounting_log_must_be_a_file_that_can_be_created() {
    let setup = Setup::new();
    for (file, problem) in [
        (
            ".",
            ". is not a regular file; use the path of a regular file, which need not exist",
        ),
        (
            "missing/records",
            "missing does not exist; create it or use another path",
        ),
        (
            "key/records",
            "key/records: cannot read: Not a directory (os error 20)",
        ),
    ] {
        let problems = setup.problems_of_addition(&format!("accounting_log = '{file}'\n"));
        assert!(problems[0].ends_with(problem), "{problems:?}");
        assert!(problems[0].contains(": accounting_log: "), "{problems:?}");
    }
}

#[test]
fn state_dir_writable_by_others_causes_a_warning() {
    let setup = Setup::new();
    let directory = setup.directory.path().join("state");
    fs::create_dir(&directory).unwrap();
    for (mode, warned) in [(0o700, false), (0o775, false), (0o777, true)] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(&directory, mode).unwrap();
        let warnings = setup
            .valid(&format!("{MINIMAL}state_dir = 'state'\n"))
            .warnings;
        let is_warned = matches!(
            warnings.as_slice(),
            [Warning::StateWritableByOthers { mode: 0o777, .. }]
        );
        assert_eq!(is_warned, warned, "{warnings:?}");
    }
}

#[test]
fn overlapping_addresses_are_rejected() {
    let setup = Setup::new();
    for (addition, problem) in [
        (
            "listen = ['127.0.0.1:7', '127.0.0.1:7']\n",
            "x.toml:5: listen: 127.0.0.1:7 is listed twice; remove one",
        ),
        (
            "listen = ['0.0.0.0:7', '127.0.0.1:7']\n",
            "x.toml:5: listen: 127.0.0.1:7 and 0.0.0.0:7 overlap, because one is the wildcard \
             address; remove one",
        ),
        (
            "listen = ['[::1]:7', '127.0.0.1:8', '[::]:7']\n",
            "x.toml:5: listen: [::]:7 and [::1]:7 overlap, because one is the wildcard address; \
             remove one",
        ),
        (
            "listen = ['10.0.0.5:30100']\n",
            "x.toml:3: internal: 10.0.0.5:30100 overlaps the listen address 10.0.0.5:30100; change \
             the address or port of one",
        ),
        (
            "listen = ['[::]:30100', '0.0.0.0:30100']\n",
            "x.toml:3: internal: 10.0.0.5:30100 overlaps the listen address 0.0.0.0:30100; change \
             the address or port of one",
        ),
    ] {
        assert_eq!(setup.problems_of_addition(addition), [problem]);
    }
    setup.valid(&format!(
        "{MINIMAL}listen = ['127.0.0.1:0', '127.0.0.1:0', '0.0.0.0:0', '[::]:30100', \
         '127.0.0.1:7', '127.0.0.2:7', '[::]:7']\n"
    ));
}

#[test]
fn wildcard_internal_address_is_rejected() {
    let setup = Setup::new();
    for address in ["0.0.0.0:30100", "[::]:30100", "0.0.0.0:0"] {
        assert_eq!(
            setup.problems(&MINIMAL.replace("10.0.0.5:30100", address)),
            [format!(
                "x.toml:3: internal: {address} is the wildcard address; use the address that \
                 routers send to"
            )]
        );
    }
    setup.valid(&MINIMAL.replace("10.0.0.5:30100", "10.0.0.5:0"));
}

#[test]
fn conflicting_scion_settings_are_rejected() {
    let setup = Setup::new();
    for (addition, problem) in [
        (
            "[next_hop]\n'1-ff00:0:110#1' = '10.0.0.9:1'\n",
            "topo: topology: 1-ff00:0:110#1 is 10.0.0.1:31002 here and 10.0.0.9:1 in x.toml:6; \
             remove one",
        ),
        (
            "local_isd_as = ['1-1']\n",
            "topo: topology: the topology belongs to 1-ff00:0:110, which is not a local ISD-AS \
             number (1-1); use the topology of a local AS, or add 1-ff00:0:110 to local_isd_as",
        ),
        (
            "local_isd_as = ['1-ff00:0:110']\n[next_hop]\n'1-1#1' = '10.0.0.9:1'\n",
            "x.toml:7: next_hop: 1-1 is not a local ISD-AS number (1-ff00:0:110); add it to \
             local_isd_as or remove the next hop",
        ),
        (
            "[next_hop]\n'1-1#1' = '10.0.0.5:30100'\n",
            "x.toml:6: next_hop: the router of 1-1#1 has the gateway's internal address \
             10.0.0.5:30100; use the router's address",
        ),
        (
            "[next_hop]\n'1-1#1' = '[::1]:1'\n",
            "x.toml:6: next_hop: the internal address 10.0.0.5:30100 cannot reach the router \
             [::1]:1 of 1-1#1: one is IPv4, the other IPv6; use addresses of one family",
        ),
        (
            "[next_hop]\n'1-1#0' = '10.0.0.1:1'\n",
            "x.toml:6: next_hop: expected ISD-AS#INTERFACE, such as 1-ff00:0:110#1, got \"1-1#0\": \
             the interface is not a number from 1 to 65535",
        ),
        (
            "internal_from = ['10.0.0.0/24', '2001:db8::/64']\n",
            "x.toml:5: internal_from: the internal address 10.0.0.5:30100 cannot reach \
             2001:db8::/64: one is IPv4, the other IPv6; use addresses of one family",
        ),
        (
            "internal_from = ['any', '10.0.0.0/24']\n",
            "x.toml:5: internal_from: any includes all prefixes; remove either any or the prefixes",
        ),
        (
            "internal_from = ['10.0.0.0/24', '10.0.0.0/24']\n",
            "x.toml:5: internal_from: 10.0.0.0/24 is listed twice; remove one",
        ),
        (
            "local_prefix = ['10.0.0.0/24', '2001:db8::/64', '10.0.0.0/24']\n",
            "x.toml:5: local_prefix: 10.0.0.0/24 is listed twice; remove one",
        ),
    ] {
        let problems = setup.problems_of_addition(addition);
        assert!(
            problems.iter().any(|found| found == problem),
            "{problem}\n{problems:#?}"
        );
    }
}

#[test]
fn next_hop_can_repeat_the_topology() {
    let effective = Setup::new().valid(&format!(
        "{MINIMAL}[next_hop]\n'1-ff00:0:110#1' = '10.0.0.1:31002'\n"
    ));
    assert_eq!(scion(&effective).next_hops.len(), 2);
}

#[test]
fn gateway_without_routers_is_valid_with_a_warning() {
    let text = MINIMAL.replace("topology = 'topo'", "local_isd_as = ['1-1']");
    let effective = Setup::new().valid(&text);
    assert_eq!(effective.warnings, [Warning::NoNextHop]);
}

#[test]
fn scion_settings_without_effect_cause_warnings() {
    let warnings = Setup::new()
        .valid(&format!("{MINIMAL}forward = 'sink'\n"))
        .warnings;
    let names: Vec<_> = warnings
        .iter()
        .map(|warning| match warning {
            Warning::NoEffect {
                setting, condition, ..
            } if condition == "with --forward sink" => *setting,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["internal", "topology"]);
}

#[test]
fn too_many_workers_are_rejected_for_cpus_and_warned_about_for_the_quota() {
    let mut setup = Setup::new();
    let problems = setup.problems_of_addition("workers = 3\n");
    assert!(
        problems[0].starts_with("x.toml:5: workers: 3 workers exceed the CPUs"),
        "{problems:?}"
    );
    assert_eq!(
        setup.problems_of_addition("cpus = '5'\n"),
        ["x.toml:5: cpus: this process may not run on CPU 5; use only CPUs 0-1"]
    );
    setup.available.quota_millicpus = Some(1500);
    let warnings = setup.valid(&format!("{MINIMAL}workers = 2\n")).warnings;
    assert_eq!(
        warnings,
        [Warning::WorkersOverQuota {
            workers: 2,
            cpus: "1.5".to_owned()
        }]
    );
    assert_eq!(setup.valid(MINIMAL).config.workers.count.get(), 1);
}

#[test]
fn problems_of_all_files_are_reported_at_once() {
    let setup = Setup::new();
    setup.write("ids", "[[identity]]\n[[identity]]\npublic_key = 'x'\n");
    setup.write("topo", "{}");
    let problems = setup.problems(&format!(
        "{MINIMAL}workers = 9\nlisen = []\ndispatch = 'magic'\nlog = \
         'info,a=loud'\nreceive_buffer = '1KB'\n\
         metrics = 'localhost:1'\nwaiting_packets_per_tunnel = 0\n"
    ));
    let starts = [
        "ids:1: ",
        "ids:3: ",
        "topo:1: ",
        "x.toml:5: workers: ",
        "x.toml:6: unknown key",
        "x.toml:7: dispatch: expected kernel or user, got \"magic\"",
        "x.toml:8: log: expected a log level",
        "x.toml:9: receive_buffer: expected a size",
        "x.toml:10: metrics: expected an IP address with a port",
        "x.toml:11: waiting_packets_per_tunnel: expected a whole number from 1",
    ];
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}\n{start}");
    }
}
