//! Documents with public keys: a PEM file, a JWK (RFC 7517, section 4; RFC 8037, section 2), or a JWK set (RFC 7517,
//! section 5).
//!
//! Entries of a set that are not Ed25519 keys for signatures are skipped, because sets often have keys for several
//! purposes. A set in which two keys have the same id is refused as a whole, since the choice between them would be a
//! guess.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::error::Category;
use tokio_rustls::rustls::pki_types::pem::{PemObject as _, SectionKind};

use super::keys::{Key, Keys};
use super::public_key::{PublicKey, PublicKeyFault};
use super::rules;

/// Maximum number of entries of a JWK set.
const KEYS_MAX: usize = 100;

/// DER of a SubjectPublicKeyInfo for Ed25519 up to the 32 bytes of the key (RFC 8410, section 4): a sequence of the
/// algorithm 1.3.101.112 and a bit string.
pub(super) const ED25519_INFO: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The keys of a document.
#[derive(Debug)]
pub(super) struct KeyDocument {
    pub(super) keys: Keys,
    pub(super) skipped: Vec<SkippedKey>,
}

/// An entry of a JWK set that is not used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SkippedKey {
    /// Position in the set, from 1.
    pub(super) position: usize,
    /// Its `kid`, if that is a usable one.
    pub(super) id: Option<String>,
    pub(super) reason: JwkFault,
}

/// Why a JWK is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JwkFault {
    /// It has a private or symmetric key (`d` or `k`).
    #[error("contains a private or symmetric key, which belongs only to the issuer of tokens")]
    Private,
    /// Not `"kty": "OKP"` and `"crv": "Ed25519"`.
    #[error("not an Ed25519 key (`kty` OKP, `crv` Ed25519)")]
    NotEd25519,
    /// `alg` is present and not `EdDSA`.
    #[error("for another algorithm than EdDSA (`alg`)")]
    Algorithm,
    /// `use` is present and not `sig`, or `key_ops` is present and lacks `verify`.
    #[error("not for the verification of signatures (`use`, `key_ops`)")]
    Use,
    /// `kid` is present and not an id.
    #[error("`kid` is not a text of 1 to 128 printable ASCII characters without spaces")]
    Id,
    /// `kid` is absent in a set with several keys.
    #[error("no `kid`, which each of several keys needs")]
    NoId,
    /// `x` is absent or not base64url.
    #[error("`x` is not the public key in base64url without padding")]
    Encoding,
    /// `x` is not a usable public key.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyFault),
}

/// Why a document with keys is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyDocumentFault {
    /// Position of the first fault, from 1.
    #[error("not JSON (line {line}, column {column})")]
    NotJson {
        /// Line of the first fault, from 1.
        line: usize,
        /// Column of the first fault, from 1.
        column: usize,
    },
    /// JSON, but not a JWK set.
    #[error(
        "expected a JWK set, an object with a list `keys`; a single key belongs into a file of a \
         public key"
    )]
    NotAKeySet,
    /// JSON, but not a JWK.
    #[error(
        "expected a JWK, an object with `kty`, `crv` and `x`; a set belongs into a file of a JWK set"
    )]
    NotAKey,
    /// A JWK that is not used.
    #[error("{0}")]
    Jwk(JwkFault),
    /// Contains a private key.
    #[error(
        "contains a private key, which belongs only to the issuer of tokens; give the public key \
         (openssl pkey -in PRIVATE -pubout)"
    )]
    PrivateKey,
    /// Neither JSON nor PEM.
    #[error("expected one section `BEGIN PUBLIC KEY` in PEM, or a JWK")]
    NotPem,
    /// A PEM section of another kind, such as a certificate, or several.
    #[error(
        "expected one section `BEGIN PUBLIC KEY` in PEM, got others; several keys belong into a JWK set"
    )]
    OtherPem,
    /// A public key of another algorithm.
    #[error("not an Ed25519 key; make one with openssl genpkey -algorithm ed25519")]
    NotEd25519,
    /// The Ed25519 key is unusable.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyFault),
    /// Number of keys of a set.
    #[error("{0} keys, more than 100")]
    TooManyKeys(usize),
    /// Two different keys have the same id. Positions from 1.
    #[error("keys {first} and {second} have the same `kid`")]
    DuplicateId {
        /// Position of the first key, from 1.
        first: usize,
        /// Position of the second key, from 1.
        second: usize,
    },
    /// A file without a usable key.
    #[error("contains no Ed25519 key for signatures{}", first_reason(.0))]
    NoKey(Option<JwkFault>),
}

