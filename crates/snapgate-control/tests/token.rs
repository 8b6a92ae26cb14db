//! Tokens, as issuers sign them and as attackers change them.
#![expect(
    clippy::unwrap_used,
    reason = "clippy exempts test functions, but not their helpers"
)]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use snapgate_control::Claims;
use snapgate_control::token::signing::{self, SigningKey, TestToken, TokenVersion};
use snapgate_control::token::{KeySet, TokenFault, TokenFaultKind, TokenRules, Verifier};

const NOW: i64 = 1_800_000_000;

/// The constant key of snap-tokens 0.8.6 (`insecure_const_snap_token_key_pair`): 32 bytes of 43.
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEICsrKysrKysrKysrKysrKysrKysrKysrKysrKysrKysr
-----END PRIVATE KEY-----
";
const KID: &str = "insecure-const-test-key";

struct Issuer {
    key: SigningKey,
    encoding_key: EncodingKey,
    decoding_key: DecodingKey,
    verifier: Verifier,
}

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| {
    let key = SigningKey::from_pem(PRIVATE_KEY).unwrap();
    let keys = KeySet::fixed(&key.jwk_set(KID)).unwrap();
    Issuer {
        encoding_key: EncodingKey::from_ed_pem(PRIVATE_KEY.as_bytes()).unwrap(),
        decoding_key: DecodingKey::from_ed_pem(key.public_key_pem().as_bytes()).unwrap(),
        verifier: Verifier::new(keys, TokenRules::default()),
        key,
    }
});

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn verify(token: &str) -> Result<Claims, TokenFault> {
    ISSUER.verifier.verify(token, now())
}

fn kind(token: &str) -> Option<TokenFaultKind> {
    verify(token).err().map(|fault| fault.kind())
}

fn sign(header: &Value, claims: &Value) -> String {
    signing::sign_parts(
        &ISSUER.key,
        header.to_string().as_bytes(),
        claims.to_string().as_bytes(),
    )
}

fn header() -> Value {
    json!({"typ": "JWT", "alg": "EdDSA", "kid": KID})
}

/// `snap_tokens::v0::SnapTokenClaims` of version 0.8.6.
#[derive(Serialize)]
struct ClaimsV0 {
    pssid: &'static str,
    exp: u64,
    jti: &'static str,
}

/// `snap_tokens::v1::SnapTokenClaims` of version 0.8.6, with two private claims.
#[derive(Serialize)]
struct ClaimsV1 {
    ver: usize,
    iss: &'static str,
    aud: &'static str,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: &'static str,
    pssid: &'static str,
    aa_acc_subject_id: &'static str,
    aa_acc_allowed_dst: &'static str,
}

/// Signs claims in the way of snap-tokens.
fn snap_token(claims: &impl Serialize) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(KID.to_owned());
    jsonwebtoken::encode(&header, claims, &ISSUER.encoding_key).unwrap()
}

fn token_v0() -> String {
    snap_token(&ClaimsV0 {
        pssid: "ef16640f-0fa9-4360-be74-dbeec7ab4f9a",
        exp: NOW as u64 + 86_400,
        jti: "ef16640f-0fa9-4360-be74-dbeec7ab4f9a",
    })
}

fn claims_v1() -> ClaimsV1 {
    ClaimsV1 {
        ver: 1,
        iss: "ssr",
        aud: "snap",
        exp: NOW as u64 + 3600,
        nbf: NOW as u64,
        iat: NOW as u64,
        jti: "3f1bdc44-9c26-4ff9-8a6c-2a6c1f1d2f10",
        pssid: "ABI-RWfomxLTpFZCZhQXQAA",
        aa_acc_subject_id: "subject",
        aa_acc_allowed_dst: "[]",
    }
}

#[test]
fn tokens_of_snap_tokens_are_accepted() {
    let old = verify(&token_v0()).unwrap();
    assert_eq!(&*old.pssid.0, "ef16640f-0fa9-4360-be74-dbeec7ab4f9a");
    assert_eq!(&*old.token.0, "ef16640f-0fa9-4360-be74-dbeec7ab4f9a");
    assert_eq!(old.expires.as_second(), NOW + 86_400);
    let new = verify(&snap_token(&claims_v1())).unwrap();
    assert_eq!(&*new.pssid.0, "ABI-RWfomxLTpFZCZhQXQAA");
    assert_eq!(&*new.token.0, "3f1bdc44-9c26-4ff9-8a6c-2a6c1f1d2f10");
    assert_eq!(new.expires.as_second(), NOW + 3600);
}

