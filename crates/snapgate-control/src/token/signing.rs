//! Test tokens, signed with a local key: for tutorials and tests.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::json;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::key_document::ED25519_INFO;

/// DER of a private key for Ed25519 in PKCS#8 up to the 32 bytes of the seed (RFC 8410, section 7).
const ED25519_PRIVATE: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Length of an Ed25519 seed in bytes.
const SEED_LEN: usize = 32;

/// An Ed25519 private key. It is not part of its debug output.
pub struct SigningKey(Ed25519KeyPair);

/// Why there is no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The text has no private key in PEM.
    #[error("expected a private key in PEM (BEGIN PRIVATE KEY)")]
    NotPem,
    /// The private key is not one for Ed25519.
    #[error("not an Ed25519 private key; make one with openssl genpkey -algorithm ed25519")]
    NotEd25519,
    /// The operating system has no random numbers.
    #[error("cannot get random numbers")]
    Random,
}

impl SigningKey {
    /// Makes a random key. Returns it, and its text in PEM as for [`Self::from_pem`].
    ///
    /// # Errors
    ///
    /// [`SigningKeyError::Random`].
    pub fn generate() -> Result<(Self, Zeroizing<String>), SigningKeyError> {
        let mut der = Zeroizing::new([0; ED25519_PRIVATE.len() + SEED_LEN]);
        let (info, seed) = der.split_at_mut(ED25519_PRIVATE.len());
        info.copy_from_slice(&ED25519_PRIVATE);
        rand::fill(seed).map_err(|_| SigningKeyError::Random)?;
        let key = Self::from_der(der.as_ref())?;
        Ok((key, Zeroizing::new(pem("PRIVATE KEY", der.as_ref()))))
    }

    /// Reads a key from PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    ///
    /// [`SigningKeyError`].
    pub fn from_pem(pem: &str) -> Result<Self, SigningKeyError> {
        let mut der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| SigningKeyError::NotPem)?;
        let key = Self::from_der(der.secret_pkcs8_der());
        der.zeroize();
        key
    }

    fn from_der(der: &[u8]) -> Result<Self, SigningKeyError> {
        Ed25519KeyPair::from_pkcs8(der)
            .map(Self)
            .map_err(|_| SigningKeyError::NotEd25519)
    }

    /// Returns the public key in PEM, for [`KeySource::PublicKeyFile`](super::KeySource::PublicKeyFile).
    pub fn public_key_pem(&self) -> String {
        let der = [&ED25519_INFO[..], self.public_key()].concat();
        pem("PUBLIC KEY", &der)
    }

    /// Returns a JWK set with the public key under the id `kid`, for
    /// [`KeySource::JwksFile`](super::KeySource::JwksFile).
    pub fn jwk_set(&self, kid: &str) -> String {
        let key = json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "use": "sig",
            "alg": "EdDSA",
            "kid": kid,
            "x": self.x(),
        });
        json!({ "keys": [key] }).to_string()
    }

    /// Returns an id that follows from the key: the thumbprint of its JWK (RFC 7638; RFC 8037, appendix A.3).
    pub fn thumbprint(&self) -> String {
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.x());
        URL_SAFE_NO_PAD.encode(digest(&SHA256, jwk.as_bytes()))
    }

    fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.public_key())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(public key {})", self.x())
    }
}

/// Encodes at most 48 bytes as a section of PEM, whose text then has one line.
fn pem(label: &str, der: &[u8]) -> String {
    // A text that grows would leave copies of a private key in memory.
    let mut text = String::with_capacity(256);
    text.extend(["-----BEGIN ", label, "-----\n"]);
    STANDARD.encode_string(der, &mut text);
    text.extend(["\n-----END ", label, "-----\n"]);
    text
}

/// Version of the claims of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenVersion {
    /// Without `ver`: only `pssid`, `exp`, and `jti` and `aud` if they are given.
    V0,
    /// With `ver` 1: also `iss`, `nbf` and `iat`.
    V1,
}

