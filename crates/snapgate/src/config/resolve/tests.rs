use std::fs;

use super::*;
use crate::config::{Dispatch, InternalFrom, ScmpErrorLimits, ShardConfig, WorkerReason};

const KEY: &str = "cAdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LGo=\n";
const OWN_PUBLIC_KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const PEER: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
const TOPOLOGY: &str = r#"{
    "isd_as": "1-ff00:0:110",
    "border_routers": {
        "br1": { "internal_addr": "10.0.0.1:31002", "interfaces": { "1": {}, "2": {} } }
    }
}"#;

/// What is enough to run.
const MINIMAL: &str = "\
private_key_file = 'key'
identities = 'ids'
internal = '10.0.0.5:30100'
topology = 'topo'
";

/// A directory with a configuration and what it names.
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
            Given::default(),
            Some(&self.directory.path().join("x.toml")),
            &self.available,
        )
        .map_err(|rejected| rejected.problems)
    }

    fn good(&self, text: &str) -> Effective {
        self.load(text)
            .unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"))
    }

    /// Each complaint, without the directory.
    fn complaints(&self, text: &str) -> Vec<String> {
        let directory = format!("{}/", self.directory.path().display());
        let problems = self.load(text).expect_err(text);
        problems
            .iter()
            .map(|problem| problem.to_string().replace(&directory, ""))
            .collect()
    }

    /// The complaints about what is added to a configuration that is good.
    fn complaints_about(&self, addition: &str) -> Vec<String> {
        self.complaints(&format!("{MINIMAL}{addition}"))
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
fn little_is_enough_and_every_setting_is_accounted_for() {
    let effective = Setup::new().good(MINIMAL);
    assert_eq!(effective.warnings, []);
    let accounted: Vec<_> = effective
        .settings
        .iter()
        .map(|effective| effective.setting.name)
        .collect();
    let table: Vec<_> = settings::SETTINGS
        .iter()
        .map(|setting| setting.name)
        .collect();
    assert_eq!(accounted, table);

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
fn echo_and_sink_are_accounted_for_too() {
    for mode in Forward::MODES.iter().filter(|mode| mode.scion().is_none()) {
        let text = format!(
            "private_key_file = 'key'\nallow_any_identity = true\nforward = '{}'\n",
            mode.name()
        );
        let effective = Setup::new().good(&text);
        assert_eq!(effective.settings.len(), settings::SETTINGS.len());
        assert_eq!(effective.warnings, [Warning::AnyIdentity]);
    }
}

#[test]
fn every_setting_of_the_table_changes_the_configuration() {
    let setup = Setup::new();
    let named = "listen = ['127.0.0.1:7', '127.0.0.1:8']\nprivate_key_file = 'key'\nidentities = 'ids'\n\
         allow_any_identity = false\nstate_dir = '.'\nrestart_handshakes_per_second = 20\n\
         forward = 'scion'\ninternal = '10.0.0.5:9'\ntopology = \
         'topo'\n\
         local_isd_as = ['1-ff00:0:110', '2-64512']\nlocal_prefix = ['10.0.0.0/24']\nworkers = \
         1\ncpus = '1'\ninternal_from = ['10.0.1.0/24', '10.0.2.0/24']\n\
         scmp_errors_per_tunnel_per_second = 21\nscmp_errors_per_second = 22\n\
         dispatch = 'user'\nno_gso = true\nno_gro = true\nreceive_buffer = '1MiB'\nsend_buffer = \
         131072\n\
         handshakes_per_ip_per_second = 7\nwaiting_packets_per_tunnel = \
         8\nwaiting_bytes_per_tunnel = '9KiB'\n\
         waiting_bytes_per_worker = '10KiB'\nwaiting_bytes_per_identity = '22KiB'\n\
         waiting_bytes_half_open = '23KiB'\nhandshakes_per_second = 12\n\
         verified_handshakes_per_ip_per_second = 13\nverified_handshakes_per_second = 14\n\
         handshakes_per_identity_per_second = 21\n\
         tunnels_per_worker = 15\ntunnels_per_identity = 16\nhalf_open_tunnels = 17\n\
         silent_after_seconds = 18\none_tunnel_per_identity = true\nremembered_identities = 19\n\
         handshake_timestamp_tolerance_seconds = 21\n\
         drain_timeout_seconds = 0\ndrain_idle_seconds = 20\n\
         metrics = '127.0.0.1:11'\nlog = 'debug'\n\
         next_hop = { '2-64512#3' = '10.0.0.2:4' }\n";
    // Those that are not named have an example.
    let is_named = |setting: &Setting| {
        named
            .lines()
            .any(|line| line.split(' ').next() == Some(setting.name))
    };
    let others = settings::SETTINGS
        .iter()
        .filter(|setting| !is_named(setting));
    let others: Vec<String> = others.map(|setting| setting.example()).collect();
    let effective = setup.good(&format!("{named}{}", others.join("\n")));
    assert!(
        effective
            .settings
            .iter()
            .all(|effective| effective.place != Place::Default),
        "{effective:?}"
    );
    let config = &effective.config;
    assert_eq!(
        config.listen,
        [address("127.0.0.1:7"), address("127.0.0.1:8")]
    );
    assert_eq!(
        (config.workers.count.get(), config.workers.reason),
        (1, WorkerReason::Configured)
    );
    assert_eq!(
        (&config.cpus, config.dispatch),
        (&CpuPinning::Pinned(vec![1]), Dispatch::User)
    );
    assert_eq!((config.sockets.gso, config.sockets.gro), (false, false));
    assert_eq!(
        (
            config.sockets.receive_buffer_bytes,
            config.sockets.send_buffer_bytes
        ),
        (1 << 20, 131_072)
    );
    let shard = &config.limits;
    assert_eq!(shard.handshakes_per_ip_per_second, 7);
    assert_eq!(shard.handshakes_per_second, 12);
    assert_eq!(shard.verified_handshakes_per_ip_per_second, 13);
    assert_eq!(shard.verified_handshakes_per_second, 14);
    assert_eq!(shard.handshakes_per_identity_per_second, 21);
    assert_eq!(shard.restart_handshakes_per_second, 20);
    assert_eq!(config.state_dir, Some(setup.directory.path().join(".")));
    assert_eq!(shard.tunnels_per_shard, 15);
    assert_eq!(shard.tunnels_per_identity, 16);
    assert_eq!(shard.half_open_tunnels, 17);
    assert_eq!(shard.silent_after, Duration::from_secs(18));
    assert!(shard.one_tunnel_per_identity);
    assert_eq!(config.remembered_identities, 19);
    let tolerance = config.handshake_timestamp_tolerance;
    assert_eq!(tolerance, Duration::from_secs(21));
    assert_eq!(shard.waiting_packets_per_tunnel, 8);
    assert_eq!(
        (
            shard.waiting_bytes_per_tunnel,
            shard.waiting_bytes_per_shard
        ),
        (9 << 10, 10 << 10)
    );
    assert_eq!(
        (
            shard.waiting_bytes_per_identity,
            shard.waiting_bytes_half_open
        ),
        (22 << 10, 23 << 10)
    );
    let drain = effective.drain;
    assert_eq!(
        (drain.timeout, drain.idle_after),
        (Duration::ZERO, Duration::from_secs(20))
    );
    assert_eq!(
        (config.metrics, effective.log.as_str()),
        (Some(address("127.0.0.1:11")), "debug")
    );
    let scion = scion(&effective);
    assert_eq!(
        (
            scion.next_hops.len(),
            scion.local_isd_as.len(),
            scion.local_prefixes.len()
        ),
        (3, 2, 1)
    );
    let prefixes = ["10.0.1.0/24", "10.0.2.0/24"].map(|prefix| prefix.parse().unwrap());
    assert_eq!(
        scion.internal_from,
        InternalFrom::Prefixes(prefixes.to_vec())
    );
    assert_eq!(
        scion.scmp_error_limits,
        ScmpErrorLimits {
            per_tunnel_per_second: 21,
            per_second: 22
        }
    );
}

#[test]
fn each_setting_changes_its_own_value_alone() {
    let setup = Setup::new();
    let values = |text: &str| -> Vec<Value> {
        let settings = setup.good(text).settings.into_iter();
        settings.map(|effective| effective.value).collect()
    };
    let defaults = values(MINIMAL);
    for (index, setting) in settings::SETTINGS.iter().enumerate() {
        let other = match setting.kind {
            Kind::Number(_) | Kind::Count(_) | Kind::Seconds { .. } => "4321".to_owned(),
            Kind::Size { .. } => "765432".to_owned(),
            Kind::Switch { .. } => (defaults[index] == false).to_string(),
            Kind::Dispatch(_) => "'user'".to_owned(),
            Kind::Address { .. } => "'127.0.0.1:1'".to_owned(),
            Kind::LogFilter(_) => "'trace'".to_owned(),
            Kind::Forward(_) | Kind::Special { .. } => continue,
        };
        if *setting == &settings::ALLOW_ANY_IDENTITY {
            continue;
        }
        let changed = values(&format!("{} = {other}\n{MINIMAL}", setting.name));
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
fn internal_from_may_be_anyone() {
    let effective = Setup::new().good(&format!("{MINIMAL}internal_from = ['any']\n"));
    assert_eq!(scion(&effective).internal_from, InternalFrom::Any);
    let default = Setup::new().good(MINIMAL);
    assert_eq!(
        scion(&default).internal_from,
        InternalFrom::Prefixes(Vec::new())
    );
}

#[test]
fn the_defaults_told_are_the_defaults_taken() {
    let effective = Setup::new().good(MINIMAL);
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
        let taken = match value {
            Value::Null => "none".to_owned(),
            Value::String(text) => text.clone(),
            number_or_switch => number_or_switch.to_string(),
        };
        assert!(
            default == taken || Some(&default) == note.as_ref(),
            "{}: {taken}",
            setting.name
        );
    }
}

#[test]
fn nothing_at_all_lists_all_that_is_missing() {
    assert_eq!(
        Setup::new().complaints(""),
        [
            "private_key_file is not set; set it with --private-key-file, \
             SNAPGATE_PRIVATE_KEY_FILE or `private_key_file = \"/etc/snapgate/private.key\"` in \
             the file",
            "nobody may open a tunnel; name those who may with --identities FILE, or let everyone \
             in with --allow-any-identity",
            "internal is not set; set it with --internal, SNAPGATE_INTERNAL or `internal = \
             \"10.0.0.5:30100\"` in the file",
            "the local ISD-AS is not known; name it with --local-isd-as, a next hop or a topology",
        ]
    );
}

#[test]
fn what_is_there_but_bad_is_not_missing() {
    let complaints = Setup::new().complaints(
        "private_key_file = 5\nidentities = 6\ninternal = 'nowhere'\nlocal_isd_as = \
         ['x']\nforward = 'scion'\n",
    );
    assert_eq!(complaints.len(), 4, "{complaints:#?}");
    assert!(
        complaints
            .iter()
            .all(|complaint| complaint.starts_with("x.toml:")),
        "{complaints:#?}"
    );
}

#[test]
fn what_a_broken_file_may_hold_is_not_missing() {
    let complaints = Setup::new().complaints("private_key_file = \nidentities = 'ids'\n");
    assert!(
        complaints
            .iter()
            .all(|complaint| complaint.contains("is not TOML")),
        "{complaints:#?}"
    );
}

#[test]
fn files_that_cannot_be_used_are_named_where_they_are_named() {
    let setup = Setup::new();
    setup.write("binary", "");
    fs::write(setup.directory.path().join("binary"), b"fine\nnot \xff\n").unwrap();
    setup.write("bad key", "c2hvcnQ=\n");
    setup.write("empty", "");
    for (file, fault) in [
        ("missing", "missing does not exist; check the path"),
        (".", " is a directory; name a file in it"),
        (
            "binary",
            "binary is not UTF-8 text: byte 9 on line 2; is it the right file?",
        ),
        (
            "bad key",
            "bad key holds 5 bytes instead of 32; expected 32 bytes in base64, as `snapgate \
             genkey",
        ),
        ("empty", "empty is empty; expected 32 bytes in base64"),
    ] {
        let text = MINIMAL.replace("'key'", &format!("'{file}'"));
        let complaints = setup.complaints(&text);
        assert_eq!(complaints.len(), 1, "{complaints:#?}");
        let (start, rest) = complaints[0].split_at("x.toml:1: private_key_file: ".len());
        assert_eq!(start, "x.toml:1: private_key_file: ");
        assert!(
            rest.trim_start_matches('.').starts_with(fault),
            "{complaints:?}"
        );
    }
    for (name, line) in [("ids", 2), ("topo", 4)] {
        let complaints = setup.complaints(&MINIMAL.replace(&format!("'{name}'"), "'missing'"));
        assert_eq!(complaints.len(), 1, "{complaints:#?}");
        assert!(
            complaints[0].starts_with(&format!("x.toml:{line}: ")),
            "{complaints:?}"
        );
        assert!(
            complaints[0].ends_with("missing does not exist; check the path"),
            "{complaints:?}"
        );
    }
}

#[test]
fn a_configuration_file_that_cannot_be_used_is_named() {
    let setup = Setup::new();
    for (file, fault) in [("missing", "does not exist"), ("", "is a directory")] {
        let path = setup.directory.path().join(file);
        let rejected = load(Given::default(), Some(&path), &setup.available).unwrap_err();
        let problems = rejected.problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        let complaint = problems[0].to_string();
        assert!(
            complaint.starts_with(&format!("{}: {fault}", path.display())),
            "{complaint}"
        );
    }
}

#[test]
fn identities_and_everyone_contradict_each_other() {
    let complaints = Setup::new().complaints_about("allow_any_identity = true\n");
    assert_eq!(complaints.len(), 1);
    assert!(
        complaints[0]
            .starts_with("x.toml:5: allow_any_identity: contradicts identities (set by x.toml:2)")
    );
}

#[test]
fn the_gateways_own_key_is_no_identity() {
    let setup = Setup::new();
    setup.write(
        "ids",
        &format!("[[identity]]\npublic_key = '{OWN_PUBLIC_KEY}'\n"),
    );
    assert_eq!(
        setup.complaints(MINIMAL),
        ["ids:1: public_key is the gateway's own; put the peer's there"]
    );
}

#[test]
fn nobody_and_those_who_expired_are_worth_a_warning() {
    let setup = Setup::new();
    setup.write("ids", "");
    let warnings = setup.good(MINIMAL).warnings;
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
    let warnings = setup.good(MINIMAL).warnings;
    let [warning @ Warning::IdentityExpired { .. }] = warnings.as_slice() else {
        panic!("{warnings:?}")
    };
    assert!(
        warning
            .to_string()
            .ends_with("the identity \"old\" expired at 2001-01-01T00:00:00Z"),
        "{warning}"
    );
}

#[test]
fn a_key_that_others_can_read_is_worth_a_warning() {
    let setup = Setup::new();
    let world_readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(setup.directory.path().join("key"), world_readable).unwrap();
    let warnings = setup.good(MINIMAL).warnings;
    assert!(
        matches!(
            warnings.as_slice(),
            [Warning::KeyReadableByOthers { mode: 0o644, .. }]
        ),
        "{warnings:?}"
    );
}

#[test]
fn a_state_directory_has_to_be_one() {
    let setup = Setup::new();
    for (directory, complaint) in [
        ("missing", "missing does not exist; check the path"),
        (
            "key",
            "key is not a directory; name the directory that it is in, or another",
        ),
    ] {
        let complaints = setup.complaints_about(&format!("state_dir = '{directory}'\n"));
        assert!(complaints[0].ends_with(complaint), "{complaints:?}");
        assert!(complaints[0].contains(": state_dir: "), "{complaints:?}");
    }
}

#[test]
fn a_state_directory_that_others_can_write_to_is_worth_a_warning() {
    let setup = Setup::new();
    let directory = setup.directory.path().join("state");
    fs::create_dir(&directory).unwrap();
    for (mode, warned) in [(0o700, false), (0o775, false), (0o777, true)] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(&directory, mode).unwrap();
        let warnings = setup
            .good(&format!("{MINIMAL}state_dir = 'state'\n"))
            .warnings;
        let is_warned = matches!(
            warnings.as_slice(),
            [Warning::StateWritableByOthers { mode: 0o777, .. }]
        );
        assert_eq!(is_warned, warned, "{warnings:?}");
    }
}

#[test]
fn addresses_that_clash_are_named() {
    let setup = Setup::new();
    for (addition, complaint) in [
        (
            "listen = ['127.0.0.1:7', '127.0.0.1:7']\n",
            "x.toml:5: listen: 127.0.0.1:7 is there twice; remove one",
        ),
        (
            "listen = ['0.0.0.0:7', '127.0.0.1:7']\n",
            "x.toml:5: listen: 127.0.0.1:7 and 0.0.0.0:7 overlap: one of them is every address of \
             the host; remove one",
        ),
        (
            "listen = ['[::1]:7', '127.0.0.1:8', '[::]:7']\n",
            "x.toml:5: listen: [::]:7 and [::1]:7 overlap: one of them is every address of the \
             host; remove one",
        ),
        (
            "listen = ['10.0.0.5:30100']\n",
            "x.toml:3: internal: 10.0.0.5:30100 and the listen address 10.0.0.5:30100 overlap; \
             give one of them another address or port",
        ),
        (
            "listen = ['[::]:30100', '0.0.0.0:30100']\n",
            "x.toml:3: internal: 10.0.0.5:30100 and the listen address 0.0.0.0:30100 overlap; give \
             one of them another address or port",
        ),
    ] {
        assert_eq!(setup.complaints_about(addition), [complaint]);
    }
    setup.good(&format!(
        "{MINIMAL}listen = ['127.0.0.1:0', '127.0.0.1:0', '0.0.0.0:0', '[::]:30100', \
         '127.0.0.1:7', '127.0.0.2:7', '[::]:7']\n"
    ));
}

#[test]
fn an_internal_address_that_nobody_can_reach_is_refused() {
    let setup = Setup::new();
    for address in ["0.0.0.0:30100", "[::]:30100", "0.0.0.0:0"] {
        assert_eq!(
            setup.complaints(&MINIMAL.replace("10.0.0.5:30100", address)),
            [format!(
                "x.toml:3: internal: {address} is every address of the host; name the one that \
                 routers reach"
            )]
        );
    }
    setup.good(&MINIMAL.replace("10.0.0.5:30100", "10.0.0.5:0"));
}

#[test]
fn routers_that_contradict_each_other_are_named() {
    let setup = Setup::new();
    for (addition, complaint) in [
        (
            "[next_hop]\n'1-ff00:0:110#1' = '10.0.0.9:1'\n",
            "topo: topology: 1-ff00:0:110#1 leads to 10.0.0.1:31002 here and to 10.0.0.9:1 in \
             x.toml:6; remove one",
        ),
        (
            "local_isd_as = ['1-1']\n",
            "topo: next_hop: 1-ff00:0:110 is not among the local ISD-AS numbers (1-1); add it to \
             local_isd_as or remove the next hop",
        ),
        (
            "[next_hop]\n'1-1#1' = '10.0.0.5:30100'\n",
            "x.toml:6: next_hop: the router of 1-1#1 has the gateway's own internal address \
             10.0.0.5:30100; name the router's",
        ),
        (
            "[next_hop]\n'1-1#1' = '[::1]:1'\n",
            "x.toml:6: next_hop: the router [::1]:1 of 1-1#1 cannot be reached from the internal \
             address 10.0.0.5:30100: one is IPv4 and the other IPv6",
        ),
        (
            "internal_from = ['10.0.0.0/24', '2001:db8::/64']\n",
            "x.toml:5: internal_from: 2001:db8::/64 cannot be reached from the internal address \
             10.0.0.5:30100: one is IPv4 and the other IPv6",
        ),
        (
            "internal_from = ['any', '10.0.0.0/24']\n",
            "x.toml:5: internal_from: any includes all other values; remove any, or the other values",
        ),
        (
            "internal_from = ['10.0.0.0/24', '10.0.0.0/24']\n",
            "x.toml:5: internal_from: 10.0.0.0/24 is there twice; remove one",
        ),
        (
            "local_prefix = ['10.0.0.0/24', '2001:db8::/64', '10.0.0.0/24']\n",
            "x.toml:5: local_prefix: 10.0.0.0/24 is there twice; remove one",
        ),
    ] {
        let complaints = setup.complaints_about(addition);
        assert!(
            complaints.iter().any(|found| found == complaint),
            "{complaint}\n{complaints:#?}"
        );
    }
}

#[test]
fn a_next_hop_may_repeat_the_topology() {
    let effective = Setup::new().good(&format!(
        "{MINIMAL}[next_hop]\n'1-ff00:0:110#1' = '10.0.0.1:31002'\n"
    ));
    assert_eq!(scion(&effective).next_hops.len(), 2);
}

#[test]
fn without_routers_and_as_nothing_else_is_asked_for() {
    let text = MINIMAL.replace("topology = 'topo'", "local_isd_as = ['1-1']");
    let effective = Setup::new().good(&text);
    assert_eq!(effective.warnings, [Warning::NoNextHop]);
}

#[test]
fn scion_settings_without_effect_are_worth_a_warning() {
    let warnings = Setup::new()
        .good(&format!("{MINIMAL}forward = 'sink'\n"))
        .warnings;
    let names: Vec<_> = warnings
        .iter()
        .map(|warning| match warning {
            Warning::NoEffect {
                setting,
                forward: "sink",
                ..
            } => *setting,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["internal", "topology"]);
}

#[test]
fn workers_are_refused_beyond_the_cpus_and_doubted_beyond_the_quota() {
    let mut setup = Setup::new();
    let complaints = setup.complaints_about("workers = 3\n");
    assert!(
        complaints[0].starts_with("x.toml:5: workers: 3 workers are too many"),
        "{complaints:?}"
    );
    assert!(
        setup.complaints_about("cpus = '5'\n")[0].starts_with("x.toml:5: cpus: CPU 5 is not among")
    );
    setup.available.quota_millicpus = Some(1500);
    let warnings = setup.good(&format!("{MINIMAL}workers = 2\n")).warnings;
    assert_eq!(
        warnings,
        [Warning::WorkersOverQuota {
            workers: 2,
            cpus: "1.5".to_owned()
        }]
    );
    assert_eq!(setup.good(MINIMAL).config.workers.count.get(), 1);
}

#[test]
fn every_problem_of_every_kind_is_listed_at_once() {
    let setup = Setup::new();
    setup.write("ids", "[[identity]]\n[[identity]]\npublic_key = 'x'\n");
    setup.write("topo", "{}");
    let complaints = setup.complaints(&format!(
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
        "x.toml:7: dispatch: \"magic\" is none of kernel and user",
        "x.toml:8: log: \"info,a=loud\" is not a log filter",
        "x.toml:9: receive_buffer: \"1KB\" is not a size",
        "x.toml:10: metrics: \"localhost:1\" is not an IP address with a port",
        "x.toml:11: waiting_packets_per_tunnel: \"0\" is not a whole number from 1",
    ];
    assert_eq!(complaints.len(), starts.len(), "{complaints:#?}");
    for (complaint, start) in complaints.iter().zip(starts) {
        assert!(complaint.starts_with(start), "{complaint}\n{start}");
    }
}

#[test]
fn the_default_listens_on_ipv6_where_there_is_any() {
    assert_eq!(
        default_listen(true).0,
        [address("0.0.0.0:51820"), address("[::]:51820")]
    );
    assert_eq!(default_listen(false).0, [address("0.0.0.0:51820")]);
}
