//! Processes while the other side stalls: a reader of standard error or standard output, the service manager, HTTP
//! clients, the state directory.
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

mod end;
mod hanging_worker;
mod identities_file;
mod outputs;
mod signals;
mod stall;

use testkit::GatewaySetup;

/// The gateway of this package with small buffers.
fn gateway() -> GatewaySetup {
    GatewaySetup::new(env!("CARGO_BIN_EXE_snapgate"))
        .argument("--receive-buffer=64KiB")
        .argument("--send-buffer=64KiB")
}
