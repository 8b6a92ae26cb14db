//! Identity and timestamp of an initiation.
//!
//! `ana-gotatun` returns the identity that an initiation claims, but not the timestamp, whose encryption proves the
//! claim. Both are needed before a [`Tunn`](ana_gotatun::noise::Tunn) may process the message, so this module repeats
//! the responder's first half of the handshake (WireGuard whitepaper, section 5.4.2).

use std::time::Duration;

use ana_gotatun::packet::WgHandshakeInit;
use blake2::{Blake2s256, Digest};
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use hmac::{Mac, SimpleHmac};
use x25519_dalek::PublicKey;
use zeroize::Zeroizing;

use crate::crypto::key_agreement::{AgreementKey, SharedSecret};
use crate::drop_reason::DropReason;

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// Time of an initiation by the peer's clock: TAI64N, big-endian seconds and nanoseconds, so that byte order is time
/// order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) [u8; 12]);

impl Timestamp {
    /// Returns the timestamp that a client writes when its system clock is `since_1970` after 1970.
    pub(crate) fn of(since_1970: Duration) -> Self {
        /// TAI64 label of the start of 1970 as clients compute it: with today's 37 s between TAI and UTC, not the 10 s
        /// of 1970.
        const EPOCH: u64 = (1 << 62) + 37;
        let seconds = EPOCH.saturating_add(since_1970.as_secs());
        let mut timestamp = [0; 12];
        timestamp[..8].copy_from_slice(&seconds.to_be_bytes());
        timestamp[8..].copy_from_slice(&since_1970.subsec_nanos().to_be_bytes());
        Timestamp(timestamp)
    }

    /// Returns the seconds of the TAI64 label.
    pub(crate) fn seconds(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

/// Opens initiations to one static key.
pub(crate) struct InitiationOpener {
    chaining_key: [u8; 32],
    /// Hash of the construction, the identifier and our public key.
    hash: [u8; 32],
}

/// Opened initiation. Its identity is a claim that anyone can make, not yet proven.
pub(crate) struct Claim {
    pub(crate) identity: [u8; 32],
    chaining_key: Zeroizing<[u8; 32]>,
    hash: [u8; 32],
}

impl InitiationOpener {
    pub(crate) fn new(static_public: &PublicKey) -> Self {
        let chaining_key = hash(&[CONSTRUCTION]);
        let identifier = hash(&[&chaining_key, IDENTIFIER]);
        InitiationOpener {
            chaining_key,
            hash: hash(&[&identifier, static_public.as_bytes()]),
        }
    }

    /// Decrypts the claimed identity. Costs one Diffie-Hellman.
    pub(crate) fn open(
        &self,
        static_key: &AgreementKey,
        initiation: &WgHandshakeInit,
    ) -> Result<Claim, DropReason> {
        let ephemeral = initiation.unencrypted_ephemeral;
        let transcript = hash(&[&self.hash, &ephemeral]);
        let [chaining_key] = kdf(&self.chaining_key, &ephemeral);
        let shared = static_key.agree(&ephemeral)?;
        let [chaining_key, key] = kdf(&chaining_key, shared.as_bytes());

        let sealed = &initiation.encrypted_static;
        let mut identity = sealed.encrypted;
        open_in_place(&key, &transcript, &mut identity, &sealed.tag)?;
        Ok(Claim {
            identity,
            chaining_key,
            hash: hash(&[&transcript, &sealed.encrypted, &sealed.tag]),
        })
    }
}

impl Claim {
    /// Decrypts the timestamp, which only the owner of the claimed identity can have encrypted. `shared` is the shared
    /// secret of both static keys.
    pub(crate) fn prove(
        &self,
        initiation: &WgHandshakeInit,
        shared: &SharedSecret,
    ) -> Result<Timestamp, DropReason> {
        let [_, key] = kdf(&self.chaining_key, shared.as_bytes());
        let sealed = &initiation.timestamp;
        let mut timestamp = sealed.encrypted;
        open_in_place(&key, &self.hash, &mut timestamp, &sealed.tag)?;
        Ok(Timestamp(timestamp))
    }
}

/// `AEAD` of section 5.4 with counter 0, decrypting.
fn open_in_place(
    key: &[u8; 32],
    authenticated: &[u8],
    text: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), DropReason> {
    ChaCha20Poly1305::new(key.into())
        .decrypt_in_place_detached(&[0; 12].into(), authenticated, text, tag.into())
        .map_err(|_| DropReason::Forged)
}

/// `HASH` of section 5.4.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Blake2s256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// `KDF` of section 5.4 with `KEYS` outputs.
fn kdf<const KEYS: usize>(chaining_key: &[u8; 32], input: &[u8]) -> [Zeroizing<[u8; 32]>; KEYS] {
    let extracted = hmac(chaining_key, &[input]);
    let mut keys = std::array::from_fn(|_| Zeroizing::new([0; 32]));
    let mut previous: &[u8] = &[];
    for (key, number) in keys.iter_mut().zip(1..) {
        *key = hmac(&extracted, &[previous, &[number]]);
        previous = &key[..];
    }
    keys
}

/// Computes HMAC. The hash state is not wiped on drop; it lies on a stack that is (`on_wiped_stack`).
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    // HMAC pads a short key with zeros to the 64-byte block of BLAKE2s.
    let mut block = Zeroizing::new([0; 64]);
    block[..key.len()].copy_from_slice(key);
    let mut hmac = <SimpleHmac<Blake2s256> as KeyInit>::new((&*block).into());
    for part in parts {
        hmac.update(part);
    }
    Zeroizing::new(hmac.finalize().into_bytes().into())
}
