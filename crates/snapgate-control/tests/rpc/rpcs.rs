//! What clients send and expect.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use snapgate_control::registry::{Registry, RegistrySettings, Selector};
use snapgate_control::rpc::{Code, Method, RefusalKind};
use snapgate_control::{GrantChange, Grants, Pssid, TokenId};

use crate::support::*;

/// Encodes a field with bytes, shorter than 128.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    [&[number << 3 | 2, length][..], content].concat()
}

fn data_plane(address: &str, url: &str) -> Vec<u8> {
    [
        field(1, address.as_bytes()),
        field(2, url.as_bytes()),
        field(3, &PUBLIC_KEY),
    ]
    .concat()
}

#[test]
fn the_underlay_is_this_snap_without_routers() {
    let running = Running::with(|settings| settings.urls = vec!["https://snap.test".to_owned()]);
    // 1-ff00:0:110 as a packed varint.
    let isd_ases = b"\x90\x82\x80\x80\x80\xe0\x7f";
    let snap = [field(1, b"https://snap.test/"), field(2, isd_ases)].concat();
    let expected = [field(1, b""), field(2, &field(1, &snap))].concat();

    let mut of_this_as = vec![0x08];
    of_this_as.extend_from_slice(isd_ases);
    for request in [&b""[..], b"\x08\x00", &of_this_as] {
        let answer = running.call(LIST_UNDERLAYS, request);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/proto");
        assert_eq!(answer.body, expected);
    }
    assert_eq!(running.rpcs(Method::ListUnderlays, Code::Ok), 3);
}

#[test]
fn there_is_no_underlay_of_another_as() {
    let running = Running::with(|_| ());
    let answer = running.call(LIST_UNDERLAYS, b"\x08\x07");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, b"\x0a\x00\x12\x00");
}

#[test]
fn a_client_is_told_an_address_url_and_key() {
    let running = Running::with(|_| ());
    let url = format!("http://{}/", running.address());
    let answer = running.call(GET_DATA_PLANE, b"");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, data_plane("192.0.2.1:51820", &url));
}

#[test]
fn a_client_is_told_an_address_of_the_family_that_it_uses() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("skipped: this host has no IPv6");
        return;
    }
    let running = Running::with(|settings| {
        settings.listen = vec!["[::]:0".parse().unwrap()];
        settings.urls = vec![
            "http://snap.test".to_owned(),
            "http://[2001:db8::1]:8".to_owned(),
        ];
        settings
            .data_plane
            .push("[2001:db8::1]:51820".parse().unwrap());
    });
    let port = running.address().port();
    let told = |address: &str| {
        let address: SocketAddr = format!("{address}:{port}").parse().unwrap();
        send_to(address, rpc(GET_DATA_PLANE).body(body_of(b"")).unwrap()).body
    };
    // The listener sees this client at ::ffff:127.0.0.1.
    assert_eq!(
        told("127.0.0.1"),
        data_plane("192.0.2.1:51820", "http://snap.test/")
    );
    let over_ipv6 = data_plane("[2001:db8::1]:51820", "http://[2001:db8::1]:8/");
    assert_eq!(told("[::1]"), over_ipv6);
}

#[test]
fn a_client_of_the_other_family_gets_an_error_that_says_so() {
    let running = Running::with(|settings| {
        settings.data_plane = vec!["[2001:db8::1]:51820".parse().unwrap()];
    });
    let answer = running.call(GET_DATA_PLANE, b"");
    answer.assert_error(400, "failed_precondition", "has no IPv4 address");
}

#[test]
fn the_family_of_a_client_behind_a_proxy_is_that_which_the_proxy_saw() {
    let told = |behind_proxy: bool, forwarded: &[&str]| {
        let running = Running::with(|settings| {
            settings.behind_proxy = behind_proxy;
            settings.urls = vec!["http://snap.test".to_owned()];
            settings
                .data_plane
                .push("[2001:db8::1]:51820".parse().unwrap());
        });
        let mut request = rpc(GET_DATA_PLANE);
        for value in forwarded {
            request = request.header("x-forwarded-for", *value);
        }
        running.send(request.body(body_of(b"")).unwrap()).body
    };
    let ipv4 = data_plane("192.0.2.1:51820", "http://snap.test/");
    let ipv6 = data_plane("[2001:db8::1]:51820", "http://snap.test/");
    assert_eq!(told(true, &["192.0.2.7, 2001:db8::7"]), ipv6);
    assert_eq!(told(true, &["192.0.2.7", "[2001:db8::7]:99"]), ipv6);
    assert_eq!(told(true, &["2001:db8::7, 192.0.2.7"]), ipv4);
    assert_eq!(told(true, &["unknown"]), ipv4);
    assert_eq!(told(true, &[]), ipv4);
    assert_eq!(told(false, &["2001:db8::7"]), ipv4);
}

