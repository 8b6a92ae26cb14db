//! Interoperability of snapgate with released clients, over real sockets on loopback.
//!
//! The tests are in `tests/it`. This library has what they share:
//!
//! | item | purpose |
//! | --- | --- |
//! | [`TestGateway`] | a gateway with counters to wait for, which must balance in the end |
//! | [`SnapTunClient`] | the client of endhosts: crate `snap-tun` |
//! | [`Router`] | a socket that stands in for a SCION router |
//! | [`Scenario`] | IPv4 or IPv6, kernel or user dispatch: fast tests run in all four combinations |
//!
//! Clients with the newest protocol, gateway processes and packets come from `testkit`.
//!
//! Tests wait for a datagram or a counter instead of sleeping. Helpers panic on failure, and after
//! [`testkit::PATIENCE`].
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a failing helper fails its test"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use snapgate::keys::PrivateKey;
use tokio::net::UdpSocket;

mod gateway;
mod patience;
mod router;
mod scenario;
mod snap_tun_client;

pub use self::gateway::{GatewaySetup, TestGateway};
pub use self::patience::in_time;
pub use self::router::Router;
pub use self::scenario::Scenario;
pub use self::snap_tun_client::SnapTunClient;

/// Maximum length of a datagram in bytes.
const MAX_DATAGRAM_BYTES: usize = 1 << 16;

/// Returns a new private key.
#[must_use]
pub fn private_key() -> PrivateKey {
    PrivateKey::generate().expect("random numbers")
}

/// Opens a socket on a free port of loopback, of the IP version of `peer`.
pub async fn free_socket(peer: SocketAddr) -> Arc<UdpSocket> {
    let loopback = match peer.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let socket = UdpSocket::bind((loopback, 0)).await;
    Arc::new(socket.expect("a free port"))
}
