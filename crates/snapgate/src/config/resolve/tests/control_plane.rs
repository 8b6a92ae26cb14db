//! The control plane.

use super::*;

fn problems_with(text: &str) -> Vec<String> {
    Setup::new().problems(&format!("{text}{MINIMAL}"))
}

fn only_problem(text: &str) -> String {
    let problems = problems_with(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].clone()
}

/// Creates a state directory with this mode.
fn state_dir(setup: &Setup, mode: u32) -> PathBuf {
    let state = setup.directory.path().join("state");
    fs::create_dir(&state).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(&state, mode).unwrap();
    state
}

fn warnings_of(setup: &Setup, text: &str) -> Vec<String> {
    let warnings = setup.valid(&format!("{text}{MINIMAL}")).warnings;
    warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn clients_are_told_the_public_address_and_the_ases() {
    let effective = Setup::new().valid(&format!("{CONTROL_PLANE}{MINIMAL}"));
    let control_plane = effective.control_plane.unwrap();
    let server = control_plane.server;
    assert_eq!(server.listen, [address("127.0.0.1:8443")]);
    assert_eq!(server.data_plane, [address("192.0.2.1:51820")]);
    assert_eq!(server.isd_ases, [0x0001_ff00_0000_0110]);
    assert!(server.urls.is_empty() && server.tls.is_none() && server.endhost_api.is_none());
    assert_eq!(control_plane.registry.file, None);
    assert_eq!(control_plane.verifier.keys().status().keys, 1);
}

#[test]
fn the_first_listen_address_of_each_version_is_the_public_address() {
    let text = CONTROL_PLANE.replace(
        "public_address = ['192.0.2.1:51820']",
        "listen = ['192.0.2.1:1', '192.0.2.2:2', '[2001:db8::1]:3']",
    );
    let effective = Setup::new().valid(&format!("{text}{MINIMAL}"));
    assert_eq!(
        effective.control_plane.unwrap().server.data_plane,
        [address("192.0.2.1:1"), address("[2001:db8::1]:3")]
    );
}

#[test]
fn identities_are_optional_beside_a_control_plane() {
    let text = format!("{CONTROL_PLANE}{MINIMAL}").replace("identities = 'ids'\n", "");
    let effective = Setup::new().valid(&text);
    assert!(matches!(
        effective.config.authorization,
        Authorization::Identities(identities) if identities.is_empty()
    ));
}

#[test]
fn registrations_are_kept_in_the_state_directory() {
    let setup = Setup::new();
    let state = state_dir(&setup, 0o700);
    let text = format!("state_dir = 'state'\n{CONTROL_PLANE}{MINIMAL}");
    let control_plane = setup.valid(&text).control_plane.unwrap();
    assert_eq!(
        control_plane.registry.file,
        Some(state.join("registrations"))
    );
    assert_eq!(control_plane.server.local_directory, Some(state));
}

#[test]
fn wildcards_cannot_be_told_to_clients() {
    let text = CONTROL_PLANE.replace("public_address = ['192.0.2.1:51820']\n", "");
    assert_eq!(
        only_problem(&text),
        "the control plane tells clients an address for tunnels, but all listen addresses are wildcards; set \
         --public-address"
    );
    let text = CONTROL_PLANE.replace("127.0.0.1:8443", "0.0.0.0:8443");
    assert_eq!(
        only_problem(&text),
        "x.toml:1: control_plane: 0.0.0.0:8443 is the wildcard address, which clients cannot be told; set \
         --control-plane-url"
    );
    let url = "control_plane_url = ['https://snap.example.org']\n";
    Setup::new().valid(&format!("{text}{url}{MINIMAL}"));
}

#[test]
fn one_public_address_of_each_version_is_told() {
    let text = CONTROL_PLANE.replace("'192.0.2.1:51820'", "'192.0.2.1:1', '192.0.2.2:1'");
    assert_eq!(
        only_problem(&text),
        "x.toml:2: public_address: 192.0.2.2:1 and 192.0.2.1:1 are both IPv4; clients are told one address of each \
         IP version, so remove one"
    );
    for (wrong, reason) in [
        ("0.0.0.0:51820", "is the wildcard address"),
        (
            "192.0.2.1:0",
            "has port 0; use the port that clients send to",
        ),
    ] {
        let text = CONTROL_PLANE.replace("192.0.2.1:51820", wrong);
        let problem = only_problem(&text);
        assert!(problem.contains(reason), "{problem}");
    }
}

#[test]
fn tokens_need_one_source_of_keys() {
    let without = CONTROL_PLANE.replace("token_key = 'token.pem'\n", "");
    assert_eq!(
        only_problem(&without),
        "no key to verify tokens; set --token-key or --token-jwks"
    );
    let both = format!("{CONTROL_PLANE}token_jwks = 'https://issuer.example.org/jwks'\n");
    assert_eq!(
        only_problem(&both),
        "x.toml:4: token_jwks: conflicts with token_key (set by x.toml:3); remove one of the two"
    );
    let missing = CONTROL_PLANE.replace("token.pem", "none.pem");
    let problem = only_problem(&missing);
    assert!(
        problem.starts_with("x.toml:3: token_key: file of token keys none.pem: "),
        "{problem}"
    );
    let plain = format!("{without}token_jwks = 'http://issuer.example.org/jwks'\n");
    let problem = only_problem(&plain);
    assert!(problem.contains("use https"), "{problem}");
}

#[test]
fn certificate_and_key_belong_together() {
    let text = format!("{CONTROL_PLANE}control_plane_certificate = 'cert.pem'\n");
    assert_eq!(
        only_problem(&text),
        "x.toml:4: control_plane_certificate: set without control_plane_private_key; set both or neither"
    );
    let text = format!("{text}control_plane_private_key = 'token.pem'\n");
    let problem = only_problem(&text);
    assert!(problem.contains("cert.pem"), "{problem}");
}

#[test]
fn the_control_plane_needs_ases_and_identities() {
    let text = format!("forward = 'sink'\n{CONTROL_PLANE}{MINIMAL}");
    let text = text.replace("internal = '10.0.0.5:30100'\ntopology = 'topo'\n", "");
    let problems = Setup::new().problems(&text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("use --forward scion"), "{problems:?}");
    let text = format!("allow_any_identity = true\n{CONTROL_PLANE}{MINIMAL}");
    let problems = Setup::new().problems(&text.replace("identities = 'ids'\n", ""));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].contains("conflicts with control_plane (set by x.toml:2)"),
        "{problems:?}"
    );
}