#[test]
fn a_registration_is_answered_when_it_is_in_force() {
    let running = Running::with(|_| ());
    running.backend.hold();
    thread::scope(|scope| {
        let answer = scope.spawn(|| running.call(REGISTER, &registration(&[9; 32])));
        running.backend.wait_for_begun(1);
        assert!(!answer.is_finished());
        assert_eq!(running.backend.identities(), [] as [[u8; 32]; 0]);
        running.backend.release();
        let answer = answer.join().unwrap();
        assert_eq!(running.backend.identities(), [[9; 32]]);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, field(1, &[0; 32]));
    });
}

#[test]
fn a_registration_that_waits_for_storage_delays_nothing_else() {
    let running = Running::with(|settings| settings.limits.registrations = 1);
    running.backend.hold();
    thread::scope(|scope| {
        let register = |key: u8| running.call(REGISTER, &registration(&[key; 32])).status;
        let first = scope.spawn(move || register(8));
        running.backend.wait_for_begun(1);
        let second = scope.spawn(move || register(9));
        assert!(running.is_serving());
        assert!(!first.is_finished() && !second.is_finished());
        running.backend.release();
        assert_eq!([first.join().unwrap(), second.join().unwrap()], [200, 200]);
    });
    assert_eq!(running.backend.identities().len(), 2);
}

#[test]
fn refused_registrations_have_the_code_of_their_reason() {
    let running = Running::with(|_| ());
    for (kind, status, code) in [
        (RefusalKind::InvalidArgument, 400, "invalid_argument"),
        (RefusalKind::Unauthenticated, 401, "unauthenticated"),
        (RefusalKind::PermissionDenied, 403, "permission_denied"),
        (RefusalKind::ResourceExhausted, 429, "resource_exhausted"),
        (RefusalKind::Unavailable, 503, "unavailable"),
    ] {
        running.backend.refuse(kind, "some_reason", "some text");
        let answer = running.call(REGISTER, &registration(&[9; 32]));
        answer.assert_error(status, code, "some text");
    }
    let page = running.page();
    let line = r#"snapgate_control_refused_registrations_total{reason="some_reason"} 5"#;
    assert!(page.contains(line), "{page}");
}

struct NoDataPlane;

impl Grants for NoDataPlane {
    fn apply(&self, _: &[GrantChange]) {}
}

const PATHS: [&str; 5] = [
    LIST_UNDERLAYS,
    LIST_SEGMENTS,
    LIST_PATHS,
    GET_DATA_PLANE,
    REGISTER,
];

