//! System calls: all unsafe code of the crate.

#![expect(unsafe_code, reason = "system calls take raw pointers")]

mod address;
pub(crate) mod clock;
mod cmsg;
pub(crate) mod recvmmsg;
pub(crate) mod sendmmsg;
pub(crate) mod sockopt;