#[test]
fn settings_of_a_control_plane_without_one_cause_warnings() {
    let effective = Setup::new().valid(&format!("{MINIMAL}token_audience = 'snap'\n"));
    let texts: Vec<String> = effective.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].starts_with("token_audience (set by "), "{texts:?}");
    assert!(
        texts[0].ends_with("has no effect without --control-plane"),
        "{texts:?}"
    );
}

#[test]
fn a_url_has_a_scheme_and_a_host() {
    for wrong in ["snap.example.org", "ftp://snap.example.org", "https://"] {
        let text = format!("{CONTROL_PLANE}endhost_api = '{wrong}'\n");
        let problem = only_problem(&text);
        assert!(
            problem.contains("expected an http or https URL with a host"),
            "{problem}"
        );
    }
}

#[test]
fn urls_that_clients_cannot_use_are_rejected() {
    for (url, reason) in [
        (
            "https://snap.example.org/path",
            "must not have a path or a query",
        ),
        (
            "https://snap.example.org/?query",
            "must not have a path or a query",
        ),
        (
            "https://user@snap.example.org",
            "must not contain a user name",
        ),
        ("http://0.0.0.0:80", "clients cannot reach this host"),
    ] {
        let text = format!("{CONTROL_PLANE}control_plane_url = ['{url}']\n");
        let problem = only_problem(&text);
        let start = format!("x.toml:4: control_plane_url: {url} is not a URL of a control plane: ");
        assert!(problem.starts_with(&start), "{problem}");
        assert!(problem.contains(reason), "{problem}");
    }
}

#[test]
fn urls_of_an_endhost_api_that_cannot_be_asked_are_rejected() {
    for url in ["http://user@10.0.0.2", "http://10.0.0.2/?query"] {
        let problem = only_problem(&format!("{CONTROL_PLANE}endhost_api = '{url}'\n"));
        let start = format!("x.toml:4: endhost_api: {url} is not a URL of an endhost API: ");
        assert!(problem.starts_with(&start), "{problem}");
    }
}

