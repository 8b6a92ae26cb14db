//! Signals to a process without tunnels.

use std::io::read_to_string;

use nix::sys::signal::Signal;
use testkit::{Client, identity};

use crate::gateway;

#[test]
fn it_runs_until_a_signal_and_prints_a_summary() {
    let setup = gateway();
    for (signal, farewell) in [
        (Signal::SIGINT, "stopping signal=SIGINT"),
        (Signal::SIGTERM, " INFO drained\n"),
    ] {
        let gateway = setup.start();
        gateway.signal(signal);
        let ended = gateway.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for line in [
            "warning: every client that knows the public key may open a tunnel",
            "workers started workers=1 reason=\"as configured\" cpus=any\n",
            farewell,
        ] {
            assert!(ended.log.contains(line), "{line}: {ended:?}");
        }
        assert!(!ended.log.contains('\x1b'), "{ended:?}");
        assert!(!ended.log.contains("snapgate::"), "{ended:?}");
        assert!(ended.output.starts_with("Ran for "), "{ended:?}");
    }
}

#[test]
fn the_log_has_the_ports_that_the_kernel_chose() {
    let mut gateway = gateway().listen("127.0.0.1:0".parse().unwrap()).start();
    let listen = gateway.wait_for_log("listening for tunnels address=");
    let listen = listen.parse().unwrap();
    let bind = "127.0.0.1:0".parse().unwrap();
    let mut client = Client::connect(&identity(), bind, listen, gateway.public_key());
    client.send(b"there and back");
    assert_eq!(client.receive(), b"there and back");
    let metrics = gateway.wait_for_log("serving metrics url=http://");
    let wanted = format!("{}/metrics", gateway.metrics_address());
    assert!(metrics.starts_with(&wanted), "{metrics}");
}

/// A signal during the start ends the process: before the gateway waits for signals like any process, and afterwards in
/// order.
#[test]
fn no_signal_is_lost_while_the_gateway_starts() {
    let setup = gateway();
    for spins in 0..40 {
        let gateway = setup.spawn();
        for _ in 0..spins * 20_000 {
            std::hint::spin_loop();
        }
        gateway.signal(Signal::SIGTERM);
        let ended = gateway.wait();
        assert!(matches!(ended.code, None | Some(0)), "{ended:?}");
    }
}

#[test]
fn a_closed_log_changes_nothing() {
    let setup = gateway();
    let mut command = setup.command();
    let (log, stderr) = std::io::pipe().unwrap();
    let (summary, stdout) = std::io::pipe().unwrap();
    command.stderr(stderr).stdout(stdout);
    let gateway = setup.start_command(command);
    drop(log);
    gateway.signal(Signal::SIGHUP);
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.wait().code, Some(0));
    let summary = read_to_string(summary).unwrap();
    assert!(summary.contains("Nothing was dropped."), "{summary}");
}

#[test]
fn with_any_identity_there_is_nothing_to_reload() {
    let mut gateway = gateway().start();
    gateway.signal(Signal::SIGHUP);
    gateway.wait_for_log("nothing to reload reason=\"there is no identities file\"");
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn the_log_has_the_forward_mode() {
    let mut gateway = gateway().forward("sink").start();
    gateway.wait_for_log("forwarding mode=sink");
}
