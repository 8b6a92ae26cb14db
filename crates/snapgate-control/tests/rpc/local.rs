//! The local interface.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Uid;
use snapgate_control::registry::{Filter, Registration, Selector};
use snapgate_control::rpc::local::{Client, ClientError, SOCKET_NAME};
use snapgate_control::rpc::{ConnectionEnd, RefusalKind};
use snapgate_control::{Grant, Identity, Pssid, TokenId};
use tempfile::TempDir;

use crate::support::*;

fn start() -> (Running, Client, TempDir) {
    let directory = TempDir::new().unwrap();
    let running = Running::with(|settings| {
        settings.local_directory = Some(directory.path().to_owned());
    });
    let client = Client::new(directory.path());
    (running, client, directory)
}

fn registered(key: u8, pssid: &str) -> Registration {
    Registration {
        identity: [key; 32],
        grant: Grant {
            pssid: Pssid(pssid.into()),
            token: TokenId(format!("token-{key}").into()),
            expires: Timestamp::from_second(1_900_000_000).unwrap(),
        },
    }
}

/// Sends a request as text, and returns the answer as text.
fn exchange(directory: &TempDir, request: &str) -> String {
    let mut stream = UnixStream::connect(directory.path().join(SOCKET_NAME)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn registrations_are_listed_page_by_page() {
    let (running, client, _directory) = start();
    running.backend.change(|state| {
        state.registered = (1..=5).map(|key| registered(key, "a")).collect();
        state.registered.push(registered(6, "b & c"));
    });
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = client
            .registrations(after.as_ref(), 2, &Filter::default())
            .unwrap();
        assert!(page.registrations.len() <= 2);
        listed.extend(page.registrations);
        let Some(next) = page.next else {
            break;
        };
        assert_eq!(next, listed.last().unwrap().identity);
        let key = u8::try_from(listed.len()).unwrap();
        after = Some([key; 32]);
    }
    assert_eq!(listed.len(), 6);
    assert_eq!(
        listed[0].identity,
        "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
    );
    assert_eq!(listed[0].token, "token-1");
    assert_eq!(listed[0].expires.to_string(), "2030-03-17T17:46:40Z");

    for (pssid, token) in [
        (Some("b & c"), None),
        (None, Some("token-6")),
        (Some("b & c"), Some("token-6")),
    ] {
        let filter = Filter {
            pssid: pssid.map(|pssid| Pssid(pssid.into())),
            token: token.map(|token| TokenId(token.into())),
        };
        let found = client.registrations(None, 100, &filter).unwrap();
        assert_eq!(found.registrations, listed[5..]);
        assert_eq!(found.next, None);
    }
}

#[test]
fn what_is_revoked_can_be_listed_and_removed() {
    let (running, client, _directory) = start();
    running.backend.change(|state| {
        state.registered = (1..=3).map(|key| registered(key, "a")).collect();
    });
    let until = Timestamp::from_second(1_900_000_000).unwrap();
    let selectors = [
        Selector::Token(TokenId("token-1".into())),
        Selector::Identity([2; 32]),
        Selector::Pssid(Pssid("a".into())),
        Selector::Pssid(Pssid("no such + one?&=%".into())),
    ];
    let ended = selectors
        .iter()
        .map(|selector| client.revoke(selector, Some(until)).unwrap().ended);
    assert_eq!(ended.collect::<Vec<_>>(), [1, 1, 1, 0]);
    let listed = client.revocations().unwrap().revocations;
    assert_eq!(listed.len(), 4);
    assert_eq!(listed[0].token.as_deref(), Some("token-1"));
    assert_eq!(listed[1].identity.as_deref().map(str::len), Some(44));
    assert_eq!(listed[3].pssid.as_deref(), Some("no such + one?&=%"));
    assert!(listed.iter().all(|revocation| revocation.until == until));
    for selector in &selectors {
        assert!(client.unrevoke(selector).unwrap().existed);
        assert!(!client.unrevoke(selector).unwrap().existed);
    }
    assert_eq!(client.revocations().unwrap().revocations, []);
}

#[test]
fn errors_of_the_store_reach_the_command() {
    let (running, client, _directory) = start();
    running
        .backend
        .refuse(RefusalKind::Unavailable, "storage", "the disk is full");
    let error = client
        .revoke(&Selector::Identity([2; 32]), None)
        .unwrap_err();
    assert_eq!(error.to_string(), "the disk is full");
    assert!(matches!(client.revocations(), Err(ClientError::Refused(_))));
}

#[test]
fn a_revocation_does_not_wait_for_registrations() {
    let (running, client, _directory) = start();
    running.backend.hold();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..100)
            .map(|key| {
                scope.spawn({
                    let running = &running;
                    move || running.call(REGISTER, &registration(&[key + 1; 32])).status
                })
            })
            .collect();
        // As many as may be in progress at the same time.
        running.backend.wait_for_begun(64);
        client.revoke(&Selector::Identity([200; 32]), None).unwrap();
        running.backend.release();
        for answer in waiting {
            assert_eq!(answer.join().unwrap(), 200);
        }
    });
}

