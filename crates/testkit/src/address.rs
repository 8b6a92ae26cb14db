//! Loopback addresses that no other test uses.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

/// Returns a loopback address that no other caller gets, in this process or another. The address stays free between two
/// sockets that use it in turn, unless a process is started in between: it would inherit a copy of the first socket.
///
/// Every call returns another IP address. The port and the ports above it are below the range that the kernel assigns
/// to sockets bound to port 0 (`ip_local_port_range`), on wildcard addresses too.
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
