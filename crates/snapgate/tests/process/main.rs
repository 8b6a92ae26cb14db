//! The gateway as a process: signals, reloads, restarts, broken networks.
//!
//! A process that a test starts has copies of all descriptors of the test program until it executes its own
//! program. So only test programs start processes in which no test needs a lock, address or port to be free as soon
//! as its holder is dropped (`scripts/check-tree.sh` has the list).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails, fails its test"
)]

#[expect(dead_code, reason = "`tests/it` uses the rest")]
#[path = "../it/client.rs"]
mod client;
mod drain;
mod failures;
mod faults;
#[path = "../it/gateway.rs"]
mod gateway;
#[path = "../it/http.rs"]
mod http;
#[path = "../it/packets.rs"]
mod packets;
mod process;
mod reload;
mod revocation;
mod secrets;
mod service_manager;
mod signals;
mod sources;
mod state_dir;
mod workspace;
