use std::fs;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::super::fault::{TokenFault, TokenFaultKind};
use super::super::rules::TokenRules;
use super::super::signing::{self, SigningKey, TestToken, TokenVersion};
use super::super::test_server::{TestServer, empty, ok};
use super::super::verifier::Verifier;
use super::*;

/// Limit for events that happen within milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Interval of regular refreshes that does not end during a test.
const NEVER: Duration = Duration::from_secs(3600);

const FAST: Pace = Pace {
    file_poll: Duration::from_millis(1),
    early_gap: Duration::ZERO,
};

/// The issuer of tokens, with one key.
struct Issuer {
    kid: &'static str,
    key: SigningKey,
}

impl Issuer {
    fn new(kid: &'static str) -> Self {
        let (key, _) = SigningKey::generate().unwrap();
        Self { kid, key }
    }

    fn jwk_set(&self) -> String {
        self.key.jwk_set(self.kid)
    }

    fn token(&self) -> String {
        let token = TestToken {
            pssid: "subscriber".to_owned(),
            jti: Some("token".to_owned()),
            lifetime: Duration::from_secs(60),
            audience: Some("snap".to_owned()),
            version: TokenVersion::V1,
            kid: Some(self.kid.to_owned()),
        };
        signing::sign(&self.key, &token, now())
    }
}

