//! What is demanded of the claims of a token.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::fault::{TokenFault, TokenFaultKind};
use crate::claims::{Claims, Pssid, TokenId};

/// Maximum length of the claims `pssid` and `jti` in bytes. Real ones have 23 to 36.
const ID_BYTES_MAX: usize = 128;

/// Claims that a token with `ver` 1 has besides `pssid` and `exp` (snap-tokens 0.8.6, `v1::SnapTokenClaims`).
const REQUIRED_IN_VERSION_1: [&str; 5] = ["iss", "aud", "nbf", "iat", "jti"];

/// What is demanded of the claims of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenRules {
    /// Value that `aud` has to contain if it is present; `snap` by default.
    pub audience: String,
    /// How far `nbf` and `iat` may be ahead of the clock of this host, 60 s by default. It does not apply to `exp`: a
    /// registration ends at that moment, and the data plane would refuse what the control plane has just accepted.
    pub leeway: Duration,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            audience: "snap".to_owned(),
            leeway: Duration::from_secs(60),
        }
    }
}

impl TokenRules {
    /// Checks the claims of a token. `signed` is the signed part of the token, for an id if it has none.
    pub(super) fn check(
        &self,
        claims: &Map<String, Value>,
        signed: &str,
        now: Timestamp,
    ) -> Result<Claims, TokenFault> {
        check_version(claims)?;
        self.check_audience(claims)?;
        let leeway = SignedDuration::try_from(self.leeway).unwrap_or(SignedDuration::MAX);
        for (claim, fault) in [
            ("iat", TokenFaultKind::IssuedInFuture),
            ("nbf", TokenFaultKind::NotYetValid),
        ] {
            let ahead = time(claims, claim)?.map(|time| time.duration_since(now));
            if let Some(ahead) = ahead.filter(|ahead| *ahead > leeway) {
                return Err(TokenFault::ahead(fault, whole_seconds(ahead)));
            }
        }
        let expires = time(claims, "exp")?.ok_or(TokenFault::missing("exp"))?;
        if now >= expires {
            let ago = whole_seconds(now.duration_since(expires));
            return Err(TokenFault::expired(ago));
        }
        Ok(Claims {
            pssid: Pssid(id(claims, "pssid")?.ok_or(TokenFault::missing("pssid"))?),
            token: TokenId(id(claims, "jti")?.unwrap_or_else(|| derived_id(signed))),
            expires,
        })
    }

    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), TokenFault> {
        let is_ours = match claims.get("aud") {
            None => true,
            Some(Value::String(audience)) => *audience == self.audience,
            Some(Value::Array(audiences)) if audiences.iter().all(Value::is_string) => {
                let mut audiences = audiences.iter().filter_map(Value::as_str);
                audiences.any(|audience| audience == self.audience)
            }
            Some(_) => return Err(TokenFault::invalid("aud", "a string or a list of strings")),
        };
        if is_ours {
            Ok(())
        } else {
            Err(TokenFaultKind::Audience.into())
        }
    }
}

fn check_version(claims: &Map<String, Value>) -> Result<(), TokenFault> {
    match claims.get("ver") {
        None => return Ok(()),
        Some(version) if version.as_u64() == Some(1) => {}
        Some(_) => return Err(TokenFaultKind::Version.into()),
    }
    let is_absent = |claim: &&str| !claims.contains_key(*claim);
    if let Some(claim) = REQUIRED_IN_VERSION_1.into_iter().find(is_absent) {
        return Err(TokenFault::missing(claim));
    }
    if claims.get("iss").is_some_and(Value::is_string) {
        Ok(())
    } else {
        Err(TokenFault::invalid("iss", "a string"))
    }
}

/// Returns a time in whole seconds since 1970, if the claim is present. Fractions, which RFC 7519 allows, are refused,
/// as by snap-tokens 0.8.6.
fn time(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<Timestamp>, TokenFault> {
    let Some(value) = claims.get(claim) else {
        return Ok(None);
    };
    let seconds = value.as_i64().filter(|seconds| *seconds >= 0);
    match seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()) {
        Some(time) => Ok(Some(time)),
        None => Err(TokenFault::invalid(
            claim,
            "a time in whole seconds since 1970, before the year 10000",
        )),
    }
}

