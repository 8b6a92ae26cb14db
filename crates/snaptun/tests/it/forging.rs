//! Modifications of captured messages.

use testkit::messages::write_mac1;
use testkit::shard::Shard;

/// Position of the encrypted timestamp in an initiation.
pub(crate) const TIMESTAMP: std::ops::Range<usize> = 88..116;

/// Returns the initiation with all of its unencrypted fields changed, except the ephemeral key.
pub(crate) fn disguised(initiation: &[u8]) -> Vec<u8> {
    const SENDER_INDEX: std::ops::Range<usize> = 4..8;
    const MAC2: std::ops::Range<usize> = 132..148;
    let mut disguised = initiation.to_vec();
    disguised[SENDER_INDEX].copy_from_slice(&[9; 4]);
    disguised[MAC2].fill(7);
    write_mac1(&mut disguised, &Shard::public_key());
    disguised
}