fn jwk_set_of(issuers: &[&Issuer]) -> String {
    let keys: Vec<Value> = issuers
        .iter()
        .map(|issuer| serde_json::from_str::<Value>(&issuer.jwk_set()).unwrap()["keys"][0].clone())
        .collect();
    json!({ "keys": keys }).to_string()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A key set that is refreshed, and its verifier.
struct Refreshed {
    keys: Arc<KeySet>,
    verifier: Verifier,
    task: JoinHandle<Infallible>,
}

impl Drop for Refreshed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Refreshed {
    fn open(source: KeySource, pace: Pace) -> Self {
        let keys = KeySet::open_with(source, pace).unwrap();
        Self {
            verifier: Verifier::new(Arc::clone(&keys), TokenRules::default()),
            task: tokio::spawn(Arc::clone(&keys).refresh()),
            keys,
        }
    }

    fn of_url(server: &TestServer, pace: Pace) -> Self {
        let source = KeySource::JwksUrl {
            url: server.url().parse().unwrap(),
            refresh_interval: NEVER,
        };
        Self::open(source, pace)
    }

    fn verify(&self, issuer: &Issuer) -> Option<TokenFaultKind> {
        let verified = self.verifier.verify(&issuer.token(), now());
        verified.err().map(|fault: TokenFault| fault.kind())
    }

    /// Waits for the end of the first request.
    async fn attempted(&self) {
        let attempted = tokio::time::timeout(PATIENCE, self.keys.attempted());
        attempted.await.unwrap();
    }

    /// Waits until the verdict about tokens of an issuer is `expected`.
    async fn until(&self, issuer: &Issuer, expected: Option<TokenFaultKind>) {
        until(|| self.verify(issuer) == expected).await;
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap();
}

fn write(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(&new, path).unwrap();
}

fn jwks_file(content: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    write(&path, content);
    (directory, path)
}

#[tokio::test]
async fn a_key_that_is_removed_from_a_file_verifies_nothing_any_more() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let (_directory, path) = jwks_file(&old.jwk_set());
    let keys = Refreshed::open(KeySource::JwksFile(path.clone()), FAST);
    assert_eq!(keys.verify(&old), None);
    assert_eq!(keys.verify(&new), Some(TokenFaultKind::UnknownKey));
    write(&path, &jwk_set_of(&[&old, &new]));
    keys.until(&new, None).await;
    assert_eq!(keys.verify(&old), None);
    write(&path, &new.jwk_set());
    keys.until(&old, Some(TokenFaultKind::UnknownKey)).await;
    assert_eq!(keys.verify(&new), None);
    assert_eq!(keys.keys.status().failures, 0);
}

#[tokio::test]
async fn keys_stay_in_force_while_their_file_is_missing_or_invalid() {
    let issuer = Issuer::new("a");
    let (_directory, path) = jwks_file(&issuer.jwk_set());
    let keys = Refreshed::open(KeySource::JwksFile(path.clone()), FAST);
    let status = || keys.keys.status();
    let failed = |failure| until(move || status().last_failure == failure);

    fs::remove_file(&path).unwrap();
    failed(Some(RefreshFailure::Unreadable)).await;
    assert_eq!(keys.verify(&issuer), None);
    let before = status();
    assert_eq!(before.failures, 1);

    for invalid in ["{", r#"{"keys": []}"#, "-----BEGIN PUBLIC KEY-----"] {
        let failures = status().failures;
        write(&path, invalid);
        until(|| status().failures > failures).await;
        assert_eq!(status().last_failure, Some(RefreshFailure::Invalid));
        assert_eq!(keys.verify(&issuer), None);
    }
    // Several looks at an invalid file are no success, and one failure.
    let failures = status().failures;
    assert_eq!(status().last_success, before.last_success);

    write(&path, &issuer.jwk_set());
    failed(None).await;
    assert!(status().last_success > before.last_success);
    assert_eq!(status().failures, failures);
    assert_eq!(keys.verify(&issuer), None);
}

#[tokio::test]
async fn the_time_of_the_last_success_follows_an_unchanged_file() {
    let issuer = Issuer::new("a");
    let (_directory, path) = jwks_file(&issuer.jwk_set());
    let keys = Refreshed::open(KeySource::JwksFile(path), FAST);
    let first = keys.keys.status().last_success.unwrap();
    until(|| keys.keys.status().last_success.unwrap() > first).await;
}

#[tokio::test]
async fn a_public_key_in_a_file_verifies_tokens_with_any_id() {
    let issuer = Issuer::new("insecure-const-test-key");
    let (_directory, path) = jwks_file(&issuer.key.public_key_pem());
    let keys = Refreshed::open(KeySource::PublicKeyFile(path.clone()), FAST);
    assert_eq!(keys.verify(&issuer), None);
    let other = Issuer::new("other");
    assert_eq!(keys.verify(&other), Some(TokenFaultKind::Signature));
    write(&path, &other.key.public_key_pem());
    keys.until(&other, None).await;
    assert_eq!(keys.verify(&issuer), Some(TokenFaultKind::Signature));
}

#[test]
fn a_file_that_cannot_be_used_is_an_error_at_the_start() {
    let (_, private) = SigningKey::generate().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let open = |source: fn(PathBuf) -> KeySource| {
        let error = KeySet::open(source(path.clone())).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        error
    };
    let error = open(KeySource::JwksFile);
    assert!(error.contains("No such file"), "{error}");
    write(&path, &private);
    let error = open(KeySource::PublicKeyFile);
    assert!(error.contains("contains a private key"), "{error}");
    assert!(!error.contains(private.lines().nth(1).unwrap()), "{error}");
    write(&path, r#"{"keys": []}"#);
    let error = open(KeySource::JwksFile);
    assert!(error.contains("no Ed25519 key"), "{error}");
}

#[tokio::test]
async fn tokens_are_refused_until_the_url_has_answered() {
    let issuer = Issuer::new("a");
    let set = issuer.jwk_set();
    let server = TestServer::start(move |number, _| match number {
        0 => empty("503 Service Unavailable", ""),
        _ => ok("", &set),
    });
    let keys = Refreshed::of_url(&server, FAST);
    assert_eq!(keys.keys.status(), KeySetStatus::default());
    keys.attempted().await;
    let status = keys.keys.status();
    assert_eq!(status.last_failure, Some(RefreshFailure::Status));
    assert_eq!((status.keys, status.last_success), (0, None));
    // This token causes the second request.
    assert_eq!(keys.verify(&issuer), Some(TokenFaultKind::NoKeys));
    keys.until(&issuer, None).await;
    let status = keys.keys.status();
    assert_eq!(
        (status.keys, status.failures, status.last_failure),
        (1, 1, None)
    );
}

#[tokio::test]
async fn a_token_of_an_unknown_key_causes_an_early_refresh() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let sets = [old.jwk_set(), jwk_set_of(&[&old, &new])];
    let server = TestServer::start(move |number, _| ok("", &sets[number.min(1)]));
    let keys = Refreshed::of_url(&server, FAST);
    keys.attempted().await;
    assert_eq!(keys.verify(&old), None);
    assert_eq!(server.requests(), 1);
    assert_eq!(keys.verify(&new), Some(TokenFaultKind::UnknownKey));
    keys.until(&new, None).await;
    assert_eq!(keys.verify(&old), None);
}

#[tokio::test]
async fn many_tokens_of_unknown_keys_cause_one_request_per_gap() {
    let (known, unknown) = (Issuer::new("a"), Issuer::new("b"));
    let set = known.jwk_set();
    let server = TestServer::start(move |_, _| ok("", &set));
    let pace = Pace {
        early_gap: NEVER,
        ..FAST
    };
    let keys = Refreshed::of_url(&server, pace);
    keys.attempted().await;
    for _ in 0..1000 {
        assert_eq!(keys.verify(&unknown), Some(TokenFaultKind::UnknownKey));
        // Lets the task of the refresh and the server run.
        tokio::task::yield_now().await;
    }
    assert_eq!(server.requests(), 1);
    assert_eq!(keys.verify(&known), None);
}

#[tokio::test]
async fn forged_tokens_cause_no_request() {
    let issuer = Issuer::new("a");
    let set = issuer.jwk_set();
    let server = TestServer::start(move |_, _| ok("", &set));
    let keys = Refreshed::of_url(&server, FAST);
    keys.attempted().await;
    let forger = Issuer::new("a");
    for _ in 0..1000 {
        assert_eq!(keys.verify(&forger), Some(TokenFaultKind::Signature));
        tokio::task::yield_now().await;
    }
    assert_eq!(server.requests(), 1);
}

/// Starts a server whose answers are sent by the test. Without one it answers with status 503.
fn scripted_server() -> (TestServer, SyncSender<String>) {
    let (answers, script) = sync_channel::<String>(16);
    let script = Mutex::new(script);
    let server = TestServer::start(move |_, _| {
        let script = script.lock().unwrap();
        match script.try_recv() {
            Ok(set) => ok("", &set),
            Err(_) => empty("503 Service Unavailable", ""),
        }
    });
    (server, answers)
}

#[tokio::test]
async fn a_failed_refresh_leaves_the_keys_in_force() {
    let (known, unknown) = (Issuer::new("a"), Issuer::new("b"));
    let (server, answers) = scripted_server();
    answers.send(known.jwk_set()).unwrap();
    let keys = Refreshed::of_url(&server, FAST);
    keys.attempted().await;
    let before = keys.keys.status();
    assert_eq!(before.keys, 1);
    for _ in 0..3 {
        let failures = keys.keys.status().failures;
        assert_eq!(keys.verify(&unknown), Some(TokenFaultKind::UnknownKey));
        until(|| keys.keys.status().failures > failures).await;
        assert_eq!(keys.verify(&known), None);
    }
    let status = keys.keys.status();
    assert_eq!(status.last_failure, Some(RefreshFailure::Status));
    assert_eq!(status.last_success, before.last_success);

    answers.send("<html>".to_owned()).unwrap();
    keys.verify(&unknown);
    until(|| keys.keys.status().last_failure == Some(RefreshFailure::Invalid)).await;
    assert_eq!(keys.verify(&known), None);
}

#[tokio::test]
async fn a_key_that_the_url_no_longer_has_verifies_nothing_even_if_none_is_left() {
    let (first, second) = (Issuer::new("a"), Issuer::new("b"));
    let (server, answers) = scripted_server();
    for set in [
        jwk_set_of(&[&first, &second]),
        first.jwk_set(),
        jwk_set_of(&[]),
    ] {
        answers.send(set).unwrap();
    }
    let keys = Refreshed::of_url(&server, FAST);
    keys.attempted().await;
    assert_eq!((keys.verify(&first), keys.verify(&second)), (None, None));
    keys.keys.refresh_early();
    keys.until(&second, Some(TokenFaultKind::UnknownKey)).await;
    // The unknown key has caused the third request.
    until(|| keys.keys.status().keys == 0).await;
    assert_eq!(keys.verify(&first), Some(TokenFaultKind::NoKeys));
}

#[tokio::test]
async fn an_unchanged_document_is_a_success() {
    let issuer = Issuer::new("a");
    let set = issuer.jwk_set();
    let server = TestServer::start(move |_, head| {
        if head.to_lowercase().contains("if-none-match: \"1\"\r\n") {
            empty("304 Not Modified", "")
        } else {
            ok("ETag: \"1\"\r\n", &set)
        }
    });
    let keys = Refreshed::of_url(&server, FAST);
    keys.attempted().await;
    let first = keys.keys.status();
    keys.keys.refresh_early();
    until(|| keys.keys.status().last_success > first.last_success).await;
    assert_eq!(server.requests(), 2);
    assert_eq!(keys.keys.status().failures, 0);
    assert_eq!(keys.verify(&issuer), None);
}

/// Otherwise the answer 304 would make a success of it.
#[tokio::test]
async fn the_tag_of_an_invalid_document_is_not_remembered() {
    let server = TestServer::start(|_, head| {
        assert!(!head.to_lowercase().contains("if-none-match"), "{head}");
        ok("ETag: \"1\"\r\n", "{}")
    });
    let keys = Refreshed::of_url(&server, FAST);
    until(|| keys.keys.status().failures == 1).await;
    keys.keys.refresh_early();
    until(|| keys.keys.status().failures == 2).await;
    assert_eq!(
        keys.keys.status().last_failure,
        Some(RefreshFailure::Invalid)
    );
}

#[tokio::test]
async fn a_published_private_key_verifies_nothing() {
    let (good, leaked) = (Issuer::new("a"), Issuer::new("b"));
    let mut set: Value = serde_json::from_str(&jwk_set_of(&[&good, &leaked])).unwrap();
    set["keys"][1]["d"] = json!("secret");
    let server = TestServer::start(move |_, _| ok("", &set.to_string()));
    let keys = Refreshed::of_url(&server, FAST);
    keys.attempted().await;
    assert_eq!(keys.verify(&good), None);
    assert_eq!(keys.verify(&leaked), Some(TokenFaultKind::UnknownKey));
    let status = keys.keys.status();
    assert_eq!((status.keys, status.skipped), (1, 1));
}

#[test]
fn a_fixed_set_is_there_at_once() {
    let issuer = Issuer::new("a");
    let keys = KeySet::fixed(&issuer.jwk_set()).unwrap();
    let verifier = Verifier::new(keys, TokenRules::default());
    verifier.verify(&issuer.token(), now()).unwrap();
    assert!(KeySet::fixed(r#"{"keys": []}"#).is_err());
}
