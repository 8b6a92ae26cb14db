//! The programs for the kernel, exposed to the fuzz targets, which interpret them in userspace.

use libc::sock_filter;

use crate::DispatchKey;
use crate::cbpf::tunnel::Family;
use crate::cbpf::{tunnel, upstream};

/// Returns the dispatch program of a tunnel group over IPv4 or IPv6.
#[must_use]
pub fn tunnel_dispatch(key: &DispatchKey, workers: u8, ipv6: bool) -> Vec<sock_filter> {
    let family = if ipv6 { Family::V6 } else { Family::V4 };
    let program = tunnel::dispatch_program(key, workers.into(), family);
    program.instructions().to_vec()
}

/// Returns the dispatch program of an upstream group.
#[must_use]
pub fn upstream_dispatch(key: &DispatchKey, workers: u8) -> Vec<sock_filter> {
    let program = upstream::dispatch_program(key, workers.into());
    program.instructions().to_vec()
}

/// Returns the filter of each tunnel socket under [`Dispatch::User`](crate::Dispatch::User).
#[must_use]
pub fn garbage_filter() -> Vec<sock_filter> {
    tunnel::garbage_filter().instructions().to_vec()
}