/// What a test token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestToken {
    /// Id of the subscriber.
    pub pssid: String,
    /// Id of the token; left out if `None`, which makes a token with `ver` 1 invalid.
    pub jti: Option<String>,
    /// Time from `now` to its end, in whole seconds.
    pub lifetime: Duration,
    /// Audience; left out if `None`, which makes a token with `ver` 1 invalid.
    pub audience: Option<String>,
    /// Version of the claims.
    pub version: TokenVersion,
    /// Id of the key in the header; left out if `None`.
    pub kid: Option<String>,
}

/// Returns a random id for a token: 16 bytes in base64url.
///
/// # Errors
///
/// [`SigningKeyError::Random`].
pub fn random_token_id() -> Result<String, SigningKeyError> {
    let mut id = [0; 16];
    rand::fill(&mut id).map_err(|_| SigningKeyError::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(id))
}

/// Signs a token that is valid from `now` on.
pub fn sign(key: &SigningKey, token: &TestToken, now: Timestamp) -> String {
    let mut header = json!({"alg": "EdDSA", "typ": "JWT"});
    if let Some(kid) = &token.kid {
        header["kid"] = json!(kid);
    }
    let now = now.as_second();
    let lifetime = i64::try_from(token.lifetime.as_secs()).unwrap_or(i64::MAX);
    let mut claims = json!({"pssid": token.pssid, "exp": now.saturating_add(lifetime)});
    if let Some(jti) = &token.jti {
        claims["jti"] = json!(jti);
    }
    if let Some(audience) = &token.audience {
        claims["aud"] = json!(audience);
    }
    if token.version == TokenVersion::V1 {
        claims["ver"] = json!(1);
        claims["iss"] = json!("snapgate token");
        claims["nbf"] = json!(now);
        claims["iat"] = json!(now);
    }
    let [header, claims] = [header, claims].map(|part| part.to_string());
    sign_parts(key, header.as_bytes(), claims.as_bytes())
}

/// Signs a header and claims of any content, to test verifiers.
pub fn sign_parts(key: &SigningKey, header: &[u8], claims: &[u8]) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let signed = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(key.0.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, appendix A.1, in PKCS#8.
    const RFC_8037_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";

    #[test]
    fn a_key_has_the_thumbprint_of_the_rfc() {
        let key = SigningKey::from_pem(RFC_8037_KEY).unwrap();
        assert_eq!(
            key.thumbprint(),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
        let text = format!("{key:?}");
        assert!(
            text.contains("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
            "{text}"
        );
    }

    /// RFC 8037, appendix A.4.
    #[test]
    fn a_signature_is_that_of_the_rfc() {
        let key = SigningKey::from_pem(RFC_8037_KEY).unwrap();
        let signed = sign_parts(&key, br#"{"alg":"EdDSA"}"#, b"Example of Ed25519 signing");
        let expected = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0Jzl\
                        nLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(signed, expected);
    }

    #[test]
    fn a_generated_key_is_read_again() {
        let (key, pem) = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(&pem).unwrap();
        assert_eq!(key.public_key(), again.public_key());
        let (other, _) = SigningKey::generate().unwrap();
        assert_ne!(key.public_key(), other.public_key());
    }

    #[test]
    fn other_texts_are_no_private_key() {
        let (key, _) = SigningKey::generate().unwrap();
        for text in ["", "key", &key.public_key_pem()] {
            let error = SigningKey::from_pem(text).unwrap_err();
            assert_eq!(error, SigningKeyError::NotPem);
        }
        let x25519 = RFC_8037_KEY.replace("K2Vw", "K2Vu");
        let error = SigningKey::from_pem(&x25519).unwrap_err();
        assert_eq!(error, SigningKeyError::NotEd25519);
    }

    #[test]
    fn debug_output_has_no_private_key() {
        let key = SigningKey::from_pem(RFC_8037_KEY).unwrap();
        let text = format!("{key:?} {key:#?}");
        assert!(
            !text.contains("nWGxne") && !text.contains("9d61b19d"),
            "{text}"
        );
    }
}
