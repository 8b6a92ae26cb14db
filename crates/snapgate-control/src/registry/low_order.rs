//! Public keys whose shared secret with any private key is zero (RFC 7748, section 6.1).

use crate::claims::Identity;

/// The points of low order of Curve25519 and of its twist, and their encodings that are not reduced modulo 2^255 - 19.
const LOW_ORDER: [Identity; 7] = [
    [0; 32],
    [
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0,
    ],
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    near_prime(0xec),
    near_prime(0xed),
    near_prime(0xee),
];

/// Returns 2^255 - 256 + `last`; the prime has 0xed.
const fn near_prime(last: u8) -> Identity {
    let mut key = [0xff; 32];
    key[0] = last;
    key[31] = 0x7f;
    key
}

/// Returns true for a key with which every shared secret is zero. X25519 ignores the highest bit.
pub(super) fn is_low_order(identity: &Identity) -> bool {
    let mut key = *identity;
    key[31] &= 0x7f;
    LOW_ORDER.contains(&key)
}

#[cfg(test)]
mod tests {
    use x25519_dalek::{PublicKey, StaticSecret};

    use super::*;

    fn has_zero_secret(identity: &Identity) -> bool {
        let secret = StaticSecret::from([7; 32]);
        !secret
            .diffie_hellman(&PublicKey::from(*identity))
            .was_contributory()
    }

    #[test]
    fn keys_of_low_order_are_recognized_with_any_highest_bit() {
        for key in LOW_ORDER {
            for bit in [0, 0x80] {
                let mut key = key;
                key[31] |= bit;
                assert!(has_zero_secret(&key) && is_low_order(&key), "{key:02x?}");
            }
        }
    }

    #[test]
    fn other_keys_are_accepted() {
        for seed in 1..=200 {
            let key = PublicKey::from(&StaticSecret::from([seed; 32])).to_bytes();
            assert!(!has_zero_secret(&key) && !is_low_order(&key), "{key:02x?}");
        }
        // Neighbours of the points.
        for key in LOW_ORDER {
            let mut other = key;
            other[15] ^= 1;
            assert!(
                !has_zero_secret(&other) && !is_low_order(&other),
                "{other:02x?}"
            );
        }
    }
}
