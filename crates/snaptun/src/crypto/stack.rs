//! Wiping of the stack below a computation with secrets.
//!
//! Values that hold secrets wipe themselves when they are dropped, but not where they were before they were moved, and
//! hash states and intermediate results of the cryptography below are not wiped at all. All of that lies in the frames
//! of functions that have returned, so it is overwritten there.

use std::hint::black_box;

/// Stack of a handshake. A `Tunn` of 10.6 KB is moved some eight times while its tunnel is made. Wiping it takes 3.5 µs
/// of the 150 of a handshake (64 KiB: 1.7 µs).
const HANDSHAKE_BYTES: usize = 128 << 10;

/// Stack of one Diffie-Hellman.
const AGREEMENT_BYTES: usize = 16 << 10;

/// Runs `work` and wipes the part of the stack that it used, up to 128 KiB.
///
/// What `work` returns stays in the caller's frame, so secrets in it have to be boxed.
pub fn on_wiped_stack<R>(work: impl FnOnce() -> R) -> R {
    let result = run(work);
    wipe::<HANDSHAKE_BYTES>();
    result
}

/// Like [`on_wiped_stack`], for a Diffie-Hellman in the middle of a handshake: a `Tunn` that is made afterwards has
/// bytes that are never written, and they would keep what was on the stack, in the heap and for as long as it lives.
pub(crate) fn agree_on_wiped_stack<R>(work: impl FnOnce() -> R) -> R {
    let result = run(work);
    wipe::<AGREEMENT_BYTES>();
    result
}

/// Wipes the stack of a handshake message that was made: below the caller's frame.
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
