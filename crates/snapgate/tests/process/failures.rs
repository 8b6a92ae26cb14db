//! The failure of a worker ends the process. The tests cause it like an administrator who destroys a socket.

use nix::sys::signal::Signal;
use testkit::{GatewaySetup, identity, in_namespace, shell};
use udp_shards::Dispatch;

/// With user dispatch a worker has one socket for tunnels, which SOCK_DESTROY finds. In a group it finds the socket
/// that the kernel's hash selects.
fn gateway() -> GatewaySetup {
    crate::gateway().dispatch(Dispatch::User)
}

/// Destroys the socket of this port (SOCK_DESTROY): the next system call on it fails.
fn destroy_socket(port: u16) {
    shell(&format!(
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
            gateway.wait_for_log("drain progress active_tunnels=1");
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
