//! What a process gets from its parent: descriptors, signals, mask, environment, working directory.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{GatewayProcess, http_get, identity, wait_until};

fn serve(gateway: &GatewayProcess) {
    let mut client = gateway.connect(&identity());
    client.send(b"there and back");
    assert_eq!(client.receive(), b"there and back");
}

/// The sockets must not get the numbers of standard output and standard error.
#[test]
fn closed_standard_descriptors_change_nothing() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let gateway = crate::gateway()
            .after_shell(&format!("exec {closed}"))
            .start();
        serve(&gateway);
        gateway.signal(Signal::SIGINT);
        let ended = gateway.wait();
        assert_eq!(ended.code, Some(0), "{closed}: {ended:?}");
        assert_eq!(
            ended.log.is_empty(),
            closed.contains("2>"),
            "{closed}: {ended:?}"
        );
    }
}

/// As after nohup(1), or in the background of a shell without job control.
#[test]
fn signals_that_the_parent_ignored_have_their_effects() {
    let setup = crate::gateway().after_shell("trap '' HUP INT TERM PIPE USR1");
    for end in [Signal::SIGINT, Signal::SIGTERM] {
        let mut gateway = setup.start();
        gateway.signal(Signal::SIGHUP);
        gateway.wait_for_log("nothing to reload");
        gateway.signal(end);
        assert_eq!(gateway.wait().code, Some(0));
    }
}

/// Ends a process that is not a child.
struct Orphan(Pid);

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

#[test]
fn a_gateway_outlives_its_parent() {
    let setup = crate::gateway().after_shell("\"$@\" & echo $! >pid; exit 0");
    let mut parent = setup.spawn();
    wait_until("a ready gateway", || {
        http_get(setup.metrics_address(), "/readyz").filter(|(status, _)| *status == 200)
    });
    let pid = fs::read_to_string(setup.path("pid")).unwrap();
    let orphan = Orphan(Pid::from_raw(pid.trim().parse().unwrap()));
    // Standard error of both is the same file.
    wait_until("the end of the parent", || {
        parent.has_exited().then_some(())
    });
    serve(&parent);
    wait_until("the end of its start", || {
        parent.log().contains("serving metrics").then_some(())
    });

    kill(orphan.0, Signal::SIGTERM).unwrap();
    wait_until("the end of the gateway", || {
        TcpStream::connect(setup.metrics_address()).err()
    });
}

#[test]
fn files_are_private_whatever_the_umask() {
    let setup = crate::gateway()
        .argument("--state-dir=state")
        .after_shell("umask 000");
    fs::create_dir(setup.path("state")).unwrap();
    let gateway = setup.start();
    gateway.wait_for_metrics("a written state", |metrics| {
        metrics.sum("snapgate_state_writes_total") > 0
    });
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
    let genkey = Command::new("sh")
        .args(["-euc", "umask 000; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_snapgate"))
        .args(["genkey", "--output=new.key"])
        .current_dir(setup.path("."))
        .output()
        .unwrap();
    assert!(genkey.status.success(), "{genkey:?}");
    for name in ["state/tunnels", "state/lock", "new.key"] {
        let mode = fs::metadata(setup.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
}

#[test]
fn an_odd_environment_changes_nothing() {
    let mut setup = crate::gateway().after_shell("export SNAPGATE_ODD=\"$(printf '\\377')\"");
    for (name, value) in [
        ("LANG", "xx_YY.EBCDIC"),
        ("LC_ALL", "tlh"),
        ("TZ", ":/nonexistent/zone"),
        ("HOME", ""),
        ("TMPDIR", "/nonexistent"),
        ("RUST_LOG", "[{"),
        ("RUST_BACKTRACE", "perhaps"),
        ("TERM", "\u{1b}[31m"),
        ("COLUMNS", "-1"),
        ("NOTIFY_SOCKET", "/nonexistent/socket"),
        ("WATCHDOG_USEC", "soon"),
        ("JOURNAL_STREAM", "1"),
        ("LISTEN_FDS", "7"),
        // Kubernetes sets these for a service named "snapgate".
        ("SNAPGATE_PORT", "tcp://10.0.0.1:9820"),
        ("SNAPGATE_SERVICE_HOST", "10.0.0.1"),
    ] {
        setup = setup.environment(name, value);
    }
    let gateway = setup.start();
    serve(&gateway);
    gateway.signal(Signal::SIGINT);
    let ended = gateway.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // UTC.
    let last = ended.log.lines().last().unwrap();
    let (time, _) = last.split_once(' ').unwrap();
    let time: jiff::Timestamp = time.parse().unwrap();
    let age = jiff::Timestamp::now().duration_since(time);
    assert!(age.as_secs() < 600, "{ended:?}");
}

#[test]
fn a_deleted_working_directory_is_an_error_at_the_start() {
    let ended = crate::gateway()
        .after_shell("mkdir gone; cd gone; rmdir ../gone")
        .spawn()
        .wait();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let error = "error: --private-key-file: private.key: not found";
    assert!(ended.log.contains(error), "{ended:?}");
}

#[test]
fn the_identities_stay_in_force_while_the_working_directory_is_deleted() {
    let known = identity();
    let setup = crate::gateway().identities(&[&known]);
    let mut gateway = setup.start();
    let mut client = gateway.connect(&known);
    fs::remove_dir_all(setup.path("private.key").parent().unwrap()).unwrap();
    gateway.wait_for_log("previous identities stay in force file=identities.toml identities=1");
    client.handshake();
    client.send(b"there and back");
    assert_eq!(client.receive(), b"there and back");
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("snapgate_identities_last_reload_successful"), 0);
}