/// The claims of stock SNAPs, as far as they demand them.
#[derive(Deserialize)]
struct StockClaims {
    pssid: String,
}

fn test_token(version: TokenVersion) -> TestToken {
    TestToken {
        pssid: "subscriber".to_owned(),
        jti: Some("token".to_owned()),
        lifetime: Duration::from_secs(60),
        audience: Some("snap".to_owned()),
        version,
        kid: Some(KID.to_owned()),
    }
}

#[test]
fn test_tokens_are_accepted_here_and_by_jsonwebtoken() {
    for version in [TokenVersion::V0, TokenVersion::V1] {
        let token = signing::sign(&ISSUER.key, &test_token(version), now());
        let claims = verify(&token).unwrap();
        assert_eq!(
            (&*claims.pssid.0, &*claims.token.0),
            ("subscriber", "token")
        );
        assert_eq!(claims.expires.as_second(), NOW + 60);
        let other = decode_with_jsonwebtoken(&token).unwrap();
        assert_eq!(other, "subscriber");
    }
    let bare = TestToken {
        jti: None,
        audience: None,
        kid: None,
        ..test_token(TokenVersion::V0)
    };
    let claims = verify(&signing::sign(&ISSUER.key, &bare, now())).unwrap();
    assert!(claims.token.0.starts_with("sha256:"));
    let invalid = TestToken {
        version: TokenVersion::V1,
        ..bare
    };
    let token = signing::sign(&ISSUER.key, &invalid, now());
    assert_eq!(kind(&token), Some(TokenFaultKind::MissingClaim));
}

/// Verifies a token as snap-control 0.8.6 does, except for the times, which it compares with the system clock. Returns
/// the `pssid`.
fn decode_with_jsonwebtoken(token: &str) -> Option<String> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["exp", "pssid"]);
    validation.set_audience(&["snap"]);
    validation.validate_exp = false;
    let data =
        jsonwebtoken::decode::<StockClaims>(token, &ISSUER.decoding_key, &validation).ok()?;
    Some(data.claims.pssid)
}

#[test]
fn only_eddsa_is_accepted() {
    let claims = json!({"pssid": "a", "exp": NOW + 60});
    for (algorithm, fault) in [
        (json!("none"), TokenFaultKind::Algorithm),
        (json!("HS256"), TokenFaultKind::Algorithm),
        (json!("RS256"), TokenFaultKind::Algorithm),
        (json!("ES256"), TokenFaultKind::Algorithm),
        (json!("Ed25519"), TokenFaultKind::Algorithm),
        (json!("eddsa"), TokenFaultKind::Algorithm),
        (json!(""), TokenFaultKind::Algorithm),
        (json!(null), TokenFaultKind::Malformed),
        (json!(["EdDSA"]), TokenFaultKind::Malformed),
    ] {
        let token = sign(&json!({"alg": algorithm, "kid": KID}), &claims);
        assert_eq!(kind(&token), Some(fault), "{algorithm}");
    }
    let without = sign(&json!({"kid": KID}), &claims);
    assert_eq!(kind(&without), Some(TokenFaultKind::Malformed));

    // Without a signature.
    let none = sign(&json!({"alg": "none"}), &claims);
    let (signed, _) = none.rsplit_once('.').unwrap();
    assert_eq!(kind(&format!("{signed}.")), Some(TokenFaultKind::Algorithm));

    // Signed with the public key as if it was a secret.
    let public_key = ISSUER.key.public_key_pem();
    let secret = EncodingKey::from_secret(public_key.as_bytes()).unwrap();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(KID.to_owned());
    let token = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
    assert_eq!(kind(&token), Some(TokenFaultKind::Algorithm));
}

#[test]
fn a_header_that_demands_an_extension_is_refused() {
    let claims = json!({"pssid": "a", "exp": NOW + 60});
    for extension in [json!(["b64"]), json!(["exp"]), json!([]), json!(null)] {
        let mut header = header();
        header["crit"] = extension;
        header["b64"] = json!(true);
        let token = sign(&header, &claims);
        assert_eq!(kind(&token), Some(TokenFaultKind::CriticalHeader));
    }
}

