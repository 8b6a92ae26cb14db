//! Ed25519 public keys.

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use curve25519_dalek::edwards::CompressedEdwardsY;

/// An Ed25519 public key (RFC 8032, section 5.1.5), a point of the curve that has not a low order.
#[derive(Clone, Debug)]
pub(super) struct PublicKey(ParsedPublicKey);

/// Why a public key is unusable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PublicKeyFault {
    /// Not 32 bytes.
    #[error("an Ed25519 public key has 32 bytes, this one {0}")]
    Length(usize),
    /// The bytes do not encode a point of the curve.
    #[error("not a point of the curve Ed25519")]
    NotAPoint,
    /// A point of low order, such as 32 zero bytes, for which anyone can make signatures.
    #[error("a point of low order, for which anyone can make signatures")]
    LowOrder,
}

impl PublicKey {
    /// Creates a key from its 32 bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, PublicKeyFault> {
        // AWS-LC checks neither before the first signature.
        let point = CompressedEdwardsY::from_slice(bytes)
            .map_err(|_| PublicKeyFault::Length(bytes.len()))?
            .decompress()
            .ok_or(PublicKeyFault::NotAPoint)?;
        if point.is_small_order() {
            return Err(PublicKeyFault::LowOrder);
        }
        ParsedPublicKey::new(&ED25519, bytes)
            .map(Self)
            .map_err(|_| PublicKeyFault::NotAPoint)
    }

    /// Returns true if `signature` is a signature of `message` by this key.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref() == other.0.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2.
    const KEY: [u8; 32] = [
        0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e,
        0xbc, 0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4,
        0x66, 0x0c,
    ];
    const MESSAGE: [u8; 1] = [0x72];
    const SIGNATURE: [u8; 64] = [
        0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8, 0x72, 0x0e, 0x82, 0x0b, 0x5f, 0x64, 0x25,
        0x40, 0xa2, 0xb2, 0x7b, 0x54, 0x16, 0x50, 0x3f, 0x8f, 0xb3, 0x76, 0x22, 0x23, 0xeb, 0xdb,
        0x69, 0xda, 0x08, 0x5a, 0xc1, 0xe4, 0x3e, 0x15, 0x99, 0x6e, 0x45, 0x8f, 0x36, 0x13, 0xd0,
        0xf1, 0x1d, 0x8c, 0x38, 0x7b, 0x2e, 0xae, 0xb4, 0x30, 0x2a, 0xee, 0xb0, 0x0d, 0x29, 0x16,
        0x12, 0xbb, 0x0c, 0x00,
    ];

    /// Returns an encoding from its first byte, the bytes between and its last byte.
    fn little(first: u8, between: u8, last: u8) -> [u8; 32] {
        let mut bytes = [between; 32];
        bytes[0] = first;
        bytes[31] = last;
        bytes
    }

    #[test]
    fn a_signature_of_the_rfc_is_verified() {
        let key = PublicKey::from_bytes(&KEY).unwrap();
        assert!(key.verifies(&MESSAGE, &SIGNATURE));
        assert!(!key.verifies(&[0x73], &SIGNATURE));
        assert!(!key.verifies(&MESSAGE, &SIGNATURE[..63]));
        assert!(!key.verifies(&MESSAGE, &[]));
    }

    /// Otherwise one token would have signatures in many texts.
    #[test]
    fn a_signature_plus_the_order_of_the_group_is_refused() {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut signature = SIGNATURE;
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        let key = PublicKey::from_bytes(&KEY).unwrap();
        assert!(!key.verifies(&MESSAGE, &signature));
    }

    #[test]
    fn keys_that_are_no_point_of_prime_order_are_refused() {
        let order_8 = [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ];
        for low_order in [
            little(0, 0, 0),
            little(0, 0, 0x80),
            little(1, 0, 0),
            // -1, and the prime and 1 more, other encodings of 0 and 1.
            little(0xec, 0xff, 0x7f),
            little(0xed, 0xff, 0x7f),
            little(0xee, 0xff, 0x7f),
            order_8,
        ] {
            let fault = PublicKey::from_bytes(&low_order).unwrap_err();
            assert_eq!(fault, PublicKeyFault::LowOrder, "{low_order:x?}");
        }
        let fault = PublicKey::from_bytes(&little(2, 0, 0)).unwrap_err();
        assert_eq!(fault, PublicKeyFault::NotAPoint);
        for length in [0, 31, 33, 44] {
            let fault = PublicKey::from_bytes(&vec![1; length]).unwrap_err();
            assert_eq!(fault, PublicKeyFault::Length(length));
        }
    }
}