#[test]
fn no_rpc_is_answered_for_a_token_that_is_revoked_or_of_a_revoked_subscriber() {
    for (selector, reason, message) in [
        (
            Selector::Token(TokenId("token-1".into())),
            "token_revoked",
            "the token is revoked",
        ),
        (
            Selector::Pssid(Pssid("subscriber".into())),
            "pssid_revoked",
            "the subscriber is revoked",
        ),
    ] {
        let settings = RegistrySettings::default();
        let now = Timestamp::now();
        let registry = Registry::open(settings, Arc::new(NoDataPlane), now).unwrap();
        let running = Running::with_registrations(registry.clone());
        assert!(running.is_serving());
        let until = now + Duration::from_secs(3600);
        registry.revoke(&selector, Some(until), now).unwrap();
        for path in PATHS {
            let answer = running.call(path, &registration(&[9; 32]));
            answer.assert_error(403, "permission_denied", message);
        }
        assert_eq!(registry.sizes().registrations, 0);
        let page = running.page();
        let line =
            format!(r#"snapgate_control_refused_registrations_total{{reason="{reason}"}} 5"#);
        assert!(page.contains(&line), "{page}");
        registry.unrevoke(&selector, now).unwrap();
        assert!(running.is_serving());
    }
}

#[test]
fn every_rpc_demands_a_valid_token() {
    let running = Running::with(|_| ());
    for path in PATHS {
        let with = |authorization: &str| {
            let mut request = rpc(path).body(body_of(b"")).unwrap();
            let value = authorization.parse().unwrap();
            request.headers_mut().insert("authorization", value);
            running.send(request)
        };
        let failed = "SNAP Token validation failed: ";
        let answer = with("Bearer expired");
        answer.assert_error(401, "unauthenticated", &format!("{failed}it has expired"));
        with("Bearer nonsense").assert_error(401, "unauthenticated", failed);
        with("Basic dTpw").assert_error(401, "unauthenticated", "is not a bearer token");
        with("Bearer no-keys").assert_error(503, "unavailable", "no keys are known");
        let mut request = rpc(path).body(body_of(b"")).unwrap();
        request.headers_mut().remove("authorization");
        let answer = running.send(request);
        answer.assert_error(401, "unauthenticated", "authorization header is missing");
    }
    assert_eq!(running.backend.identities(), [] as [[u8; 32]; 0]);
    let page = running.page();
    for line in [
        r#"snapgate_control_refused_tokens_total{reason="expired"} 5"#,
        r#"snapgate_control_refused_tokens_total{reason="malformed"} 5"#,
        r#"snapgate_control_rpcs_total{method="ListPaths",code="unauthenticated"} 4"#,
    ] {
        assert!(page.contains(line), "{page}");
    }
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let running = Running::with(|_| ());
    block_on(async {
        let stream = tokio::net::TcpStream::connect(running.address())
            .await
            .unwrap();
        let mut client = Http1::new(stream).await;
        for key in 1..=5 {
            let body = body_of(&registration(&[key; 32]));
            let answer = client.send(rpc(REGISTER).body(body).unwrap()).await;
            assert_eq!(answer.status, 200);
            // An error does not end the connection.
            let unknown = client
                .send(rpc("/unknown").body(body_of(b"x")).unwrap())
                .await;
            assert_eq!(unknown.status, 404);
        }
    });
    let page = running.page();
    assert!(
        page.contains("snapgate_control_connections_total 1\n"),
        "{page}"
    );
}

#[test]
fn http2_without_tls_serves_requests_at_the_same_time() {
    let running = Running::with(|_| ());
    running.backend.hold();
    block_on(async {
        let client = Http2::connect(running.address()).await;
        let register = |key: u8| {
            let mut client = client.clone();
            let url = format!("http://control{REGISTER}");
            let body = body_of(&registration(&[key; 32]));
            let request = rpc(&url).body(body).unwrap();
            tokio::spawn(async move { client.send(request).await })
        };
        let waiting: Vec<_> = (1..=3).map(register).collect();
        let url = format!("http://control{LIST_UNDERLAYS}");
        let request = rpc(&url).body(body_of(b"")).unwrap();
        assert_eq!(client.clone().send(request).await.status, 200);
        let backend = Arc::clone(&running.backend);
        let begun = tokio::task::spawn_blocking(move || backend.wait_for_begun(3));
        begun.await.unwrap();
        running.backend.release();
        for answer in waiting {
            assert_eq!(answer.await.unwrap().body, field(1, &[0; 32]));
        }
    });
    assert_eq!(running.backend.identities().len(), 3);
}

#[test]
fn a_client_can_limit_the_time_of_a_request() {
    let running = Running::with(|_| ());
    running.backend.hold();
    let body = body_of(&registration(&[9; 32]));
    let request = rpc(REGISTER).header("connect-timeout-ms", "50").body(body);
    let answer = running.send(request.unwrap());
    running.backend.release();
    answer.assert_error(504, "deadline_exceeded", "within 50ms");
}

#[test]
fn the_server_limits_the_time_of_a_request() {
    let running = Running::with(|settings| {
        settings.limits.request_time = Duration::from_millis(50);
    });
    running.backend.hold();
    let answer = running.call(REGISTER, &registration(&[9; 32]));
    running.backend.release();
    answer.assert_error(504, "deadline_exceeded", "within 50ms");
}