/// A token cannot bring its own key.
#[test]
fn keys_in_a_header_are_ignored() {
    let (attacker, _) = SigningKey::generate().unwrap();
    let set: Value = serde_json::from_str(&attacker.jwk_set(KID)).unwrap();
    let mut header = header();
    header["jwk"] = set["keys"][0].clone();
    header["jku"] = json!("http://127.0.0.1/jwks.json");
    let claims = json!({"pssid": "a", "exp": NOW + 60}).to_string();
    let forged = signing::sign_parts(&attacker, header.to_string().as_bytes(), claims.as_bytes());
    assert_eq!(kind(&forged), Some(TokenFaultKind::Signature));
    let genuine = signing::sign_parts(
        &ISSUER.key,
        header.to_string().as_bytes(),
        claims.as_bytes(),
    );
    verify(&genuine).unwrap();
}

#[test]
fn the_key_is_selected_by_its_id() {
    let claims = json!({"pssid": "a", "exp": NOW + 60});
    for (kid, fault) in [
        (json!(KID), None),
        (json!("other"), Some(TokenFaultKind::UnknownKey)),
        (json!(""), Some(TokenFaultKind::UnknownKey)),
        (json!(1), Some(TokenFaultKind::Malformed)),
        (json!(null), Some(TokenFaultKind::Malformed)),
    ] {
        let token = sign(&json!({"alg": "EdDSA", "kid": kid}), &claims);
        assert_eq!(kind(&token), fault, "{kid}");
    }
    verify(&sign(&json!({"alg": "EdDSA"}), &claims)).unwrap();
}

#[test]
fn tokens_of_up_to_8192_bytes_are_accepted() {
    let sizes = (5900..6100).map(|padding| {
        let claims = json!({"pssid": "a", "exp": NOW + 60, "padding": "x".repeat(padding)});
        let token = sign(&header(), &claims);
        let expected = (token.len() > 8192).then_some(TokenFaultKind::TooLong);
        assert_eq!(kind(&token), expected, "{}", token.len());
        token.len()
    });
    let sizes: Vec<_> = sizes.collect();
    assert!(sizes.iter().any(|size| (8190..=8192).contains(size)));
    assert!(sizes.iter().any(|size| (8193..=8195).contains(size)));
    assert_eq!(kind(&"a".repeat(1 << 20)), Some(TokenFaultKind::TooLong));
}

#[test]
fn texts_of_another_form_are_malformed() {
    let token = token_v0();
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts");
    };
    for text in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("Bearer {token}"),
        format!("{header}.{claims}.{signature}\u{e4}"),
        format!("\u{1f511}{token}"),
        format!("{header}.{claims}.+/"),
        format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode("[]")),
        format!(
            "{}.{claims}.{signature}",
            URL_SAFE_NO_PAD.encode("{\"alg\"")
        ),
        format!(
            "{}.{claims}.{signature}",
            URL_SAFE_NO_PAD.encode([0xff, 0xfe])
        ),
    ] {
        assert_eq!(kind(&text), Some(TokenFaultKind::Malformed), "{text}");
    }
    for claims in [
        &b"[]"[..],
        b"null",
        b"{",
        b"{}{}",
        b"\xff",
        b"{\"a\":\"\xff\"}",
        b"",
    ] {
        let token = signing::sign_parts(&ISSUER.key, header_bytes().as_slice(), claims);
        assert_eq!(kind(&token), Some(TokenFaultKind::Malformed));
    }
    let deep = format!("{}{}", "[".repeat(3000), "]".repeat(3000));
    let claims = format!(r#"{{"pssid": {deep}}}"#);
    let token = signing::sign_parts(&ISSUER.key, header_bytes().as_slice(), claims.as_bytes());
    assert!(token.len() <= 8192);
    assert_eq!(kind(&token), Some(TokenFaultKind::Malformed));
}

fn header_bytes() -> Vec<u8> {
    header().to_string().into_bytes()
}

