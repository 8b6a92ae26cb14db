//! The authority that signs tokens.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::EncodePublicKey as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::{Signer as _, SigningKey};
use serde::Serialize;
use snap_tokens::{v0, v1};
use uuid::Uuid;

/// A subscriber of the SNAP, named by the `pssid` of its tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscriber(Uuid);

impl Subscriber {
    /// Returns a new subscriber.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "every call returns another value"
    )]
    pub fn new() -> Self {
        Self(Uuid::new_v4())
    }

    /// Returns the claim `pssid` of tokens of version 1.
    #[must_use]
    pub fn pssid(self) -> String {
        v1::Pssid::new(self.0).to_string()
    }
}

/// A signed token.
#[derive(Clone)]
pub struct Token {
    /// The token as clients send it.
    pub text: String,
    /// Its claim `jti`.
    pub jti: String,
}

/// An Ed25519 key that signs tokens, with a key ID.
///
/// Signs with other code than the gateway verifies with.
pub struct Issuer {
    key: SigningKey,
    key_id: String,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}

impl Issuer {
    /// Creates a key.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "every call returns another value"
    )]
    pub fn new() -> Self {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("random numbers");
        Self {
            key: SigningKey::from_bytes(&secret),
            key_id: Uuid::new_v4().to_string(),
        }
    }

    /// Returns a token of version 1 that ends after `lifetime`, in whole seconds.
    #[must_use]
    pub fn token(&self, subscriber: Subscriber, lifetime: Duration) -> Token {
        let now = SystemTime::now();
        self.token_between(subscriber, now, now + lifetime)
    }

    /// Returns a token of version 1 for a period.
    #[must_use]
    pub fn token_between(
        &self,
        subscriber: Subscriber,
        from: SystemTime,
        until: SystemTime,
    ) -> Token {
        let claims = v1::SnapTokenClaims::new(v1::Pssid::new(subscriber.0), from, from, until);
        Token {
            text: self.sign(&claims),
            jti: claims.jti,
        }
    }

    /// Returns a token of version 0, which has neither issuer, audience nor version.
    #[must_use]
    pub fn token_v0(&self, subscriber: Subscriber, lifetime: Duration) -> Token {
        let until = SystemTime::now() + lifetime;
        let claims = v0::SnapTokenClaims {
            pssid: v0::Pssid(subscriber.0),
            exp: until
                .duration_since(SystemTime::UNIX_EPOCH)
                .expect("a time after 1970")
                .as_secs(),
            jti: Uuid::new_v4().to_string(),
        };
        Token {
            text: self.sign(&claims),
            jti: claims.jti,
        }
    }

    /// Returns the public key as PEM file.
    #[must_use]
    pub fn public_key_pem(&self) -> String {
        let key = self.key.verifying_key();
        key.to_public_key_pem(LineEnding::LF).expect("a public key")
    }

    /// Returns a JWK set with the public keys of `issuers`.
    #[must_use]
    pub fn jwk_set(issuers: &[&Self]) -> String {
        let key = |issuer: &&Self| {
            serde_json::json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "EdDSA",
                "use": "sig",
                "kid": issuer.key_id,
                "x": BASE64_URL_SAFE_NO_PAD.encode(issuer.key.verifying_key().as_bytes()),
            })
        };
        let keys: Vec<_> = issuers.iter().map(key).collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    /// Returns a JWT with `claims`.
    fn sign(&self, claims: &impl Serialize) -> String {
        let header = Header {
            alg: "EdDSA",
            typ: "JWT",
            kid: &self.key_id,
        };
        let header = encode(&serde_json::to_vec(&header).expect("a header"));
        let claims = encode(&serde_json::to_vec(claims).expect("claims"));
        let message = format!("{header}.{claims}");
        let signature = encode(&self.key.sign(message.as_bytes()).to_bytes());
        format!("{message}.{signature}")
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
