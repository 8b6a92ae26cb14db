//! What an attacker can do to a captured message.

use testkit::messages::write_mac1;
use testkit::shard::Shard;

/// Where the encrypted timestamp of an initiation is.
pub(crate) const TIMESTAMP: std::ops::Range<usize> = 88..116;

/// The same initiation with all in it that is not encrypted, but for the ephemeral key, made anew.
pub(crate) fn disguised(initiation: &[u8]) -> Vec<u8> {
    const SENDER_INDEX: std::ops::Range<usize> = 4..8;
    const MAC2: std::ops::Range<usize> = 132..148;
    let mut disguised = initiation.to_vec();
    disguised[SENDER_INDEX].copy_from_slice(&[9; 4]);
    disguised[MAC2].fill(7);
    write_mac1(&mut disguised, &Shard::public_key());
    disguised
}