fn first_reason(skipped: &Option<JwkFault>) -> String {
    skipped.map_or_else(String::new, |reason| format!("; the first entry: {reason}"))
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

/// A JWK. Only the public members are kept.
#[derive(Deserialize)]
struct Jwk {
    kty: Option<Value>,
    crv: Option<Value>,
    x: Option<Value>,
    kid: Option<Value>,
    alg: Option<Value>,
    #[serde(rename = "use")]
    usage: Option<Value>,
    key_ops: Option<Value>,
    /// The private key of the types OKP, EC and RSA.
    d: Option<IgnoredAny>,
    /// The symmetric key of the type oct.
    k: Option<IgnoredAny>,
    /// A JWK set has this member.
    keys: Option<IgnoredAny>,
}

impl KeyDocument {
    /// Parses one public key, in PEM or as a JWK.
    pub(super) fn of_public_key(document: &[u8]) -> Result<Self, KeyDocumentFault> {
        let document = without_byte_order_mark(document);
        let key = if document.trim_ascii_start().starts_with(b"{") {
            let jwk: Jwk = parse_json(document, KeyDocumentFault::NotAKey)?;
            match jwk.read() {
                _ if jwk.keys.is_some() => return Err(KeyDocumentFault::NotAKey),
                Err(JwkFault::Private) => return Err(KeyDocumentFault::PrivateKey),
                read => read.map_err(KeyDocumentFault::Jwk)?,
            }
        } else {
            Key {
                id: None,
                public_key: parse_pem(document)?,
            }
        };
        Ok(Self {
            keys: Keys::new(vec![key]),
            skipped: Vec::new(),
        })
    }

    /// Parses a JWK set.
    pub(super) fn of_jwk_set(document: &[u8]) -> Result<Self, KeyDocumentFault> {
        let document = without_byte_order_mark(document);
        let set: JwkSet = parse_json(document, KeyDocumentFault::NotAKeySet)?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeyDocumentFault::TooManyKeys(set.keys.len()));
        }
        let mut skipped = Vec::new();
        let mut keys: Vec<(usize, Key)> = Vec::new();
        for (jwk, position) in set.keys.iter().zip(1..) {
            match jwk.read() {
                Ok(key) => keys.push((position, key)),
                Err(reason) => skipped.push(SkippedKey {
                    position,
                    id: jwk.id().ok().flatten(),
                    reason,
                }),
            }
        }
        // An entry that is repeated is one key.
        let mut distinct: Vec<(usize, Key)> = Vec::new();
        for (position, key) in keys {
            match distinct.iter().find(|(_, other)| other.id == key.id) {
                Some((_, other)) if *other == key => {}
                Some((first, _)) if key.id.is_some() => {
                    return Err(KeyDocumentFault::DuplicateId {
                        first: *first,
                        second: position,
                    });
                }
                _ => distinct.push((position, key)),
            }
        }
        if distinct.len() > 1 {
            distinct.retain(|(position, key)| {
                if key.id.is_none() {
                    skipped.push(SkippedKey {
                        position: *position,
                        id: None,
                        reason: JwkFault::NoId,
                    });
                }
                key.id.is_some()
            });
        }
        Ok(Self {
            keys: Keys::new(distinct.into_iter().map(|(_, key)| key).collect()),
            skipped,
        })
    }

    /// Refuses a document with a private key, or without a usable key. It is for files: an operator may have confused
    /// them. In a set from a URL such a key is skipped, so that tokens of a key that is no longer private are refused.
    pub(super) fn require_public_keys(self) -> Result<Self, KeyDocumentFault> {
        let is_private = |skipped: &SkippedKey| skipped.reason == JwkFault::Private;
        if self.skipped.iter().any(is_private) {
            Err(KeyDocumentFault::PrivateKey)
        } else if self.keys.len() == 0 {
            let first = self.skipped.first().map(|skipped| skipped.reason);
            Err(KeyDocumentFault::NoKey(first))
        } else {
            Ok(self)
        }
    }
}

