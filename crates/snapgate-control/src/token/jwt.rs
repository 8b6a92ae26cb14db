//! The compact form of a signed JWT: header, claims and signature in base64url, separated by dots (RFC 7515, section
//! 7.1). The header and the claims are JSON objects; of members that occur twice the last one counts (RFC 7519,
//! section 4).
//!
//! No JWT library is used, because this is all there is to it: one algorithm, no header extension, and times that are
//! compared with an argument instead of the system clock. The tests and a fuzz target compare the result with such
//! libraries.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::fault::{TokenFault, TokenFaultKind};

/// Maximum length of a token in bytes. Tokens of snap-tokens 0.8.6 have about 500.
pub(super) const TOKEN_BYTES_MAX: usize = 8192;

/// A token whose signature was not checked.
pub(super) struct UnverifiedToken<'a> {
    /// Id of the key that signed it (header `kid`).
    pub(super) key_id: Option<String>,
    /// The signed part: header, dot and claims, as in the token.
    pub(super) signed: &'a str,
    claims: &'a str,
    signature: &'a str,
}

impl<'a> UnverifiedToken<'a> {
    /// Splits a token and checks its header.
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenFault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenFaultKind::TooLong.into());
        }
        let malformed = || TokenFault::from(TokenFaultKind::Malformed);
        let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
        if claims.contains('.') {
            return Err(malformed());
        }
        let mut header = decode_object(header)?;
        match header.get("alg") {
            Some(Value::String(algorithm)) if algorithm == "EdDSA" => {}
            Some(Value::String(_)) => return Err(TokenFaultKind::Algorithm.into()),
            _ => return Err(malformed()),
        }
        // With an extension, the signed part can have another meaning, such as claims that are not in base64url (RFC
        // 7797).
        if header.contains_key("crit") {
            return Err(TokenFaultKind::CriticalHeader.into());
        }
        let key_id = match header.remove("kid") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(malformed()),
        };
        Ok(Self {
            key_id,
            signed,
            claims,
            signature,
        })
    }

    /// Returns the bytes of the signature.
    pub(super) fn signature(&self) -> Result<Vec<u8>, TokenFault> {
        decode(self.signature)
    }

    /// Returns the claims. They count only if the signature is right.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, TokenFault> {
        decode_object(self.claims)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenFaultKind::Malformed.into())
}

fn decode_object(part: &str) -> Result<Map<String, Value>, TokenFault> {
    serde_json::from_slice(&decode(part)?).map_err(|_| TokenFaultKind::Malformed.into())
}