#[test]
fn every_revocation_is_in_force_while_storage_hangs() {
    let directory = TempDir::new().unwrap();
    let running = Running::with(|settings| {
        settings.local_directory = Some(directory.path().to_owned());
        settings.limits.request_time = NEVER;
    });
    let client = Client::new(directory.path());
    running.backend.change(|state| {
        state.registered = (1..=10).map(|key| registered(key, "a")).collect();
    });
    running.backend.storage.hang(true);
    thread::scope(|scope| {
        let revoking: Vec<_> = (1..=10)
            .map(|key| {
                let client = client.clone();
                scope.spawn(move || client.revoke(&Selector::Identity([key; 32]), None).unwrap())
            })
            .collect();
        // More than wait for storage at the same time.
        running.backend.wait_for_revoked(10);
        assert_eq!(running.backend.identities(), Vec::<Identity>::new());
        // Listings go on as well.
        assert_eq!(client.revocations().unwrap().revocations.len(), 10);
        let page = client.registrations(None, 10, &Filter::default()).unwrap();
        assert_eq!(page.registrations, []);
        running.backend.storage.hang(false);
        for answer in revoking {
            assert_eq!(answer.join().unwrap().ended, 1);
        }
    });
}

#[test]
fn a_revocation_that_is_not_stored_in_time_is_answered_as_in_force() {
    let directory = TempDir::new().unwrap();
    let running = Running::with(|settings| {
        settings.local_directory = Some(directory.path().to_owned());
        settings.limits.request_time = Duration::from_secs(1);
    });
    let client = Client::new(directory.path());
    running.backend.change(|state| {
        state.registered = (1..=6).map(|key| registered(key, "a")).collect();
    });
    running.backend.storage.hang(true);
    let until = Timestamp::from_second(1_900_000_000).unwrap();
    // More than wait for storage at the same time.
    thread::scope(|scope| {
        for key in 1..=6 {
            let client = &client;
            scope.spawn(move || {
                let selector = Selector::Identity([key; 32]);
                let error = client.revoke(&selector, Some(until)).unwrap_err();
                assert_eq!(
                    error.to_string(),
                    "the revocation is in force until 2030-03-17T17:46:40Z (registrations ended: 1) but not stored \
                     yet, a restart would forget it: the store did not answer within 1s"
                );
            });
        }
        scope.spawn(|| {
            let error = client.unrevoke(&Selector::Identity([1; 32])).unwrap_err();
            assert!(error.to_string().contains("not known"), "{error}");
        });
    });
    assert_eq!(running.backend.identities(), Vec::<Identity>::new());
    running.backend.storage.hang(false);
}

