//! What an attacker can do to a captured message.

use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};

use crate::shard::Shard;

/// Where the encrypted timestamp of an initiation is.
pub(crate) const TIMESTAMP: std::ops::Range<usize> = 88..116;

/// Writes the message authentication code that anyone can compute who knows the gateway's public key
/// (WireGuard whitepaper, section 5.4.4).
pub(crate) fn write_mac1(initiation: &mut [u8]) {
    const MAC1: usize = 116;
    let key = Blake2s256::new()
        .chain_update(b"mac1----")
        .chain_update(Shard::public_key().as_bytes())
        .finalize();
    let mut mac = Blake2sMac::<blake2::digest::consts::U16>::new_from_slice(&key).unwrap();
    Update::update(&mut mac, &initiation[..MAC1]);
    initiation[MAC1..MAC1 + 16].copy_from_slice(&mac.finalize_fixed());
}

/// The same initiation with all in it that is not encrypted, but for the ephemeral key, made anew.
pub(crate) fn disguised(initiation: &[u8]) -> Vec<u8> {
    const SENDER_INDEX: std::ops::Range<usize> = 4..8;
    const MAC2: std::ops::Range<usize> = 132..148;
    let mut disguised = initiation.to_vec();
    disguised[SENDER_INDEX].copy_from_slice(&[9; 4]);
    disguised[MAC2].fill(7);
    write_mac1(&mut disguised);
    disguised
}
