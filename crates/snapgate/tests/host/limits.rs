//! Limits of the process that are too low: files, threads, memory, socket buffers.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use testkit::{Client, GatewayProcess, GatewaySetup, identity, shell, skip, wait_until};

/// Starts a gateway. If that succeeds, checks that it serves a client and ends in order, and returns true. If it fails,
/// checks that an error in the log names `limit`.
fn starts_or_says_why(setup: &GatewaySetup, limit: &str) -> bool {
    let mut gateway = setup.spawn();
    let is_started = gateway.is_started();
    if is_started {
        let mut client = gateway.connect(&identity());
        client.send(b"there and back");
        assert_eq!(client.receive(), b"there and back");
        gateway.signal(Signal::SIGINT);
    }
    let ended = gateway.wait();
    assert_eq!(ended.code, Some(i32::from(!is_started)), "{ended:?}");
    let names_limit = |line: &str| line.starts_with("error: ") && line.contains(limit);
    assert!(
        is_started || ended.log.lines().any(names_limit),
        "{ended:?}"
    );
    is_started
}

#[test]
fn a_start_without_enough_files_fails_with_an_error_and_needs_no_more_later() {
    let setup = crate::gateway().workers(2);
    // Below 6 the dynamic linker has no descriptor, or the configuration cannot be read.
    let starting = (8..200).step_by(4).find(|files| {
        let setup = setup.clone().after_shell(&format!("ulimit -n {files}"));
        starts_or_says_why(&setup, "Too many open files")
    });
    assert!(starting > Some(8), "{starting:?}");
}

/// Limits the number of open files of a running gateway; descriptors that are open stay open.
fn limit_files(gateway: &GatewayProcess, files: u32) {
    shell(&format!(
        "prlimit --pid {} --nofile={files}:",
        gateway.pid()
    ));
}

#[test]
fn packets_and_tunnels_pass_while_no_file_can_be_opened() {
    let (known, removed) = (identity(), identity());
    let setup = crate::gateway().identities(&[&known, &removed]);
    let gateway = setup.start();
    let mut client = gateway.connect(&removed);
    limit_files(&gateway, 3);
    let mut request = TcpStream::connect(gateway.metrics_address()).unwrap();
    write!(request, "GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n").unwrap();
    wait_until("a refused connection", || {
        let log = gateway.log();
        log.contains("cannot accept metrics connection error=")
            .then_some(())
    });
    client.handshake();
    let mut newcomer = gateway.connect(&known);
    for client in [&mut client, &mut newcomer] {
        client.send(b"there and back");
        assert_eq!(client.receive(), b"there and back");
    }

    // Another process reads the file.
    setup.replace_identities(&[&known]);
    wait_until("the reload", || {
        gateway.log().contains("identities reloaded").then_some(())
    });
    limit_files(&gateway, 1_000);
    gateway.wait_for_metrics("the client is removed", |metrics| {
        metrics.sum_where("snapgate_tunnel_changes_total", &[("change", "revoked")]) == 1
    });
    assert_eq!(gateway.get("/livez").1, "ok\n");
}

/// Starts the process as a user without other processes, who may have `threads` threads: root is exempt from this limit.
/// The program is opened first, because that user may not have access to its directory.
fn as_user_with_threads(setup: GatewaySetup, threads: u32) -> GatewaySetup {
    fs::set_permissions(setup.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(setup.path("private.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let user = 1_000_000 + std::process::id();
    let script = format!(
        "exec 9<\"$1\"
         shift
         exec setpriv --reuid={user} --regid={user} --clear-groups \
         prlimit --nproc={threads} /proc/self/fd/9 \"$@\""
    );
    setup.launcher(&["sh", "-euc", &script, "sh"])
}

#[test]
fn a_start_without_enough_threads_fails_with_an_error() {
    if !geteuid().is_root() {
        return skip(
            "a_start_without_enough_threads_fails_with_an_error",
            "it needs root to become another user",
        );
    }
    let setup = crate::gateway().workers(2);
    let starting = (1..30).find(|&threads| {
        let setup = as_user_with_threads(setup.clone(), threads);
        starts_or_says_why(&setup, "Resource temporarily unavailable")
    });
    assert!(starting > Some(1), "{starting:?}");
}

/// What Rust prints before it aborts. The log is not used, because it might need memory.
const NO_MEMORY: &str = "memory allocation of ";

/// What the log says when a library of cryptography gets no memory: it fails, and the worker panics.
const THREAD_PANICKED: &str = "ERROR thread panicked thread=";

#[test]
fn a_start_without_enough_memory_fails_with_a_message() {
    let setup = crate::gateway().workers(2);
    let mut failed = 0;
    for mebibytes in (40..240).step_by(10) {
        let setup = setup
            .clone()
            .after_shell(&format!("ulimit -v {}", mebibytes * 1024));
        let mut gateway = setup.spawn();
        if gateway.is_started() {
            gateway.signal(Signal::SIGINT);
        }
        let ended = gateway.wait();
        let says_why = ended.log.contains(NO_MEMORY) || ended.log.contains("error");
        assert!(ended.code == Some(0) || says_why, "{ended:?}");
        failed += u32::from(ended.code != Some(0));
    }
    assert!(failed > 0);
}

#[test]
fn a_process_that_gets_no_more_memory_ends_with_a_message() {
    let mut gateway = crate::gateway()
        .argument("--handshakes-per-ip-per-second=100000")
        .start();
    // RLIMIT_DATA, because the allocator has reserved address space.
    shell(&format!("prlimit --pid {} --data=1:", gateway.pid()));
    let bind = "127.0.0.1:0".parse().unwrap();
    let (listen, key) = (gateway.listen_address(), *gateway.public_key());
    wait_until("the end of the process", || {
        for _ in 0..20 {
            Client::new(&identity(), bind, listen, &key).initiate();
        }
        gateway.has_exited().then_some(())
    });
    let ended = gateway.wait();
    assert_ne!(ended.code, Some(0), "{ended:?}");
    let says_why = [NO_MEMORY, THREAD_PANICKED].iter();
    assert!(
        says_why.into_iter().any(|why| ended.log.contains(why)),
        "{ended:?}"
    );
}

#[test]
fn buffers_smaller_than_configured_are_a_warning() {
    // More than an administrator allows every user (net.core.rmem_max), and root without CAP_NET_ADMIN cannot exceed
    // that either.
    let mut setup = GatewaySetup::new(env!("CARGO_BIN_EXE_snapgate"))
        .argument("--receive-buffer=512MiB")
        .argument("--send-buffer=512MiB");
    if geteuid().is_root() {
        let without = ["--bounding-set=-net_admin", "--inh-caps=-net_admin"];
        setup = setup.launcher(&["setpriv", without[0], without[1]]);
    }
    let gateway = setup.start();
    let warning = "socket buffer smaller than configured";
    for (buffer, sysctl) in [
        ("receive", "net.core.rmem_max"),
        ("send", "net.core.wmem_max"),
    ] {
        let granted = fs::read_to_string(format!("/proc/sys/{}", sysctl.replace('.', "/")));
        let granted = granted.unwrap();
        let line = wait_until("the warning", || {
            let log = gateway.log();
            let line = log.lines().find(|line| {
                line.contains(warning) && line.contains(&format!("buffer={buffer} "))
            })?;
            Some(line.to_owned())
        });
        assert!(
            line.contains(&format!("got_bytes={} ", granted.trim())),
            "{line}"
        );
        assert!(line.contains(sysctl), "{line}");
    }
    let mut client = gateway.connect(&identity());
    client.send(b"there and back");
    assert_eq!(client.receive(), b"there and back");
}
