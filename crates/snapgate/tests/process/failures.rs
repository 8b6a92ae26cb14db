//! A worker that fails takes the process down. It is made to by an administrator, who destroys its socket.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use testkit::{GatewaySetup, identity};
use udp_shards::Dispatch;

use crate::namespace::{in_namespace, sh};

/// With user dispatch a worker has one socket for tunnels, and SOCK_DESTROY gets at it; of a group it gets at
/// whichever the kernel's hash names.
fn gateway() -> GatewaySetup {
    crate::gateway().dispatch(Dispatch::User)
}

/// Destroys the socket of this port (SOCK_DESTROY): the next system call on it is an error.
fn destroy_socket(port: u16) {
    sh(&format!(
        "ss --kill --udp --all --numeric src :{port} >/dev/null"
    ));
}

#[test]
fn a_worker_whose_socket_fails_ends_the_process() {
    in_namespace(
        "failures::a_worker_whose_socket_fails_ends_the_process",
        || {
            let gateway = gateway().start();
            destroy_socket(gateway.listen_address().port());
            let ended = gateway.wait();
            assert_eq!(ended.code, Some(1), "{ended:?}");
            let error = ended.log.lines().last().unwrap();
            assert!(
                error.starts_with("error: worker 0 failed: cannot receive on a data socket"),
                "{ended:?}"
            );
            assert!(ended.output.starts_with("Ran for "), "{ended:?}");
        },
    );
}

#[test]
fn a_worker_that_fails_while_the_gateway_drains_ends_the_process() {
    in_namespace(
        "failures::a_worker_that_fails_while_the_gateway_drains_ends_the_process",
        || {
            let mut gateway = gateway()
                .argument("--drain-idle-seconds=3600")
                .argument("--drain-timeout-seconds=3600")
                .start();
            let _client = gateway.connect(&identity());
            gateway.signal(Signal::SIGTERM);
            gateway.wait_for_log("draining: tunnels that talk: 1");
            destroy_socket(gateway.listen_address().port());
            let ended = gateway.wait();
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(
                ended.log.contains("error: worker 0 failed: cannot receive"),
                "{ended:?}"
            );
        },
    );
}

#[test]
fn a_demo_whose_worker_fails_says_so() {
    in_namespace("failures::a_demo_whose_worker_fails_says_so", || {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_snapgate"))
            .args(["demo", "--workers=1", "--cpus=none", "--tunnels=10"])
            // It would not end by itself while the test waits.
            .args(["--rate=100", "--duration=1h", "--dispatch=user"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        // It ends when nobody reads on.
        let mut output = BufReader::new(demo.stdout.take().unwrap());
        output.read_line(&mut address).unwrap();
        let mut errors = BufReader::new(demo.stderr.take().unwrap());
        let mut log = String::new();
        while !log.contains("10 tunnels connected") {
            assert!(errors.read_line(&mut log).unwrap() > 0, "{log}");
        }
        let (_, port) = address.split_once(':').unwrap();
        destroy_socket(port.split(',').next().unwrap().parse().unwrap());
        errors.read_to_string(&mut log).unwrap();
        assert_eq!(demo.wait().unwrap().code(), Some(1), "{log}");
        assert!(
            log.contains("error: worker 0 failed: cannot receive on a data socket"),
            "{log}"
        );
    });
}