#[test]
fn wrong_requests_are_refused() {
    let (_running, _client, directory) = start();
    let request = |method: &str, path: &str, body: &str| {
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        exchange(&directory, &text)
    };
    for (method, path, body, status, text) in [
        ("GET", "/", "", 404, "there is no GET /"),
        ("PUT", "/revocations", "", 404, "there is no PUT"),
        (
            "GET",
            "/registrations?limit=0",
            "",
            400,
            "limit must be 1 to 1000",
        ),
        (
            "GET",
            "/registrations?after=x",
            "",
            400,
            "32 bytes in base64",
        ),
        ("GET", "/registrations?foo=x", "", 400, "unknown parameter"),
        ("POST", "/revocations", "", 400, "EOF"),
        ("POST", "/revocations", "{}", 400, "exactly one of"),
        (
            "POST",
            "/revocations",
            r#"{"token":"a","pssid":"b"}"#,
            400,
            "exactly one of",
        ),
        (
            "POST",
            "/revocations",
            r#"{"tokn":"a"}"#,
            400,
            "unknown field",
        ),
        (
            "POST",
            "/revocations",
            r#"{"token":"a","until":"soon"}"#,
            400,
            "until",
        ),
        ("DELETE", "/revocations", "", 400, "exactly one of"),
    ] {
        let answer = request(method, path, body);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path} {body}: {answer}"
        );
        assert!(answer.contains(r#"{"error":""#), "{path} {body}: {answer}");
        if text != "until" {
            assert!(answer.contains(text), "{path} {body}: {answer}");
        }
    }
    let answer = request("POST", "/revocations", &"x".repeat(70_000));
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(request("GET", "/registrations", "").ends_with("\r\n\r\n{\"registrations\":[]}"));
}

#[test]
fn a_gateway_that_does_not_run_is_named() {
    let directory = TempDir::new().unwrap();
    let error = Client::new(directory.path()).revocations().unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }));
    assert!(
        error.to_string().contains("check that the gateway runs"),
        "{error}"
    );
}

#[test]
fn something_else_on_the_socket_is_an_error() {
    let directory = TempDir::new().unwrap();
    let listener =
        std::os::unix::net::UnixListener::bind(directory.path().join(SOCKET_NAME)).unwrap();
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _read = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"hello\r\n\r\n").unwrap();
    });
    let error = Client::new(directory.path()).revocations().unwrap_err();
    other.join().unwrap();
    assert!(matches!(error, ClientError::Answer { .. }), "{error}");
}

#[test]
fn the_socket_is_removed_at_the_end() {
    let (running, client, directory) = start();
    assert!(client.revocations().is_ok());
    drop(running);
    assert!(!directory.path().join(SOCKET_NAME).exists());
    assert!(client.revocations().is_err());
}

#[test]
fn a_process_of_another_user_is_not_answered() {
    if !rustix::process::geteuid().is_root() {
        return testkit::skip("a_process_of_another_user_is_not_answered", "it needs root");
    }
    let (running, client, directory) = start();
    let socket = directory.path().join(SOCKET_NAME);
    let connect_as_another = || {
        let socket = socket.clone();
        thread::spawn(move || {
            let user = Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            UnixStream::connect(socket)
        })
        .join()
        .unwrap()
    };
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(connect_as_another().is_err());
    // Even if somebody changed the mode of the socket.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let mut stream = connect_as_another().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let foreign = || {
        running
            .plane
            .metrics()
            .ended_connections(ConnectionEnd::Foreign)
    };
    wait_until("the connection is counted", || foreign() == 1);
    assert!(client.revocations().is_ok());
}

#[test]
fn a_local_request_has_a_limit_of_time() {
    let directory = TempDir::new().unwrap();
    let running = Running::with(|settings| {
        settings.local_directory = Some(directory.path().to_owned());
        settings.limits.body_time = Duration::from_millis(50);
    });
    let head = "POST /revocations HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
    let answer = exchange(&directory, head);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    drop(running);
}
