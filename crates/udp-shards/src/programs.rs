//! The programs for the kernel, for the fuzz targets, which run them elsewhere.

use libc::sock_filter;

use crate::DispatchKey;
use crate::cbpf::tunnel::Family;
use crate::cbpf::{tunnel, upstream};

/// What a tunnel group of `workers` has over IPv4, or over IPv6.
#[must_use]
pub fn tunnel_dispatch(key: &DispatchKey, workers: u8, ipv6: bool) -> Vec<sock_filter> {
    let family = if ipv6 { Family::V6 } else { Family::V4 };
    let program = tunnel::dispatch_program(key, workers.into(), family);
    program.instructions().to_vec()
}

/// What an upstream group of `workers` has.
#[must_use]
pub fn upstream_dispatch(key: &DispatchKey, workers: u8) -> Vec<sock_filter> {
    let program = upstream::dispatch_program(key, workers.into());
    program.instructions().to_vec()
}

/// What the sockets of a tunnel group have that is dispatched in userspace.
#[must_use]
pub fn garbage_filter() -> Vec<sock_filter> {
    tunnel::garbage_filter().instructions().to_vec()
}
