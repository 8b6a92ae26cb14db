//! A configuration with all settings.

use super::*;

#[test]
fn every_setting_changes_the_configuration() {
    let setup = Setup::new();
    let listed = "listen = ['127.0.0.1:7', '127.0.0.1:8']\nprivate_key_file = 'key'\nidentities = 'ids'\n\
         allow_any_identity = false\nstate_dir = '.'\nrestart_handshakes_per_second = 20\n\
         forward = 'scion'\ninternal = '10.0.0.5:9'\ntopology = \
         'topo'\n\
         local_isd_as = ['1-ff00:0:110', '2-64512']\nlocal_prefix = ['10.0.0.0/24']\nworkers = \
         1\ncpus = '1'\ninternal_from = ['10.0.1.0/24', '10.0.2.0/24']\n\
         scmp_errors_per_tunnel_per_second = 21\nscmp_errors_per_second = 22\n\
         dispatch = 'user'\nlisten_interface = 'vrf-red'\ninternal_interface = 'vrf-blue'\nno_gso = true\nno_gro = true\nreceive_buffer = '1MiB'\nsend_buffer = \
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
         metrics = '127.0.0.1:11'\nlog = 'debug'\naccounting_log = 'records'\n\
         control_plane = ['127.0.0.1:8443']\ntoken_key = 'token.pem'\nendhost_api_ca = 'ca.pem'\n\
         next_hop = { '2-64512#3' = '10.0.0.2:4' }\n";
    // Alternatives of other settings, or names of files with certificates.
    let omitted = [
        &settings::TOKEN_JWKS,
        &settings::CONTROL_PLANE_CERTIFICATE,
        &settings::CONTROL_PLANE_PRIVATE_KEY,
    ];
    // The other settings have an example.
    let is_listed = |setting: &Setting| {
        listed
            .lines()
            .any(|line| line.split(' ').next() == Some(setting.name))
    };
    let others = settings::SETTINGS
        .iter()
        .filter(|setting| !is_listed(setting) && !omitted.contains(setting));
    let others: Vec<String> = others.map(|setting| setting.example()).collect();
    let effective = setup.valid(&format!("{listed}{}", others.join("\n")));
    assert!(
        effective
            .settings
            .iter()
            .filter(|effective| !omitted.contains(&effective.setting))
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
    assert_eq!(config.listen_interface, "vrf-red".parse().ok());
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
    let records = setup.directory.path().join("records");
    assert_eq!(effective.accounting_log, Some(records));
    let scion = scion(&effective);
    assert_eq!(
        (
            scion.next_hops.len(),
            scion.local_isd_as.len(),
            scion.local_prefixes.len()
        ),
        (3, 2, 1)
    );
    assert_eq!(scion.interface, "vrf-blue".parse().ok());
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
