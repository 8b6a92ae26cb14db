//! Interoperability of snapgate with the clients of today, over real sockets on loopback.
//!
//! The tests are in `tests/it`. This library is what they are told with:
//!
//! | item | what |
//! | --- | --- |
//! | [`TestGateway`] | a gateway whose counters can be waited for, and must add up in the end |
//! | [`SnapTunClient`] | the client that endhosts run: crate `snap-tun` |
//! | [`Router`] | a socket that stands in for a SCION router |
//! | [`Scenario`] | IPv4 or IPv6, dispatch in the kernel or not: quick tests run in all four |
//!
//! The client of the newest protocol, gateway processes and packets are those of `testkit`.
//!
//! Nothing here sleeps to let something happen: a test waits for a datagram or for a counter, and
//! fails when that takes longer than [`testkit::PATIENCE`].
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test harness: what does not work fails the test"
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

/// The longest datagram that any test sends or receives.
const MAX_DATAGRAM_BYTES: usize = 1 << 16;

/// A new private key.
///
/// # Panics
///
/// When the kernel has no random numbers.
#[must_use]
pub fn private_key() -> PrivateKey {
    PrivateKey::generate().expect("random numbers")
}

/// A socket on a free port of loopback, of the IP version of `peer`.
///
/// # Panics
///
/// When there is none.
pub async fn free_socket(peer: SocketAddr) -> Arc<UdpSocket> {
    let loopback = match peer.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let socket = UdpSocket::bind((loopback, 0)).await;
    Arc::new(socket.expect("a free port"))
}
