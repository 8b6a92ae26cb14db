//! Why a token is refused.

use std::fmt;

use closed_enum::closed_enum;

closed_enum! {
    /// Kind of a [`TokenFault`], for a metric label.
    pub enum TokenFaultKind {
        TooLong: "too_long", "the token is longer than 8192 bytes";
        /// Not three parts in base64url (RFC 7515, section 7.1), a header or claims that are not a JSON object, or a
        /// header without a usable `alg` or `kid`.
        Malformed: "malformed", "the token is not a signed JWT in compact form";
        /// `alg` is not `EdDSA`; also for `none`.
        Algorithm: "algorithm", "the token is not signed with EdDSA";
        /// The header has a member `crit` (RFC 7515, section 4.1.11); no extension is supported.
        CriticalHeader: "critical_header", "the header of the token demands an extension (crit)";
        /// No key was loaded yet, or all were withdrawn.
        NoKeys: "no_keys", "no key to verify tokens is available; try again later";
        /// An early refresh of the keys was requested.
        UnknownKey: "unknown_key", "no key has the id in the header of the token (kid)";
        MissingKeyId: "missing_key_id", "the header of the token names none of the keys (kid)";
        Signature: "signature", "the signature of the token is wrong";
        Version: "version", "the version of the token is not supported (ver is neither absent nor 1)";
        MissingClaim: "missing_claim", "the token lacks a claim";
        InvalidClaim: "invalid_claim", "a claim of the token has an unusable value";
        Audience: "audience", "the token is for another audience (aud)";
        /// A clock error: the clock of this host is behind, or that of the issuer is ahead.
        IssuedInFuture: "issued_in_future", "clock error: the token was issued in the future (iat)";
        /// A clock error, or a token for later use.
        NotYetValid: "not_yet_valid", "clock error: the token is not valid yet (nbf)";
        Expired: "expired", "the token has expired (exp)";
    }
}

/// Why a token is refused.
///
/// Its text is for the client and the log. It contains names of claims and numbers of seconds, never the token or a
/// value of its claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenFault {
    kind: TokenFaultKind,
    detail: Detail,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Detail {
    None,
    Missing(&'static str),
    Invalid {
        claim: &'static str,
        expected: &'static str,
    },
    SecondsAgo(u64),
    SecondsAhead(u64),
}

impl TokenFault {
    /// Returns the kind, whose [`name`](TokenFaultKind::name) is for a metric label.
    #[must_use]
    pub const fn kind(&self) -> TokenFaultKind {
        self.kind
    }

    /// A required claim is absent.
    pub(super) const fn missing(claim: &'static str) -> Self {
        Self {
            kind: TokenFaultKind::MissingClaim,
            detail: Detail::Missing(claim),
        }
    }

    /// A claim has another type, length or range than `expected`.
    pub(super) const fn invalid(claim: &'static str, expected: &'static str) -> Self {
        Self {
            kind: TokenFaultKind::InvalidClaim,
            detail: Detail::Invalid { claim, expected },
        }
    }

    /// The token expired `seconds` ago.
    pub(super) const fn expired(seconds: u64) -> Self {
        Self {
            kind: TokenFaultKind::Expired,
            detail: Detail::SecondsAgo(seconds),
        }
    }

    /// The time in a claim is `seconds` ahead of the clock.
    pub(super) const fn ahead(kind: TokenFaultKind, seconds: u64) -> Self {
        Self {
            kind,
            detail: Detail::SecondsAhead(seconds),
        }
    }
}

impl From<TokenFaultKind> for TokenFault {
    fn from(kind: TokenFaultKind) -> Self {
        Self {
            kind,
            detail: Detail::None,
        }
    }
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match self.detail {
            Detail::None => Ok(()),
            Detail::Missing(claim) => write!(f, ": {claim}"),
            Detail::Invalid { claim, expected } => write!(f, ": {claim} is not {expected}"),
            Detail::SecondsAgo(seconds) => {
                write!(f, ", {seconds} s ago by the clock of this gateway")
            }
            Detail::SecondsAhead(seconds) => write!(
                f,
                ", {seconds} s ahead of the clock of this gateway; check the clocks of the gateway \
                 and of the issuer of the token"
            ),
        }
    }
}

impl std::error::Error for TokenFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_error_is_named_with_its_size_and_the_clocks_to_check() {
        let fault = TokenFault::ahead(TokenFaultKind::NotYetValid, 95);
        let text = fault.to_string();
        assert!(text.starts_with("clock error: "), "{text}");
        assert!(
            text.contains("95 s ahead of the clock of this gateway"),
            "{text}"
        );
        assert!(text.contains("issuer"), "{text}");
    }

    #[test]
    fn a_fault_in_a_claim_names_the_claim() {
        let missing = TokenFault::missing("exp").to_string();
        assert_eq!(missing, "the token lacks a claim: exp");
        let invalid = TokenFault::invalid("aud", "a string").to_string();
        assert!(invalid.ends_with(": aud is not a string"), "{invalid}");
    }

    #[test]
    fn the_limit_in_the_text_is_the_limit() {
        let limit = super::super::jwt::TOKEN_BYTES_MAX.to_string();
        assert!(TokenFaultKind::TooLong.to_string().contains(&limit));
    }
}
