//! The gateway as a process: signals, reloads, restarts, broken networks.
//!
//! A started process has copies of all descriptors of the test program until it executes its own program. So only test
//! programs start processes in which no test needs a lock, address or port to be free as soon as its holder is dropped
//! (`scripts/check-tree.sh` has the list).
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

mod accounting_log;
mod addresses;
mod cpus;
mod drain;
mod failures;
mod faults;
mod interfaces;
mod limits;
mod log;
mod neighbour_delays;
mod neighbours;
mod output_files;
mod reload;
mod restored;
mod revocation;
mod secrets;
mod service_manager;
mod signals;
mod sources;
mod state_dir;

use testkit::GatewaySetup;

/// The gateway of this package with small buffers.
fn gateway() -> GatewaySetup {
    GatewaySetup::new(env!("CARGO_BIN_EXE_snapgate"))
        .argument("--receive-buffer=64KiB")
        .argument("--send-buffer=64KiB")
}
