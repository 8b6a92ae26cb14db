//! Interoperability of snapgate with the clients of today, over real sockets on loopback.
//!
//! The tests are in `tests/it`. This library is what they are told with:
//!
//! | item | what |
//! | --- | --- |
//! | [`TestGateway`] | a gateway whose counters can be waited for, and must add up in the end |
//! | [`SupervisedGateway`] | a gateway in a process of its own, to be killed |
//! | [`SnapTunClient`] | the client that endhosts run: crate `snap-tun` |
//! | [`GotatunClient`] | a client on top of the newest `ana-gotatun`: pads, and shows each datagram |
//! | [`Router`] | a socket that stands in for a SCION router |
//! | [`packets`] | SCION packets from and to clients |
//! | [`Scenario`] | IPv4 or IPv6, dispatch in the kernel or not: quick tests run in all four |
//!
//! Nothing here sleeps to let something happen: a test waits for a datagram or for a counter, and
//! fails when that takes longer than [`PATIENCE`].
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test harness: what does not work fails the test"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use snapgate::keys::PrivateKey;
use tokio::net::UdpSocket;

mod gateway;
mod gotatun_client;
pub mod packets;
mod patience;
mod router;
mod scenario;
mod snap_tun_client;
mod supervised_gateway;

pub use self::gateway::{GatewaySetup, TestGateway};
pub use self::gotatun_client::GotatunClient;
pub use self::patience::{PATIENCE, in_time};
pub use self::router::Router;
pub use self::scenario::Scenario;
pub use self::snap_tun_client::SnapTunClient;
pub use self::supervised_gateway::SupervisedGateway;

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

/// An address that stays free when a gateway leaves it for the next one, in a test program that starts no other
/// processes meanwhile.
///
/// The IP address is this call's own. The port is below those that the kernel gives to sockets bound to port 0
/// (`ip_local_port_range`), which are those of all other tests, on wildcard addresses too.
#[must_use]
pub fn own_address() -> SocketAddr {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    let [_, high, low, _] = (std::process::id() << 8).to_be_bytes();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let ip = Ipv4Addr::new(127, 128 | high, low, number);
    SocketAddr::from((ip, 31_000))
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