#[test]
fn a_signature_of_another_length_is_wrong() {
    let token = token_v0();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    for length in (0..64).chain([65, 128]) {
        let mut other = signature.clone();
        other.resize(length, 0);
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(other));
        assert_eq!(kind(&token), Some(TokenFaultKind::Signature), "{length}");
    }
}

#[test]
fn no_prefix_of_a_token_is_accepted() {
    let token = token_v0();
    for end in 0..token.len() {
        assert!(kind(&token[..end]).is_some(), "{end}");
    }
}

#[test]
fn every_changed_bit_is_noticed() {
    let token = snap_token(&claims_v1());
    for position in 0..token.len() {
        for bit in 0..7 {
            let mut bytes = token.clone().into_bytes();
            bytes[position] ^= 1 << bit;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(kind(&changed).is_some(), "bit {bit} of byte {position}");
        }
    }
}

/// The text of a fault gets into logs and answers.
#[test]
fn faults_do_not_quote_tokens() {
    const SECRET: &str = "s3cr3t";
    let headers = [
        json!({"alg": SECRET}),
        json!({"alg": "EdDSA", "kid": SECRET}),
        json!({"alg": "EdDSA", "crit": [SECRET]}),
        json!({"kid": SECRET, "alg": {SECRET: 1}}),
    ];
    for header in &headers {
        assert_quotes_nothing(
            &sign(header, &json!({"pssid": SECRET, "exp": NOW + 60})),
            SECRET,
        );
    }
    for claim in ["ver", "iss", "aud", "exp", "nbf", "iat", "jti", "pssid"] {
        for value in [
            json!(SECRET),
            json!([SECRET]),
            json!(format!("{SECRET} ")),
            json!({SECRET: 1}),
        ] {
            let mut claims = serde_json::to_value(claims_v1()).unwrap();
            claims[claim] = value;
            let token = sign(&header(), &claims);
            if verify(&token).is_err() {
                assert_quotes_nothing(&token, SECRET);
            }
        }
    }
}

fn assert_quotes_nothing(token: &str, secret: &str) {
    let fault = verify(token).unwrap_err();
    let text = format!("{fault} {fault:?}");
    assert!(!text.contains(secret), "{text}");
    for part in token.split('.') {
        assert!(part.is_empty() || !text.contains(part), "{text}");
    }
}

#[test]
fn a_token_signed_again_keeps_its_derived_id() {
    let id = |pssid: &str, exp: i64| {
        let token = sign(&header(), &json!({"pssid": pssid, "exp": exp}));
        verify(&token).unwrap().token
    };
    assert_eq!(id("a", NOW + 60), id("a", NOW + 60));
    assert_ne!(id("a", NOW + 60), id("b", NOW + 60));
    assert_ne!(id("a", NOW + 60), id("a", NOW + 61));
}

