//! The crate against the real kernel, on loopback.

mod dispatch_balance;
mod support;
mod tunnel_dispatch;
