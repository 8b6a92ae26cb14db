//! Tokens, as clients present them to the control plane.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::Value;
use snapgate_control::token::signing::{self, SigningKey};
use snapgate_control::token::{KeySet, TokenRules, Verifier};

/// The time at which tokens are verified.
const NOW: i64 = 1_800_000_000;

/// The leeway of `nbf` and `iat`.
const LEEWAY: i64 = 60;

/// A constant private key, so that a run is reproducible: 32 bytes of 43.
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEICsrKysrKysrKysrKysrKysrKysrKysrKysrKysrKysr
-----END PRIVATE KEY-----
";

struct Issuer {
    key: SigningKey,
    verifier: Verifier,
}

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| {
    let key = SigningKey::from_pem(PRIVATE_KEY).expect("a private key");
    let keys = KeySet::fixed(&key.jwk_set("a")).expect("a key set");
    let verifier = Verifier::new(keys, TokenRules::default());
    Issuer { key, verifier }
});

/// Verifies `data` as a token, and as the header and the claims of a signed one, separated by a newline.
pub fn run(data: &[u8]) {
    let now = Timestamp::from_second(NOW).expect("a time");
    if let Ok(token) = std::str::from_utf8(data) {
        // The corpus has no token that is signed with this key.
        let verified = ISSUER.verifier.verify(token, now);
        assert!(verified.is_err(), "accepted without a signature");
    }
    let newline = data.iter().position(|byte| *byte == b'\n');
    let (header, claims) = match newline {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&br#"{"alg":"EdDSA"}"#[..], data),
    };
    let token = signing::sign_parts(&ISSUER.key, header, claims);
    let Ok(accepted) = ISSUER.verifier.verify(&token, now) else {
        return;
    };
    let header: Value = serde_json::from_slice(header).expect("a header in JSON");
    assert_eq!(header["alg"], "EdDSA");
    assert!(header.get("kid").is_none_or(|kid| kid == "a"), "{header}");
    assert!(header.get("crit").is_none(), "{header}");

    let claims: Value = serde_json::from_slice(claims).expect("claims in JSON");
    let text = |claim: &str| claims.get(claim).map(|text| text.as_str().expect("a text"));
    assert_eq!(text("pssid"), Some(&*accepted.pssid.0));
    match text("jti") {
        Some(jti) => assert_eq!(jti, &*accepted.token.0),
        None => assert!(accepted.token.0.starts_with("sha256:")),
    }
    for id in [&accepted.pssid.0, &accepted.token.0] {
        assert!((1..=128).contains(&id.len()), "{id:?}");
        assert!(id.bytes().all(|byte| byte.is_ascii_graphic()), "{id:?}");
    }
    let time = |claim: &str| {
        claims
            .get(claim)
            .map(|time| time.as_i64().expect("seconds"))
    };
    assert_eq!(time("exp"), Some(accepted.expires.as_second()));
    assert!(accepted.expires > now);
    for claim in ["nbf", "iat"] {
        assert!(
            time(claim).is_none_or(|time| time <= NOW + LEEWAY),
            "{claims}"
        );
    }
    let names_us = |aud: &Value| {
        *aud == "snap"
            || aud
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one == "snap"))
    };
    assert!(claims.get("aud").is_none_or(names_us), "{claims}");
    if let Some(version) = claims.get("ver") {
        assert_eq!(*version, 1);
        for claim in ["iss", "aud", "nbf", "iat", "jti"] {
            assert!(claims.get(claim).is_some(), "{claims}");
        }
    }
}
