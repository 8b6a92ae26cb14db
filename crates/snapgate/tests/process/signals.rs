//! What the process does on signals, without tunnels.

use nix::sys::signal::Signal;

use crate::process::Process;
use crate::workspace::Workspace;

#[test]
fn it_runs_until_a_signal_and_prints_what_it_did() {
    let workspace = Workspace::open();
    for (signal, farewell) in [
        (Signal::SIGINT, "stopping on SIGINT"),
        (Signal::SIGTERM, "drained: no tunnel talks"),
    ] {
        let process = workspace.start(&["--forward=echo"]);
        let said = &process.said;
        assert!(
            said.contains("warning: EVERYONE who knows the public key may open a tunnel"),
            "{said}"
        );
        assert!(
            said.contains("workers: 1 (as configured), on any CPU"),
            "{said}"
        );
        assert!(!said.contains('\x1b'), "{said}");
        assert!(!said.contains("snapgate::"), "{said}");

        process.signal(signal);
        let ended = process.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.log.contains(farewell), "{ended:?}");
        assert!(ended.summary.starts_with("Ran for "), "{ended:?}");
    }
}

/// Whenever the signal comes, it ends the process: before the gateway waits for signals as it ends any
/// process, afterwards as described.
#[test]
fn no_signal_is_lost_while_the_gateway_starts() {
    let workspace = Workspace::open();
    for spins in 0..40 {
        let process = Process::spawn(workspace.command(&["--forward=echo"]));
        for _ in 0..spins * 20_000 {
            std::hint::spin_loop();
        }
        process.signal(Signal::SIGTERM);
        let ended = process.end();
        assert!(matches!(ended.code, None | Some(0)), "{ended:?}");
    }
}

#[test]
fn a_log_that_nobody_reads_any_more_changes_nothing() {
    let mut process = Workspace::open().start(&["--forward=echo"]);
    process.close_log();
    process.signal(Signal::SIGHUP);
    process.signal(Signal::SIGTERM);
    let ended = process.end();
    assert_eq!(ended.code, Some(0));
    assert!(ended.summary.contains("Nothing was dropped."), "{ended:?}");
}

#[test]
fn where_everyone_is_let_in_there_is_nothing_to_reload() {
    let mut process = Workspace::open().start(&["--forward=echo"]);
    process.signal(Signal::SIGHUP);
    process.wait_for("there is nothing to reload: everyone is let in (--allow-any-identity)");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.end().code, Some(0));
}

#[test]
fn a_sink_says_what_becomes_of_packets() {
    let process = Workspace::open().start(&["--forward=sink"]);
    let said = &process.said;
    assert!(
        said.contains("packets are discarded and counted as delivered"),
        "{said}"
    );
}
