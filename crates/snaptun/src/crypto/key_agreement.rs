//! X25519 (RFC 7748) with the static key of the gateway.
//!
//! Uses aws-lc, in half the time of x25519-dalek: anyone who knows the public key can cause one agreement per
//! initiation, before the shard knows the sender's identity.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use zeroize::Zeroizing;

use crate::crypto::stack::agree_on_wiped_stack;
use crate::drop_reason::DropReason;

/// Prepared private key of the gateway. Wiped from memory when dropped.
pub(crate) struct AgreementKey(PrivateKey);

/// Shared secret of two keys. Wiped from memory when dropped.
pub(crate) struct SharedSecret(Zeroizing<[u8; 32]>);

impl AgreementKey {
    #[expect(
        clippy::expect_used,
        reason = "any 32 bytes are a key, and this runs at startup"
    )]
    pub(crate) fn new(private: &[u8; 32]) -> Self {
        let key = PrivateKey::from_private_key(&X25519, private);
        AgreementKey(key.expect("32 bytes are an X25519 key"))
    }

    /// Computes the shared secret with a public key. Fails for points of low order, whose shared secret is zero for
    /// every key (RFC 7748, section 6.1).
    pub(crate) fn agree(&self, point: &[u8; 32]) -> Result<SharedSecret, DropReason> {
        agree_on_wiped_stack(|| {
            let point = UnparsedPublicKey::new(&X25519, point);
            agree(&self.0, point, DropReason::Forged, |shared| {
                let mut secret = SharedSecret(Zeroizing::new([0; 32]));
                // Always 32 bytes long.
                let bytes: &[u8; 32] = shared.first_chunk().ok_or(DropReason::Forged)?;
                secret.0.copy_from_slice(bytes);
                Ok(secret)
            })
        })
    }
}

impl SharedSecret {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use x25519_dalek::{PublicKey, StaticSecret};

    use super::*;

    #[test]
    fn points_of_low_order_are_rejected() {
        let key = AgreementKey::new(&[7; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        for point in [[0; 32], one] {
            assert_eq!(key.agree(&point).err(), Some(DropReason::Forged));
        }
    }

    proptest! {
        /// `Tunn` computes the other half of handshakes with x25519-dalek.
        #[test]
        fn both_implementations_agree(private: [u8; 32], point: [u8; 32]) {
            let agreed = AgreementKey::new(&private).agree(&point).ok();
            let expected = StaticSecret::from(private).diffie_hellman(&PublicKey::from(point));
            prop_assert_eq!(
                agreed.as_ref().map(SharedSecret::as_bytes),
                expected.was_contributory().then(|| expected.as_bytes())
            );
        }
    }
}
