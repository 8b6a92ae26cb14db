//! Wiping of the stack below a computation with secrets.
//!
//! Values that hold secrets wipe themselves when they are dropped, but not where they were before they were moved, and
//! hash states and intermediate results of the cryptography below are not wiped at all. All of that lies in the frames
//! of functions that have returned, which this module overwrites.

use std::hint::black_box;

/// Stack that a handshake may use. An optimized build used at most 28.2 KiB (4,000 new tunnels, x86-64), most of it for
/// moves of the 10.6 KB `Tunn`. Wiping takes 27 ns/KiB.
const HANDSHAKE_BYTES: usize = 48 << 10;

/// Stack that one Diffie-Hellman may use.
const AGREEMENT_BYTES: usize = 16 << 10;

/// Runs `work` and wipes the part of the stack that it used, up to 48 KiB.
///
/// What `work` returns stays in the caller's frame, so secrets in it have to be boxed. If `work` panics, nothing is
/// wiped. For code that handles a [`StaticKey`](crate::StaticKey) or another secret; the shard does this itself.
pub fn on_wiped_stack<R>(work: impl FnOnce() -> R) -> R {
    let result = run(work);
    wipe::<HANDSHAKE_BYTES>();
    result
}

/// Like [`on_wiped_stack`], for a Diffie-Hellman in the middle of a handshake. A `Tunn` made afterwards has bytes that
/// are never written, which would keep what was on the stack, on the heap and for the lifetime of the tunnel.
pub(crate) fn agree_on_wiped_stack<R>(work: impl FnOnce() -> R) -> R {
    let result = run(work);
    wipe::<AGREEMENT_BYTES>();
    result
}

/// Wipes the stack below the caller's frame after a handshake message was made.
pub(crate) fn wipe_stack() {
    wipe::<HANDSHAKE_BYTES>();
}

#[inline(never)]
fn wipe<const BYTES: usize>() {
    // Volatile writes take several times as long. The compiler has to assume that `black_box` reads the zeros.
    black_box(&mut [0_u8; BYTES]);
}

/// Keeps the frame of `work` out of its caller's.
#[inline(never)]
fn run<R>(work: impl FnOnce() -> R) -> R {
    work()
}
