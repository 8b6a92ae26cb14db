//! Handshake initiations with a chosen timestamp (WireGuard whitepaper, section 5.4.2).
//!
//! `Tunn` always uses the system clock.

use blake2::{Blake2s256, Digest as _};
use chacha20poly1305::aead::AeadInPlace as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use hmac::{Mac as _, SimpleHmac};
use rand::Rng as _;
use rand::rngs::SmallRng;
use snaptun::protocol::INITIATION_BYTES;
use snaptun::{PublicKey, StaticSecret};
use testkit::messages;

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// The TAI64 label of 1970, with the 37 leap seconds that `Tunn` adds.
const TAI64_OF_1970: u64 = (1 << 62) + 37;

/// Length of mac2 in bytes; it stays 0.
const MAC2_BYTES: usize = 16;

/// Returns an initiation of `identity` with the timestamp `seconds_since_1970`.
///
/// `None` if encryption fails, which happens only for 256 GiB of plaintext.
pub(crate) fn initiation(
    identity: &StaticSecret,
    gateway: &PublicKey,
    seconds_since_1970: u64,
    random: &mut SmallRng,
) -> Option<Vec<u8>> {
    let ephemeral = StaticSecret::from(random.random::<[u8; 32]>());
    let ephemeral_public = PublicKey::from(&ephemeral).to_bytes();
    let sender_index: [u8; 4] = random.random();
    let mut timestamp = [0; 12];
    timestamp[..8].copy_from_slice(&(TAI64_OF_1970 + seconds_since_1970).to_be_bytes());

    let chaining_key = hash(&[CONSTRUCTION]);
    let transcript = hash(&[&hash(&[&chaining_key, IDENTIFIER]), gateway.as_bytes()]);
    let transcript = hash(&[&transcript, &ephemeral_public]);
    let (chaining_key, _) = two_keys(&chaining_key, &ephemeral_public);
    let shared = ephemeral.diffie_hellman(gateway);
    let (chaining_key, key) = two_keys(&chaining_key, shared.as_bytes());
    let own_public = PublicKey::from(identity).to_bytes();
    let sealed_identity = seal(&key, &transcript, &own_public)?;
    let transcript = hash(&[&transcript, &sealed_identity]);
    let shared = identity.diffie_hellman(gateway);
    let (_, key) = two_keys(&chaining_key, shared.as_bytes());
    let sealed_timestamp = seal(&key, &transcript, &timestamp)?;

    let mut message = Vec::with_capacity(INITIATION_BYTES);
    message.extend_from_slice(&[1, 0, 0, 0]);
    message.extend_from_slice(&sender_index);
    message.extend_from_slice(&ephemeral_public);
    message.extend_from_slice(&sealed_identity);
    message.extend_from_slice(&sealed_timestamp);
    let mac1 = messages::mac1(gateway, &message);
    message.extend_from_slice(&mac1);
    message.extend_from_slice(&[0; MAC2_BYTES]);
    Some(message)
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Blake2s256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Returns the first two keys of `KDF` (section 5.4).
fn two_keys(chaining_key: &[u8; 32], input: &[u8]) -> ([u8; 32], [u8; 32]) {
    let extracted = keyed_hash(chaining_key, &[input]);
    let first = keyed_hash(&extracted, &[&[1]]);
    let second = keyed_hash(&extracted, &[&first, &[2]]);
    (first, second)
}

fn keyed_hash(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC pads a short key with zeros to the block length of BLAKE2s, 64 bytes.
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let mut hmac = <SimpleHmac<Blake2s256> as KeyInit>::new(&block.into());
    for part in parts {
        hmac.update(part);
    }
    hmac.finalize().into_bytes().into()
}

fn seal(key: &[u8; 32], authenticated: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let mut sealed = text.to_vec();
    ChaCha20Poly1305::new(key.into())
        .encrypt_in_place(&[0; 12].into(), authenticated, &mut sealed)
        .ok()?;
    Some(sealed)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::SystemTime;

    use ana_gotatun::noise::index_table::IndexTable;
    use ana_gotatun::noise::rate_limiter::RateLimiter;
    use ana_gotatun::noise::{Tunn, TunnResult};
    use ana_gotatun::packet::{Packet, WgKind};
    use bytes::BytesMut;
    use rand::SeedableRng as _;

    use super::*;
    use crate::{gateway_key, gateway_public_key};

    #[test]
    fn gateway_answers_the_initiation() {
        let identity = StaticSecret::from([1; 32]);
        let gateway = gateway_public_key();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let message =
            initiation(&identity, &gateway, now, &mut SmallRng::seed_from_u64(1)).unwrap();
        assert_eq!(message.len(), INITIATION_BYTES);

        let mut responder = Tunn::new(
            gateway_key(),
            PublicKey::from(&identity),
            None,
            None,
            IndexTable::from_os_rng(),
            Arc::new(RateLimiter::new(&gateway, u64::MAX)),
            SocketAddr::from(([127, 0, 0, 1], 1)),
        );
        let message = Packet::from_bytes(BytesMut::from(&message[..]));
        let answer = responder.handle_incoming_packet(message.try_into_wg().unwrap());
        assert!(matches!(
            answer,
            TunnResult::WriteToNetwork(WgKind::HandshakeResp(_))
        ));
    }
}
