//! Test kit shared by the integration tests of this workspace.
//!
//! | item | purpose |
//! | --- | --- |
//! | [`Namespace`], [`Veth`] | network namespaces, joined by virtual Ethernet links |
//! | [`in_namespace`] | runs a test in a new network namespace, without root where the kernel allows it |
//! | [`Network`] | hosts around a router |
//! | [`Mounts`] | mount namespaces, and small file systems in them |
//! | [`Fuse`] | a file system that hangs, fails or caches on request |
//! | [`GatewaySetup`], [`GatewayProcess`] | a `snapgate run` process, its metrics and its log |
//! | `gateway::TestGateway` | a gateway inside the test process, and its counters (feature `gateway`) |
//! | [`EchoGateway`] | one shard on a socket, with injected faults |
//! | [`Tunnel`] | the client side of a SNAPtun tunnel, sans-I/O |
//! | [`Client`] | a tunnel on a UDP socket |
//! | [`shard`] | a shard with its clients, sans-I/O; arbitrary sequences of steps for property tests and fuzzing |
//! | [`oracle`] | independent parsers of SCION packets |
//! | [`http_get`] | HTTP GET requests |
//! | [`Router`] | a socket that stands in for a SCION router |
//! | [`packets`] | SCION packets from and to clients |
//! | [`own_address`] | loopback addresses that no other test uses |
//! | [`scenario`] | small scenarios for tests of `snapload` |
//! | [`documents`] | the examples of the documents, run and compared |
//! | [`messages`] | forged WireGuard messages |
//! | [`forge`] | IP packets with chosen source addresses, and a raw socket that sends them |
//! | [`Pace`], [`Flood`] | load at a constant rate |
//! | [`send_train`] | one GSO train with chosen datagrams |
//!
//! Helpers panic on failure, which fails the test. Tests do not sleep: [`wait_until`] polls a condition and panics
//! after [`PATIENCE`].
//!
//! # Features
//!
//! `gateway` builds `snapgate`, a hundred crates that tests of shards, sockets and packets do not need.
//!
//! # Root
//!
//! [`Namespace`] needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN) and the Debian packages iproute2 and ethtool; raw sockets
//! need CAP_NET_RAW. A user namespace is not enough: the kernel sets `gro_flush_timeout` only for the host's
//! administrator. A test that uses them begins with [`may_make_namespaces`] and returns if that is false. With
//! [`REQUIRE_ROOT`] in the environment, as in `.ci/run`, it panics instead, so that a skipped test does not count as
//! passed.
//!
//! [`Mounts`] and [`Fuse`] need root (CAP_SYS_ADMIN) and `/dev/fuse`: begin such tests with [`may_mount`].
//!
//! # Example
//!
//! ```no_run
//! use std::net::SocketAddr;
//! use testkit::{Client, GatewaySetup, IpVersion, Network, identity, may_make_namespaces};
//!
//! if !may_make_namespaces("an_example") {
//!     return;
//! }
//! let mut network = Network::new();
//! let (client_host, gateway_host) = (network.add_host(), network.add_host());
//! gateway_host.link.emulate_network_cards();
//!
//! let identity = identity();
//! let gateway = GatewaySetup::new("target/debug/snapgate")
//!     .namespace(&gateway_host.namespace)
//!     .listen(SocketAddr::new(gateway_host.ip(IpVersion::V4), 51820))
//!     .identities(&[&identity])
//!     .forward("echo")
//!     .start();
//! let bind = SocketAddr::new(client_host.ip(IpVersion::V4), 0);
//! let mut client = client_host.namespace.run(|| {
//!     Client::connect(&identity, bind, gateway.listen_address(), gateway.public_key())
//! });
//! client.send(b"hello");
//! assert_eq!(client.receive(), b"hello");
//! assert_eq!(gateway.metrics().sum("snapgate_dropped_packets_total"), 0);
//! assert_eq!(gateway.terminate().code, Some(0));
//! ```
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "a failing helper fails its test"
)]

use std::time::{Duration, Instant};

mod address;
mod client;
pub mod documents;
mod echo_gateway;
mod flood;
pub mod forge;
mod fuse;
#[cfg(feature = "gateway")]
pub mod gateway;
mod http;
mod link;
pub mod messages;
mod metrics;
mod mounts;
mod namespace;
mod network;
pub mod oracle;
pub mod packets;
mod process;
mod router;
pub mod scenario;
mod setup;
pub mod shard;
mod socket;
mod test_in_namespace;
mod train;
mod tunnel;

pub use address::own_address;
pub use client::Client;
pub use echo_gateway::{EchoGateway, Fault, no_fault};
pub use flood::{Flood, Pace};
pub use fuse::{Fuse, Operation};
pub use http::get as http_get;
pub use link::{LinkCounters, Port, Veth};
pub use metrics::Metrics;
pub use mounts::{Mounts, may_mount};
pub use namespace::{
    Namespace, REQUIRE_ROOT, may_make_namespaces, missing_requirements, shell, skip,
};
pub use network::{Host, IpVersion, Network};
pub use process::{Ended, GatewayProcess, children};
pub use router::Router;
pub use setup::GatewaySetup;
pub use socket::client_socket;
pub use test_in_namespace::in_namespace;
pub use train::{receive_train, send_train};
pub use tunnel::{GivenUp, SessionIndexes, Tunnel, TunnelEvent, identity};

/// Time limit for an event that must happen. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Interval at which [`wait_until`] polls.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Polls until `check` returns a value, and returns that value.
///
/// # Panics
///
/// After [`PATIENCE`], with `what` in the message.
pub fn wait_until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(POLL_INTERVAL);
    }
}
