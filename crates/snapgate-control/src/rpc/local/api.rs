//! Messages of the local interface.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::claims::{Identity, Pssid, TokenId};
use crate::registry::{Registration, Revocation, Selector};

/// A part of the registrations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegistrationPage {
    /// Registrations in the order of identities.
    pub registrations: Vec<RegistrationEntry>,
    /// Value of `after` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A registration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegistrationEntry {
    /// Static X25519 public key, in base64.
    pub identity: String,
    /// Subscriber.
    pub pssid: String,
    /// Id of the token (claim `jti`) that registered the identity last.
    pub token: String,
    /// End of the registration.
    pub expires: Timestamp,
}

impl From<Registration> for RegistrationEntry {
    fn from(registration: Registration) -> Self {
        Self {
            identity: identity_text(&registration.identity),
            pssid: registration.grant.pssid.0.to_string(),
            token: registration.grant.token.0.to_string(),
            expires: registration.grant.expires,
        }
    }
}

/// The revocations in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevocationList {
    /// The revocations.
    pub revocations: Vec<RevocationEntry>,
}

/// A revocation in force. Exactly one of the first three fields is present.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevocationEntry {
    /// Id of a token (claim `jti`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Subscriber.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pssid: Option<String>,
    /// Identity, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// End of the revocation.
    pub until: Timestamp,
}

impl From<Revocation> for RevocationEntry {
    fn from(revocation: Revocation) -> Self {
        let request = RevocationRequest::new(&revocation.selector, None);
        Self {
            token: request.token,
            pssid: request.pssid,
            identity: request.identity,
            until: revocation.until,
        }
    }
}

/// A request to revoke. Exactly one of the first three fields must be present.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationRequest {
    /// Id of a token (claim `jti`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Subscriber.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pssid: Option<String>,
    /// Identity, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// End of the revocation. Default: that of a token that is known; otherwise in 30 days, which should be longer than
    /// tokens are valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl RevocationRequest {
    pub(super) fn new(selector: &Selector, until: Option<Timestamp>) -> Self {
        let mut request = Self {
            until,
            ..Self::default()
        };
        match selector {
            Selector::Token(token) => request.token = Some(token.0.to_string()),
            Selector::Pssid(pssid) => request.pssid = Some(pssid.0.to_string()),
            Selector::Identity(identity) => request.identity = Some(identity_text(identity)),
        }
        request
    }

    /// Returns what is selected, or what is wrong.
    pub(super) fn selector(&self) -> Result<Selector, String> {
        match (&self.token, &self.pssid, &self.identity) {
            (Some(token), None, None) => Ok(Selector::Token(TokenId(token.as_str().into()))),
            (None, Some(pssid), None) => Ok(Selector::Pssid(Pssid(pssid.as_str().into()))),
            (None, None, Some(text)) => parse_identity(text).map(Selector::Identity),
            _ => Err("exactly one of token, pssid and identity is needed".to_owned()),
        }
    }
}

/// Answer to a revocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevocationAnswer {
    /// Number of registrations that it ended.
    pub ended: usize,
    /// Its end.
    pub until: Timestamp,
}

/// Answer to the removal of a revocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RemovalAnswer {
    /// False if there was no such revocation.
    pub existed: bool,
}

/// An error.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong.
    pub error: String,
}

pub(super) fn identity_text(identity: &Identity) -> String {
    BASE64_STANDARD.encode(identity)
}

pub(super) fn parse_identity(text: &str) -> Result<Identity, String> {
    let bytes = BASE64_STANDARD.decode(text).ok();
    let identity = bytes.and_then(|bytes| Identity::try_from(bytes).ok());
    identity.ok_or_else(|| format!("{text:?} is not an identity: 32 bytes in base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_selects_one_thing() {
        for selector in [
            Selector::Token(TokenId("a/b?c".into())),
            Selector::Pssid(Pssid("p".into())),
            Selector::Identity([7; 32]),
        ] {
            let request = RevocationRequest::new(&selector, None);
            assert_eq!(request.selector(), Ok(selector));
        }
        let mut both = RevocationRequest::new(&Selector::Identity([7; 32]), None);
        both.pssid = Some("p".to_owned());
        assert!(both.selector().is_err());
        assert!(RevocationRequest::default().selector().is_err());
    }

    #[test]
    fn an_identity_has_32_bytes_in_base64() {
        assert_eq!(parse_identity(&identity_text(&[7; 32])), Ok([7; 32]));
        for text in ["", "x", "AAAA", &BASE64_STANDARD.encode([7; 33])] {
            assert!(parse_identity(text).unwrap_err().contains("32 bytes"));
        }
    }
}