/// Returns an id, if the claim is present. Ids get into logs, lists and a store, so their length and characters are
/// limited.
fn id(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<Arc<str>>, TokenFault> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(id)) if is_id(id) => Ok(Some(Arc::from(id.as_str()))),
        Some(_) => Err(TokenFault::invalid(
            claim,
            "a text of 1 to 128 printable ASCII characters without spaces",
        )),
    }
}

/// Returns true for 1 to 128 printable ASCII characters without spaces.
pub(super) fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Derives the id of a token without `jti`: `sha256:` and the hash of the signed part in base64url. The signature is
/// left out, since the issuer can sign the same claims again.
fn derived_id(signed: &str) -> Arc<str> {
    let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, signed.as_bytes()));
    format!("sha256:{hash}").into()
}

/// Returns the seconds of a positive duration, rounded up.
fn whole_seconds(duration: SignedDuration) -> u64 {
    let duration = duration.unsigned_abs();
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn check(claims: Value) -> Result<Claims, TokenFault> {
        check_at(claims, Timestamp::from_second(NOW).unwrap())
    }

    fn check_at(claims: Value, now: Timestamp) -> Result<Claims, TokenFault> {
        let Value::Object(claims) = claims else {
            panic!("not an object");
        };
        TokenRules::default().check(&claims, "header.claims", now)
    }

    /// Claims as snap-tokens 0.8.6 makes them without `ver`.
    fn version_0() -> Value {
        json!({
            "pssid": "ef16640f-0fa9-4360-be74-dbeec7ab4f9a",
            "exp": NOW + 100,
            "jti": "ef16640f-0fa9-4360-be74-dbeec7ab4f9a",
        })
    }

    /// Claims as snap-tokens 0.8.6 makes them with `ver` 1.
    fn version_1() -> Value {
        json!({
            "ver": 1,
            "iss": "ssr",
            "aud": "snap",
            "exp": NOW + 100,
            "nbf": NOW - 5,
            "iat": NOW - 5,
            "jti": "3f1bdc44-9c26-4ff9-8a6c-2a6c1f1d2f10",
            "pssid": "ABI-RWfomxLTpFZCZhQXQAA",
            "aa_acc_subject_id": "subject",
            "aa_acc_allowed_dst": "[]",
        })
    }

    fn with(mut claims: Value, claim: &str, value: Value) -> Value {
        claims[claim] = value;
        claims
    }

    fn without(mut claims: Value, claim: &str) -> Value {
        claims.as_object_mut().unwrap().remove(claim).unwrap();
        claims
    }

    fn kind(claims: Value) -> Option<TokenFaultKind> {
        check(claims).err().map(|fault| fault.kind())
    }

    #[test]
    fn claims_of_both_versions_are_accepted() {
        let old = check(version_0()).unwrap();
        assert_eq!(&*old.pssid.0, "ef16640f-0fa9-4360-be74-dbeec7ab4f9a");
        assert_eq!(old.pssid.0, old.token.0);
        assert_eq!(old.expires.as_second(), NOW + 100);
        let new = check(version_1()).unwrap();
        assert_eq!(&*new.pssid.0, "ABI-RWfomxLTpFZCZhQXQAA");
        assert_eq!(&*new.token.0, "3f1bdc44-9c26-4ff9-8a6c-2a6c1f1d2f10");
    }

    #[test]
    fn every_claim_of_version_1_is_required() {
        for claim in ["iss", "aud", "nbf", "iat", "jti", "pssid", "exp"] {
            let fault = check(without(version_1(), claim)).unwrap_err();
            assert_eq!(fault, TokenFault::missing(claim));
        }
    }

    #[test]
    fn only_pssid_and_exp_are_required_without_a_version() {
        for claim in ["pssid", "exp"] {
            let fault = check(without(version_0(), claim)).unwrap_err();
            assert_eq!(fault, TokenFault::missing(claim));
        }
        check(without(version_0(), "jti")).unwrap();
    }

    #[test]
    fn other_versions_are_refused() {
        for version in [json!(0), json!(2), json!(1.0), json!("1"), json!(null)] {
            let claims = with(version_1(), "ver", version);
            assert_eq!(kind(claims), Some(TokenFaultKind::Version));
        }
    }

    #[test]
    fn the_audience_is_required_where_there_is_one() {
        for audience in [json!("snap"), json!(["snap"]), json!(["other", "snap"])] {
            check(with(version_0(), "aud", audience)).unwrap();
        }
        for audience in [json!("other"), json!(""), json!([]), json!(["SNAP"])] {
            let claims = with(version_0(), "aud", audience);
            assert_eq!(kind(claims), Some(TokenFaultKind::Audience));
        }
        for audience in [json!(null), json!(1), json!({}), json!(["snap", 1])] {
            let claims = with(version_0(), "aud", audience);
            assert_eq!(kind(claims), Some(TokenFaultKind::InvalidClaim));
        }
    }

    #[test]
    fn a_token_ends_at_exp_without_leeway() {
        let end = Timestamp::from_second(NOW + 100).unwrap();
        let just_before = end - SignedDuration::from_nanos(1);
        check_at(version_1(), just_before).unwrap();
        let fault = check_at(version_1(), end).unwrap_err();
        assert_eq!(fault, TokenFault::expired(0));
        let later = end + SignedDuration::from_millis(34_001);
        let fault = check_at(version_1(), later).unwrap_err();
        assert_eq!(fault, TokenFault::expired(35));
    }

    #[test]
    fn times_ahead_of_the_clock_beyond_the_leeway_are_clock_errors() {
        for (claim, fault) in [
            ("iat", TokenFaultKind::IssuedInFuture),
            ("nbf", TokenFaultKind::NotYetValid),
        ] {
            for claims in [version_0(), version_1()] {
                check(with(claims.clone(), claim, json!(NOW + 60))).unwrap();
                let refused = check(with(claims, claim, json!(NOW + 61))).unwrap_err();
                assert_eq!(refused, TokenFault::ahead(fault, 61));
            }
        }
    }

    #[test]
    fn the_leeway_is_configurable() {
        let Value::Object(claims) = with(version_1(), "iat", json!(NOW + 90)) else {
            panic!("not an object");
        };
        let now = Timestamp::from_second(NOW).unwrap();
        for (leeway, is_accepted) in [
            (Duration::ZERO, false),
            (Duration::from_secs(90), true),
            (Duration::MAX, true),
        ] {
            let rules = TokenRules {
                leeway,
                ..TokenRules::default()
            };
            let checked = rules.check(&claims, "", now);
            assert_eq!(checked.is_ok(), is_accepted, "{leeway:?}");
        }
    }

    #[test]
    fn times_that_are_no_whole_seconds_in_the_calendar_are_refused() {
        let milliseconds = NOW * 1000;
        for claim in ["exp", "nbf", "iat"] {
            for time in [
                json!(milliseconds),
                json!(u64::MAX),
                json!(-1),
                json!(1.5),
                json!("1800000100"),
                json!(null),
            ] {
                let fault = check(with(version_1(), claim, time.clone())).unwrap_err();
                assert_eq!(fault.kind(), TokenFaultKind::InvalidClaim, "{claim} {time}");
                assert!(fault.to_string().contains(claim));
            }
        }
    }

    #[test]
    fn ids_are_short_and_printable() {
        for claim in ["pssid", "jti"] {
            check(with(version_1(), claim, json!("~".repeat(128)))).unwrap();
            for id in [
                json!(""),
                json!("a".repeat(129)),
                json!("a b"),
                json!("a\nb"),
                json!("a\u{0}"),
                json!("\u{7f}"),
                json!("ä"),
                json!("\u{202e}"),
                json!(7),
                json!(null),
            ] {
                let fault = check(with(version_1(), claim, id)).unwrap_err();
                assert_eq!(fault.kind(), TokenFaultKind::InvalidClaim);
                assert!(fault.to_string().contains(claim));
            }
        }
    }

    #[test]
    fn a_token_without_an_id_gets_one_from_its_signed_part() {
        let Value::Object(claims) = without(version_0(), "jti") else {
            panic!("not an object");
        };
        let now = Timestamp::from_second(NOW).unwrap();
        let id = |signed| {
            let claims = TokenRules::default().check(&claims, signed, now).unwrap();
            claims.token.0
        };
        // echo -n header.claims | openssl dgst -sha256 -binary | basenc --base64url | tr -d =
        let expected = "sha256:gbIjcFQEao_64eph2wtdlTfCMdKa7HrSFDbEJCcuHEY";
        assert_eq!(&*id("header.claims"), expected);
        assert!(is_id(expected));
        assert_ne!(id("header.claims"), id("header.claimt"));
    }
}
