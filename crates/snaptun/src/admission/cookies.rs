//! Message authentication codes of handshake messages, and cookies.
//!
//! A cookie (WireGuard whitepaper, section 5.3) proves that its sender receives at its source address. `ana-gotatun`
//! also has cookies, but counts every source address in an unbounded map, and all of its cookies become invalid at once
//! every 128 s.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ana_gotatun::packet::{WgCookieReply, WgHandshakeBase};
use blake2::digest::consts::U16;
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use hmac::Mac;
use rand::RngCore as _;
use rand::rngs::StdRng;
use x25519_dalek::PublicKey;
use zeroize::Zeroize as _;

use crate::crypto::randomness::Randomness;
use crate::crypto::static_key::StaticKey;
use crate::protocol::COOKIE_LIFETIME;

/// Time for which cookies are made with one secret. They stay valid for as long again, because clients keep a cookie
/// for that time.
const SECRET_LIFETIME: Duration = COOKIE_LIFETIME;

pub(crate) struct Cookies {
    mac1_key: [u8; 32],
    reply_key: [u8; 32],
    /// Boxed, so that moving the shard leaves no copy.
    secrets: Box<Secrets>,
    /// Generator of random nonces: any order among them would show which replies come from one shard. 192 random bits
    /// do not repeat. `StdRng` is ChaCha12, so nonces do not reveal later ones.
    nonces: StdRng,
}

/// Cookie secrets of the current period and the previous one.
struct Secrets {
    root: [u8; 32],
    started: Instant,
    /// Number of the current period of [`SECRET_LIFETIME`] since `started`.
    period: u64,
    current: [u8; 32],
    previous: [u8; 32],
}

impl Cookies {
    pub(crate) fn new(
        now: Instant,
        private: &StaticKey,
        public: &PublicKey,
        randomness: &mut Randomness,
    ) -> Self {
        let mut nonces: StdRng = randomness.generator();
        Cookies {
            mac1_key: hash(b"mac1----", public),
            reply_key: hash(b"cookie--", public),
            secrets: Box::new(Secrets::new(now, private, nonces.next_u64())),
            nonces,
        }
    }

    /// Returns true if the mac1 is valid: the sender knows our public key. `datagram` is a message of type `M` in its
    /// exact length.
    pub(crate) fn is_mac1_valid<M: WgHandshakeBase>(&self, datagram: &[u8]) -> bool {
        let (Some(until_mac1), Some(mac1)) = (
            datagram.get(..M::MAC1_OFF),
            datagram.get(M::MAC1_OFF..M::MAC2_OFF),
        ) else {
            return false;
        };
        keyed(&self.mac1_key)
            .chain_update(until_mac1)
            .verify_slice(mac1)
            .is_ok()
    }

    /// Returns true if the message carries a cookie that was issued to its source address.
    pub(crate) fn are_shown_by<M: WgHandshakeBase>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &M,
    ) -> bool {
        // The mac2 of a sender without a cookie.
        if *message.mac2() == [0; 16] {
            return false;
        }
        self.secrets.renew_if_due(now);
        let shows = |secret: &[u8; 32]| {
            <Blake2sMac<U16> as KeyInit>::new_from_slice(&cookie(secret, from)).is_ok_and(|mac| {
                mac.chain_update(message.until_mac2())
                    .verify_slice(message.mac2())
                    .is_ok()
            })
        };
        shows(&self.secrets.current) || shows(&self.secrets.previous)
    }

    /// Returns a reply that carries the cookie of the message's source address.
    pub(crate) fn reply_to<M: WgHandshakeBase>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &M,
    ) -> WgCookieReply {
        self.secrets.renew_if_due(now);
        let mut reply = WgCookieReply::new();
        reply.receiver_idx.set(message.sender_idx());
        self.nonces.fill_bytes(&mut reply.nonce);
        let nonce = reply.nonce;
        let mut sealed = cookie(&self.secrets.current, from);
        // Fails only for texts of many gigabytes; the tag then stays zero, and the client refuses the reply.
        if let Ok(tag) = <XChaCha20Poly1305 as KeyInit>::new(&self.reply_key.into())
            .encrypt_in_place_detached(&nonce.into(), message.mac1(), &mut sealed)
        {
            reply.encrypted_cookie.tag = tag.into();
        }
        reply.encrypted_cookie.encrypted = sealed;
        reply
    }
}

impl Secrets {
    /// `private` makes the secrets unpredictable, `salt` different in each shard and process.
    fn new(now: Instant, private: &StaticKey, salt: u64) -> Self {
        let root = Blake2s256::new()
            .chain_update(b"snapgate cookie secret")
            .chain_update(private.as_bytes())
            .chain_update(salt.to_le_bytes())
            .finalize();
        let mut secrets = Secrets {
            root: root.into(),
            started: now,
            period: 0,
            current: [0; 32],
            previous: [0; 32],
        };
        secrets.set_period(1);
        secrets
    }

    fn renew_if_due(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.started).as_secs();
        // Starts at 1, because the first period has a previous one too.
        let period = 1 + age / SECRET_LIFETIME.as_secs();
        if period > self.period {
            self.set_period(period);
        }
    }

    fn set_period(&mut self, period: u64) {
        self.period = period;
        [self.previous, self.current] = [period - 1, period].map(|period| {
            let secret = Blake2s256::new()
                .chain_update(self.root)
                .chain_update(period.to_le_bytes());
            secret.finalize().into()
        });
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        for secret in [&mut self.root, &mut self.current, &mut self.previous] {
            secret.zeroize();
        }
    }
}

/// Returns the cookie of an address.
fn cookie(secret: &[u8; 32], from: SocketAddr) -> [u8; 16] {
    let mac = keyed(secret);
    let mac = match from.ip() {
        IpAddr::V4(ip) => mac.chain_update(ip.octets()),
        IpAddr::V6(ip) => mac.chain_update(ip.octets()),
    };
    mac.chain_update(from.port().to_be_bytes())
        .finalize()
        .into_bytes()
        .into()
}

fn keyed(key: &[u8; 32]) -> Blake2sMac<U16> {
    <Blake2sMac<U16> as KeyInit>::new(key.into())
}

fn hash(label: &[u8; 8], public: &PublicKey) -> [u8; 32] {
    Blake2s256::new()
        .chain_update(label)
        .chain_update(public.as_bytes())
        .finalize()
        .into()
}