impl Jwk {
    fn read(&self) -> Result<Key, JwkFault> {
        if self.d.is_some() || self.k.is_some() {
            return Err(JwkFault::Private);
        }
        let is = |member: &Option<Value>, value| member.as_ref().is_some_and(|m| m == value);
        let is_or_absent = |member: &Option<Value>, value| member.is_none() || is(member, value);
        if !is(&self.kty, "OKP") || !is(&self.crv, "Ed25519") {
            return Err(JwkFault::NotEd25519);
        }
        if !is_or_absent(&self.alg, "EdDSA") {
            return Err(JwkFault::Algorithm);
        }
        let can_verify = self.key_ops.as_ref().is_none_or(|operations| {
            let operations = operations.as_array();
            operations.is_some_and(|operations| operations.iter().any(|o| o == "verify"))
        });
        if !can_verify || !is_or_absent(&self.usage, "sig") {
            return Err(JwkFault::Use);
        }
        let id = self.id()?;
        let x = self.x.as_ref().and_then(Value::as_str);
        let bytes = x.and_then(|x| URL_SAFE_NO_PAD.decode(x).ok());
        let public_key = PublicKey::from_bytes(&bytes.ok_or(JwkFault::Encoding)?)?;
        Ok(Key { id, public_key })
    }

    fn id(&self) -> Result<Option<String>, JwkFault> {
        match &self.kid {
            None => Ok(None),
            Some(Value::String(id)) if rules::is_id(id) => Ok(Some(id.clone())),
            Some(_) => Err(JwkFault::Id),
        }
    }
}

/// Parses JSON. The message of serde_json is not used, since it may contain text of the document.
fn parse_json<T: DeserializeOwned>(
    document: &[u8],
    other: KeyDocumentFault,
) -> Result<T, KeyDocumentFault> {
    serde_json::from_slice(document).map_err(|error| match error.classify() {
        Category::Data => other,
        Category::Syntax | Category::Eof | Category::Io => KeyDocumentFault::NotJson {
            line: error.line(),
            column: error.column(),
        },
    })
}

fn parse_pem(document: &[u8]) -> Result<PublicKey, KeyDocumentFault> {
    // Also those of other tools, whose sections the parser skips.
    const PRIVATE: &[u8] = b"PRIVATE KEY-----";
    if document.windows(PRIVATE.len()).any(|text| text == PRIVATE) {
        return Err(KeyDocumentFault::PrivateKey);
    }
    let sections: Vec<(SectionKind, Vec<u8>)> = <(SectionKind, Vec<u8>)>::pem_slice_iter(document)
        .collect::<Result<_, _>>()
        .map_err(|_| KeyDocumentFault::NotPem)?;
    match sections.as_slice() {
        [] => Err(KeyDocumentFault::NotPem),
        [(SectionKind::PublicKey, info)] => {
            let key = info.strip_prefix(&ED25519_INFO);
            Ok(PublicKey::from_bytes(
                key.ok_or(KeyDocumentFault::NotEd25519)?,
            )?)
        }
        _ => Err(KeyDocumentFault::OtherPem),
    }
}

/// Removes the mark that some editors write at the start of a text.
fn without_byte_order_mark(document: &[u8]) -> &[u8] {
    document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document)
}

#[cfg(test)]
mod tests;