#[test]
fn a_verifier_is_shared_by_threads() {
    fn is_shared(_: &(impl Send + Sync + Clone + 'static)) {}
    is_shared(&ISSUER.verifier);
    let keys: &Arc<KeySet> = ISSUER.verifier.keys();
    assert_eq!(keys.status().keys, 1);
}

/// Values that a claim may have; `None` leaves it out.
fn values(good: Vec<Value>) -> impl Strategy<Value = Option<Value>> {
    let odd = vec![
        json!(""),
        json!("snap"),
        json!([]),
        json!({}),
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(1.5),
        json!(NOW - 61),
        json!(NOW),
        json!(NOW + 60),
        json!(NOW + 61),
        json!(u64::MAX),
    ];
    prop_oneof![
        6 => proptest::sample::select(good).prop_map(Some),
        1 => proptest::sample::select(odd).prop_map(Some),
        1 => Just(None),
    ]
}

fn any_claims() -> impl Strategy<Value = Value> {
    let times = || values(vec![json!(NOW - 60), json!(NOW), json!(NOW + 60)]);
    let ids = || values(vec![json!("a"), json!("ABI-RWfomxLTpFZCZhQXQAA")]);
    let claims = (
        values(vec![json!(1)]),
        values(vec![json!("ssr")]),
        values(vec![json!("snap"), json!(["snap", "other"])]),
        values(vec![json!(NOW + 1), json!(NOW + 3600)]),
        times(),
        times(),
        ids(),
        ids(),
    );
    claims.prop_map(|(ver, iss, aud, exp, nbf, iat, jti, pssid)| {
        let claims = [
            ("ver", ver),
            ("iss", iss),
            ("aud", aud),
            ("exp", exp),
            ("nbf", nbf),
            ("iat", iat),
            ("jti", jti),
            ("pssid", pssid),
        ];
        let claims = claims.into_iter();
        claims
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    })
}

/// The rules of the documentation, in the simplest form.
fn is_allowed(claims: &Value) -> bool {
    let has = |claim: &str| claims.get(claim).is_some();
    let is_time = |claim, range: std::ops::RangeInclusive<i64>| {
        claims[claim]
            .as_i64()
            .is_some_and(|time| range.contains(&time))
    };
    let is_id = |claim: &str| {
        claims[claim]
            .as_str()
            .is_some_and(|id| !id.is_empty() && id.is_ascii() && id.len() <= 128)
    };
    let is_v1 = claims.get("ver") == Some(&json!(1));
    let has_all = ["iss", "aud", "nbf", "iat", "jti"].into_iter().all(has);
    (!has("ver") || (is_v1 && has_all && claims["iss"].is_string()))
        && is_id("pssid")
        && (!has("jti") || is_id("jti"))
        && is_time("exp", NOW + 1..=253_402_207_200)
        && (!has("nbf") || is_time("nbf", 0..=NOW + 60))
        && (!has("iat") || is_time("iat", 0..=NOW + 60))
}

proptest! {
    #[test]
    fn texts_are_never_accepted(text in ".{0,300}") {
        prop_assert!(verify(&text).is_err());
    }

    #[test]
    fn three_parts_of_json_without_a_key_are_never_accepted(
        claims in any_claims(),
        signature in proptest::collection::vec(any::<u8>(), 0..70),
    ) {
        let [header, claims] = [header(), claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let text = format!("{header}.{claims}.{signature}");
        prop_assert_eq!(kind(&text), Some(TokenFaultKind::Signature));
    }

    #[test]
    fn changed_tokens_are_never_accepted(
        start in 0..300_usize,
        length in 0..20_usize,
        text in "[A-Za-z0-9_.=-]{0,20}",
    ) {
        let token = token_v0();
        let start = start.min(token.len());
        let end = (start + length).min(token.len());
        let changed = [&token[..start], &text, &token[end..]].concat();
        prop_assert_eq!(verify(&changed).is_ok(), changed == token);
    }

    #[test]
    fn parts_of_two_tokens_do_not_make_a_third(choice in proptest::collection::vec(any::<bool>(), 3)) {
        let tokens = [token_v0(), snap_token(&claims_v1())];
        let parts = tokens.each_ref().map(|token| token.split('.').collect::<Vec<_>>());
        let mixed: Vec<_> = (0..3).map(|part| parts[usize::from(choice[part])][part]).collect();
        let mixed = mixed.join(".");
        prop_assert_eq!(verify(&mixed).is_ok(), tokens.contains(&mixed));
    }

    /// With the audience and the signature checked by jsonwebtoken.
    #[test]
    fn signed_claims_are_accepted_if_and_only_if_the_rules_allow_them(claims in any_claims()) {
        let token = sign(&header(), &claims);
        let stock = decode_with_jsonwebtoken(&token);
        let expected = is_allowed(&claims) && stock.is_some();
        let ours = verify(&token);
        prop_assert_eq!(ours.is_ok(), expected, "{} {:?}", claims, ours);
        if let Ok(ours) = ours {
            prop_assert_eq!(&*ours.pssid.0, stock.unwrap());
            prop_assert_eq!(Some(ours.expires.as_second()), claims["exp"].as_i64());
            if let Some(jti) = claims.get("jti") {
                prop_assert_eq!(Some(&*ours.token.0), jti.as_str());
            }
        }
    }

    #[test]
    fn any_signed_bytes_are_answered(
        header in proptest::collection::vec(any::<u8>(), 0..100),
        claims in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let token = signing::sign_parts(&ISSUER.key, &header, &claims);
        prop_assert!(verify(&token).is_err());
        let token = signing::sign_parts(&ISSUER.key, &header_bytes(), &claims);
        prop_assert!(verify(&token).is_err());
    }
}
