use serde_json::json;

use super::super::fault::TokenFaultKind;
use super::super::signing::SigningKey;
use super::*;

/// The public keys of RFC 8032, section 7.1, tests 1 and 2. The first is that of RFC 8037, appendix A.2, too.
const X_1: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const X_2: &str = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw";

/// RFC 8037, appendix A.1.
const PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

fn key(id: &str, x: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
}

fn with(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

fn set(keys: &[Value]) -> Result<KeyDocument, KeyDocumentFault> {
    KeyDocument::of_jwk_set(json!({"keys": keys}).to_string().as_bytes())
}

/// Returns why a key is skipped that is the only one of a set.
fn reason(key: &Value) -> JwkFault {
    let document = set(std::slice::from_ref(key)).unwrap();
    assert_eq!(document.keys.len(), 0);
    assert_eq!(document.skipped.len(), 1);
    document.skipped[0].reason
}

fn public_key(document: &str) -> Result<KeyDocument, KeyDocumentFault> {
    KeyDocument::of_public_key(document.as_bytes())
}

#[test]
fn a_set_as_snap_tokens_publishes_it_is_read() {
    let document = json!({
        "keys": [{
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": "insecure-const-test-key",
            "x": X_1,
        }]
    });
    let read = KeyDocument::of_jwk_set(document.to_string().as_bytes()).unwrap();
    assert_eq!(read.skipped, []);
    read.keys.select(Some("insecure-const-test-key")).unwrap();
    read.keys.select(None).unwrap();
    let other = read.keys.select(Some("other")).unwrap_err();
    assert_eq!(other, TokenFaultKind::UnknownKey);
}

#[test]
fn a_key_is_selected_by_its_id() {
    let keys = set(&[key("a", X_1), key("b", X_2)]).unwrap().keys;
    assert_ne!(keys.select(Some("a")), keys.select(Some("b")));
    assert_eq!(keys.select(None), Err(TokenFaultKind::MissingKeyId));
    assert_eq!(keys.select(Some("c")), Err(TokenFaultKind::UnknownKey));
    let none = set(&[]).unwrap().keys;
    assert_eq!(none.select(None), Err(TokenFaultKind::NoKeys));
    assert_eq!(none.select(Some("a")), Err(TokenFaultKind::NoKeys));
}

#[test]
fn one_key_without_an_id_verifies_tokens_with_any_id() {
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": X_1});
    for keys in [
        set(std::slice::from_ref(&jwk)).unwrap().keys,
        public_key(&jwk.to_string()).unwrap().keys,
    ] {
        keys.select(None).unwrap();
        keys.select(Some("any")).unwrap();
    }
}

#[test]
fn each_of_several_keys_needs_an_id() {
    let without = json!({"kty": "OKP", "crv": "Ed25519", "x": X_1});
    let document = set(&[without.clone(), key("b", X_2)]).unwrap();
    document.keys.select(Some("b")).unwrap();
    assert_eq!(document.keys.len(), 1);
    let skipped = SkippedKey {
        position: 1,
        id: None,
        reason: JwkFault::NoId,
    };
    assert_eq!(document.skipped, [skipped]);

    let both = set(&[without.clone(), with(without, "x", json!(X_2))]).unwrap();
    assert_eq!((both.keys.len(), both.skipped.len()), (0, 2));
}

#[test]
fn keys_for_other_purposes_are_skipped() {
    let good = key("good", X_1);
    for (jwk, expected) in [
        (json!({}), JwkFault::NotEd25519),
        (
            json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
            JwkFault::NotEd25519,
        ),
        (
            json!({"kty": "EC", "crv": "P-256", "x": X_1, "y": X_1}),
            JwkFault::NotEd25519,
        ),
        (
            with(good.clone(), "kty", json!("new")),
            JwkFault::NotEd25519,
        ),
        (with(good.clone(), "kty", json!(1)), JwkFault::NotEd25519),
        (
            with(good.clone(), "crv", json!("X25519")),
            JwkFault::NotEd25519,
        ),
        (
            with(good.clone(), "crv", json!("Ed448")),
            JwkFault::NotEd25519,
        ),
        (
            with(good.clone(), "alg", json!("RS256")),
            JwkFault::Algorithm,
        ),
        (
            with(good.clone(), "alg", json!("HS256")),
            JwkFault::Algorithm,
        ),
        (with(good.clone(), "use", json!("enc")), JwkFault::Use),
        (
            with(good.clone(), "key_ops", json!(["sign"])),
            JwkFault::Use,
        ),
        (
            with(good.clone(), "key_ops", json!("verify")),
            JwkFault::Use,
        ),
        (with(good.clone(), "kid", json!(1)), JwkFault::Id),
        (with(good.clone(), "kid", json!("a\nb")), JwkFault::Id),
        (with(good.clone(), "kid", json!("")), JwkFault::Id),
        (with(good.clone(), "x", json!(1)), JwkFault::Encoding),
        (with(good.clone(), "x", json!(null)), JwkFault::Encoding),
        (
            with(good.clone(), "x", json!(format!("{X_1}="))),
            JwkFault::Encoding,
        ),
    ] {
        assert_eq!(reason(&jwk), expected, "{jwk}");
        // The others are still used.
        let document = set(&[jwk.clone(), good.clone()]).unwrap();
        document.keys.select(Some("good")).unwrap();
        assert_eq!(document.skipped.len(), 1, "{jwk}");
    }
    let with_operations = with(good, "key_ops", json!(["verify"]));
    assert_eq!(set(&[with_operations]).unwrap().skipped, []);
}

#[test]
fn unusable_points_are_skipped() {
    let of = |bytes: &[u8]| key("a", &URL_SAFE_NO_PAD.encode(bytes));
    let low_order = JwkFault::PublicKey(PublicKeyFault::LowOrder);
    assert_eq!(reason(&of(&[0; 32])), low_order);
    let short = JwkFault::PublicKey(PublicKeyFault::Length(31));
    assert_eq!(reason(&of(&[1; 31])), short);
    let mut two = [0; 32];
    two[0] = 2;
    let no_point = JwkFault::PublicKey(PublicKeyFault::NotAPoint);
    assert_eq!(reason(&of(&two)), no_point);
}

#[test]
fn private_keys_are_skipped_in_a_set_and_refused_in_a_file() {
    let okp = with(key("a", X_1), "d", json!(PRIVATE));
    let symmetric = json!({"kty": "oct", "k": PRIVATE, "alg": "HS256"});
    for private in [okp.clone(), symmetric] {
        assert_eq!(reason(&private), JwkFault::Private);
        let document = set(&[key("b", X_2), private]).unwrap();
        document.keys.select(Some("b")).unwrap();
        let fault = document.require_public_keys().unwrap_err();
        assert_eq!(fault, KeyDocumentFault::PrivateKey);
    }
    let fault = public_key(&okp.to_string()).unwrap_err();
    assert_eq!(fault, KeyDocumentFault::PrivateKey);
}

#[test]
fn two_keys_with_the_same_id_are_refused() {
    let keys = [key("a", X_1), json!({}), key("a", X_2)];
    let fault = set(&keys).unwrap_err();
    let duplicate = KeyDocumentFault::DuplicateId {
        first: 1,
        second: 3,
    };
    assert_eq!(fault, duplicate);
    // One that is skipped does not count, nor the same key again.
    let other = with(key("a", X_2), "use", json!("enc"));
    let keys = set(&[key("a", X_1), other, key("a", X_1)]).unwrap().keys;
    assert_eq!(keys.len(), 1);
    keys.select(Some("a")).unwrap();
}

#[test]
fn a_set_has_at_most_a_hundred_keys() {
    let keys: Vec<_> = (0..101).map(|id| key(&id.to_string(), X_1)).collect();
    assert_eq!(set(&keys[1..]).unwrap().keys.len(), 100);
    let fault = set(&keys).unwrap_err();
    assert_eq!(fault, KeyDocumentFault::TooManyKeys(101));
}

#[test]
fn documents_that_are_no_set_are_named() {
    let read = |text: &str| KeyDocument::of_jwk_set(text.as_bytes()).unwrap_err();
    let syntax = KeyDocumentFault::NotJson { line: 2, column: 1 };
    assert_eq!(read("{\n]"), syntax);
    assert!(matches!(read(""), KeyDocumentFault::NotJson { .. }));
    for other in [
        "[]",
        "null",
        "7",
        "{}",
        r#"{"keys": {}}"#,
        r#"{"keys": [1]}"#,
    ] {
        assert_eq!(read(other), KeyDocumentFault::NotAKeySet, "{other}");
    }
    assert_eq!(
        read(&key("a", X_1).to_string()),
        KeyDocumentFault::NotAKeySet
    );
}

#[test]
fn a_file_without_a_usable_key_is_refused() {
    let empty = set(&[]).unwrap().require_public_keys().unwrap_err();
    assert_eq!(empty, KeyDocumentFault::NoKey(None));
    let other = with(key("a", X_1), "crv", json!("X25519"));
    let fault = set(&[other]).unwrap().require_public_keys().unwrap_err();
    assert!(fault.to_string().contains("not an Ed25519 key"), "{fault}");
}

/// openssl genpkey -algorithm ed25519, then openssl pkey -pubout.
const OPENSSL_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
";

#[test]
fn a_public_key_is_read_from_pem_or_a_jwk() {
    let pem = public_key(OPENSSL_PUBLIC).unwrap();
    let jwk = public_key(&format!("\u{feff} \n{}", key("a", X_1))).unwrap();
    assert_eq!(pem.keys.select(None), jwk.keys.select(Some("a")));
    // The key in PEM has no id, and verifies tokens with any.
    pem.keys.select(Some("insecure-const-test-key")).unwrap();
    let text_before = format!("Key of the issuer\n\n{OPENSSL_PUBLIC}");
    public_key(&text_before).unwrap();
    public_key(&OPENSSL_PUBLIC.replace('\n', "\r\n")).unwrap();
}

#[test]
fn other_files_are_no_public_key() {
    let (_, private) = SigningKey::generate().unwrap();
    for private in [
        private.as_str(),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        &format!("{OPENSSL_PUBLIC}{}", private.as_str()),
    ] {
        let fault = public_key(private).unwrap_err();
        assert_eq!(fault, KeyDocumentFault::PrivateKey);
    }
    let certificate = OPENSSL_PUBLIC.replace("PUBLIC KEY", "CERTIFICATE");
    let twice = OPENSSL_PUBLIC.repeat(2);
    for other in [certificate, twice] {
        assert_eq!(public_key(&other).unwrap_err(), KeyDocumentFault::OtherPem);
    }
    let truncated = &OPENSSL_PUBLIC[..60];
    let damaged = OPENSSL_PUBLIC.replace("MCow", "!!!!");
    for other in ["", "key", X_1, truncated, &damaged] {
        assert_eq!(public_key(other).unwrap_err(), KeyDocumentFault::NotPem);
    }
    let x25519 = OPENSSL_PUBLIC.replace("K2Vw", "K2Vu");
    assert_eq!(
        public_key(&x25519).unwrap_err(),
        KeyDocumentFault::NotEd25519
    );
    let zero = OPENSSL_PUBLIC.replace(
        "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    );
    let low_order = KeyDocumentFault::PublicKey(PublicKeyFault::LowOrder);
    assert_eq!(public_key(&zero).unwrap_err(), low_order);
    let set = json!({"keys": [key("a", X_1)]}).to_string();
    assert_eq!(public_key(&set).unwrap_err(), KeyDocumentFault::NotAKey);
    assert!(matches!(
        public_key("{").unwrap_err(),
        KeyDocumentFault::NotJson { .. }
    ));
    assert_eq!(
        public_key(r#"{"kty": "OKP", "kty": "OKP"}"#).unwrap_err(),
        KeyDocumentFault::NotAKey
    );
    let other_type = KeyDocumentFault::Jwk(JwkFault::NotEd25519);
    assert_eq!(public_key("{}").unwrap_err(), other_type);
}

/// A message of serde_json may quote the text that it does not expect.
#[test]
fn faults_do_not_quote_the_document() {
    let documents = [
        format!(r#"{{"keys": "{PRIVATE}"}}"#),
        format!(r#"{{"keys": ["{PRIVATE}"]}}"#),
        format!(r#"{{"keys": [{{"d": "{PRIVATE}"}}]}}"#),
        format!(r#"{{"keys": {PRIVATE}"#),
        format!(r#""{PRIVATE}""#),
        PRIVATE.to_owned(),
    ];
    for document in documents {
        let set = KeyDocument::of_jwk_set(document.as_bytes())
            .and_then(KeyDocument::require_public_keys)
            .unwrap_err();
        let key = public_key(&document).unwrap_err();
        for fault in [set, key] {
            assert!(!format!("{fault} {fault:?}").contains(&PRIVATE[..8]));
        }
    }
}
