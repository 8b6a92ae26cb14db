//! Loopback addresses of the test's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

/// A loopback address that no other caller gets, in this process or another. It stays free between two sockets that
/// have it one after the other, as long as no process is started meanwhile: that would have a copy of the first one.
///
/// The IP address is different in every call. The port and its successors are below those that the kernel gives to
/// sockets bound to port 0 (`ip_local_port_range`), on wildcard addresses too.
///
/// # Panics
///
/// After 255 calls.
#[must_use]
pub fn own_address() -> SocketAddr {
    static CALLS: AtomicU16 = AtomicU16::new(1);
    let [_, high, low, _] = (std::process::id() << 8).to_be_bytes();
    let number =
        u8::try_from(CALLS.fetch_add(1, Ordering::Relaxed)).expect("at most 255 addresses");
    SocketAddr::from((Ipv4Addr::new(127, 128 | high, low, number), 31_000))
}
