//! A gateway process on a host that changes under it: routes, links, addresses, routers, CPU time, limits, neighbours,
//! and what the process inherits. `docs/HOST-FAULTS.md` lists the faults.
//!
//! These tests start processes and change networks, so they are a separate test program. Each has its own network
//! namespaces or its own loopback address, and they run in parallel.
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

mod addresses;
mod cpu_time;
mod damaged_link;
mod inherited;
mod limits;
mod links;
mod routers;
mod routes;
mod shared_addresses;
mod site;
mod terminal;

use testkit::GatewaySetup;

/// The gateway of this package with small buffers.
fn gateway() -> GatewaySetup {
    GatewaySetup::new(env!("CARGO_BIN_EXE_snapgate"))
        .argument("--receive-buffer=64KiB")
        .argument("--send-buffer=64KiB")
}