#[test]
fn certificates_of_the_endhost_api_that_cannot_be_used_are_rejected() {
    let setup = Setup::new();
    setup.write("empty.pem", "");
    let with = |file: &str| {
        format!(
            "{CONTROL_PLANE}endhost_api = 'https://10.0.0.2'\nendhost_api_ca = '{file}'\n{MINIMAL}"
        )
    };
    for (file, reason) in [
        ("missing.pem", "cannot be read"),
        ("empty.pem", "the file contains no certificate (PEM)"),
        ("token.pem", "the file contains no certificate (PEM)"),
    ] {
        let problems = setup.problems(&with(file));
        assert_eq!(problems.len(), 1, "{problems:?}");
        let start = format!("x.toml:5: endhost_api_ca: {file}: {reason}");
        assert!(problems[0].starts_with(&start), "{problems:?}");
    }
    setup.valid(&with("ca.pem"));
}

#[test]
fn a_state_directory_that_others_may_write_to_is_rejected() {
    for (mode, is_valid) in [
        (0o755, true),
        (0o775, false),
        (0o777, false),
        (0o1777, false),
    ] {
        let setup = Setup::new();
        state_dir(&setup, mode);
        let text = format!("state_dir = 'state'\n{CONTROL_PLANE}{MINIMAL}");
        if is_valid {
            setup.valid(&text);
            continue;
        }
        let problems = setup.problems(&text);
        let start = format!(
            "x.toml:1: state_dir: state: users other than its owner can write to it (mode {mode:04o})"
        );
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(&start), "{problems:?}");
    }
}

#[test]
fn a_port_that_the_kernel_chooses_cannot_be_told_to_clients() {
    let text = CONTROL_PLANE.replace(
        "public_address = ['192.0.2.1:51820']",
        "listen = ['192.0.2.1:0']",
    );
    let problem = only_problem(&text);
    assert!(
        problem.starts_with("x.toml:2: listen: 192.0.2.1:0 has port 0"),
        "{problem}"
    );
}

#[test]
fn tokens_are_not_sent_to_another_host_in_clear_text() {
    let with = |url: &str| {
        format!(
            "{CONTROL_PLANE}endhost_api = '{url}'\nendhost_api_token = true\nendhost_api_ca = 'ca.pem'\n"
        )
    };
    assert_eq!(
        only_problem(&with("http://10.0.0.2:48080")),
        "x.toml:4: endhost_api: tokens would be sent to http://10.0.0.2:48080 in clear text (endhost_api_token), where \
         others could read and use them; use https, or remove endhost_api_token"
    );
    for url in [
        "https://10.0.0.2",
        "http://127.0.0.1:48080",
        "http://[::1]:48080",
    ] {
        Setup::new().valid(&format!("{}{MINIMAL}", with(url)));
    }
    let without_token = with("http://10.0.0.2").replace("true", "false");
    Setup::new().valid(&format!("{without_token}{MINIMAL}"));
}

#[test]
fn a_control_plane_in_clear_text_causes_a_warning() {
    let setup = Setup::new();
    state_dir(&setup, 0o700);
    let base = format!("state_dir = 'state'\n{CONTROL_PLANE}");
    let others = base.replace(
        "'127.0.0.1:8443'",
        "'127.0.0.1:8443', '192.0.2.1:8443', '[2001:db8::1]:8443'",
    );
    assert_eq!(
        warnings_of(&setup, &others),
        [
            "the control plane serves plain HTTP at 192.0.2.1:8443, [2001:db8::1]:8443, so clients send their tokens in \
          clear text; set --control-plane-certificate, or --behind-proxy if all of them come through a proxy with TLS"
        ]
    );
    let behind_proxy = format!("{others}behind_proxy = true\n");
    for text in [&base, &behind_proxy] {
        assert!(warnings_of(&setup, text).is_empty(), "{text}");
    }
}

#[test]
fn a_control_plane_without_a_state_directory_causes_a_warning() {
    assert_eq!(
        warnings_of(&Setup::new(), CONTROL_PLANE),
        [
            "registrations and revocations are lost at a restart, and `snapgate registrations` does not work; set \
          --state-dir"
        ]
    );
}
