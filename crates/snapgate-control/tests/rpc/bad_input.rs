//! Requests that are wrong. Each gets the error that the protocol defines, or the end of its connection, and disturbs
//! nothing else.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use hyper::Request;
use snapgate_control::rpc::{Code, ConnectionEnd, Method};

use crate::support::*;

#[test]
fn wrong_requests_get_connect_errors() {
    let running = Running::with(|_| ());
    let body = || body_of(&registration(&[9; 32]));
    let post = |path: &str| rpc(path);

    let answer = running.send(post("/x").body(body()).unwrap());
    answer.assert_error(404, "unimplemented", "not an RPC");

    let answer = running.send(post(REGISTER).method("GET").body(body_of(b"")).unwrap());
    answer.assert_error(405, "unimplemented", "POST");
    assert_eq!(answer.header("allow"), "POST");

    let answer = running.send(
        post(REGISTER)
            .header("content-encoding", "gzip")
            .body(body())
            .unwrap(),
    );
    answer.assert_error(501, "unimplemented", "identity");

    for content_type in [Some("application/json"), Some("application/grpc"), None] {
        let mut request = post(REGISTER).body(body()).unwrap();
        request.headers_mut().remove("content-type");
        if let Some(content_type) = content_type {
            let value = content_type.parse().unwrap();
            request.headers_mut().insert("content-type", value);
        }
        let answer = running.send(request);
        answer.assert_error(415, "invalid_argument", "application/proto");
        assert_eq!(answer.header("accept-post"), "application/proto");
    }

    let answer = running.send(
        post(REGISTER)
            .header("connect-protocol-version", "2")
            .body(body())
            .unwrap(),
    );
    answer.assert_error(400, "invalid_argument", "connect-protocol-version");
    let answer = running.send(
        post(REGISTER)
            .header("connect-timeout-ms", "soon")
            .body(body())
            .unwrap(),
    );
    answer.assert_error(400, "invalid_argument", "connect-timeout-ms");

    assert_eq!(running.backend.identities(), [] as [[u8; 32]; 0]);
    assert_eq!(running.rpcs(Method::Unknown, Code::Unimplemented), 1);
    assert!(running.is_serving());
}

#[test]
fn wrong_bodies_are_invalid_arguments() {
    let running = Running::with(|_| ());
    let refused = |path: &str, body: &[u8], text: &str| {
        running
            .call(path, body)
            .assert_error(400, "invalid_argument", text);
    };
    refused(REGISTER, b"", "has 0 bytes instead of 32");
    refused(REGISTER, &registration(&[9; 32])[..20], "cannot decode");
    refused(REGISTER, b"\x0a\x01x", "has 1 bytes instead of 32");
    refused(
        REGISTER,
        &[&registration(&[9; 32])[..34], b"\x12\x01x"].concat(),
        "psk_share",
    );
    refused(LIST_UNDERLAYS, b"\x08", "cannot decode");
    refused(LIST_SEGMENTS, b"\x22\x01\xff", "cannot decode");
    refused(GET_DATA_PLANE, b"\xff", "cannot decode");
    assert_eq!(running.backend.identities(), [] as [[u8; 32]; 0]);
    assert!(running.is_serving());
}

#[test]
fn oversized_bodies_exhaust_a_resource() {
    let running = Running::with(|_| ());
    let limit = 64 << 10;
    // As many bytes as the limit are read, and are no message.
    let answer = running.call(REGISTER, &vec![0xff; limit]);
    answer.assert_error(400, "invalid_argument", "cannot decode");
    for size in [limit + 1, 4 * limit] {
        let answer = running.call(REGISTER, &vec![0xff; size]);
        answer.assert_error(429, "resource_exhausted", "more than 65536 bytes");
    }
    // Without a valid token, it is refused for that.
    let mut request = rpc(REGISTER).body(body_of(&vec![0xff; 4 * limit])).unwrap();
    request.headers_mut().remove("authorization");
    assert_eq!(running.send(request).status, 401);
    block_on(async {
        let mut client = Http2::connect(running.address()).await;
        let url = format!("http://control{REGISTER}");
        let request = rpc(&url).body(body_of(&vec![0xff; 4 * limit])).unwrap();
        let answer = client.send(request).await;
        answer.assert_error(429, "resource_exhausted", "more than 65536 bytes");
    });
    // A body in chunks has no length in advance.
    let mut stream = running.connect();
    let head = format!(
        "POST {REGISTER} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\n\
         authorization: Bearer {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"8000\r\n", &[0xff; 0x8000][..], b"\r\n"].concat();
    for _ in 0..4 {
        stream.write_all(&chunk).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let answer = read_answer(&stream);
    assert!(answer.starts_with("http/1.1 429 "), "{answer}");
    // A body without an end is not read to it.
    let mut stream = running.connect();
    stream.write_all(head.as_bytes()).unwrap();
    while stream.write_all(&chunk).is_ok() {}
    assert!(running.is_serving());
}

#[test]
fn a_request_that_is_cut_off_has_no_effect() {
    let running = Running::with(|_| ());
    let body = registration(&[9; 32]);
    let request = [
        format!(
            "POST {REGISTER} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\n\
             authorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .as_bytes(),
        &body,
    ]
    .concat();
    for length in 0..request.len() {
        let mut stream = running.connect();
        stream.write_all(&request[..length]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ended = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{length}");
    }
    assert_eq!(running.backend.identities(), [] as [[u8; 32]; 0]);
    let mut stream = running.connect();
    stream.write_all(&request).unwrap();
    assert!(read_answer(&stream).starts_with("http/1.1 200 "));
    assert_eq!(running.backend.identities(), [[9; 32]]);
}

#[test]
fn bytes_that_are_not_http_end_their_connection() {
    let running = Running::with(|_| ());
    // The third one begins like HTTP/2.
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"\x00\x00\x00\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
    ] {
        let answer = running.exchange(bytes);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    let malformed = || {
        running
            .plane
            .metrics()
            .ended_connections(ConnectionEnd::Malformed)
    };
    wait_until("malformed connections are counted", || malformed() >= 4);
    // HTTP/2 with a preface that is right, and frames that are not.
    let garbage = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0xa5; 64][..]].concat();
    running.exchange(&garbage);
    let broken = || {
        running
            .plane
            .metrics()
            .ended_connections(ConnectionEnd::Broken)
    };
    wait_until("broken connections are counted", || broken() >= 1);
    assert!(running.is_serving());
}

#[test]
fn random_bytes_disturb_nothing() {
    let running = Running::with(|settings| {
        settings.limits.header_time = Duration::from_millis(50);
    });
    // A generator with a fixed seed (xorshift).
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    for _ in 0..50 {
        let bytes: Vec<u8> = (0..16).flat_map(|_| random()).collect();
        running.exchange(&bytes);
        running.exchange(&[b"POST / HTTP/1.1\r\n", &bytes[..]].concat());
    }
    assert!(running.is_serving());
}

#[test]
fn large_headers_are_refused() {
    let running = Running::with(|_| ());
    let long = "x".repeat(20 << 10);
    let request = format!("POST {REGISTER} HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n");
    // The kernel may discard the answer, since the server does not read all of the header.
    let answer = running.exchange(request.as_bytes());
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    let malformed = || {
        running
            .plane
            .metrics()
            .ended_connections(ConnectionEnd::Malformed)
    };
    wait_until("the connection is counted", || malformed() == 1);
    // A token of the usual size is not large.
    let request = rpc(LIST_UNDERLAYS).header("x-token", &long[..8 << 10]);
    assert_eq!(
        running.send(request.body(body_of(b"")).unwrap()).status,
        200
    );
    block_on(async {
        let mut client = Http2::connect(running.address()).await;
        let url = format!("http://control{REGISTER}");
        let request = rpc(&url)
            .header("x-long", &long)
            .body(body_of(b""))
            .unwrap();
        let refused = client.try_send(request).await;
        assert!(refused.is_err() || refused.unwrap().status == 431);
    });
    assert!(running.is_serving());
}

#[test]
fn requests_in_one_packet_are_answered_in_order() {
    let running = Running::with(|_| ());
    let request = |path: &str, connection: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\n\
             authorization: Bearer {TOKEN}\r\nconnection: {connection}\r\ncontent-length: 0\r\n\r\n"
        )
    };
    let answers = running.exchange(
        [
            request("/unknown", "keep-alive"),
            request(LIST_UNDERLAYS, "keep-alive"),
            request(REGISTER, "close"),
        ]
        .concat()
        .as_bytes(),
    );
    let statuses: Vec<&str> = answers
        .match_indices("HTTP/1.1 ")
        .map(|(at, start)| &answers[at + start.len()..][..3])
        .collect();
    assert_eq!(statuses, ["404", "200", "400"], "{answers}");
}

#[test]
fn a_request_without_a_host_or_body_is_served() {
    let running = Running::with(|_| ());
    let request = Request::post(LIST_UNDERLAYS)
        .header("content-type", "application/proto")
        .header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(
        running.send(request.body(body_of(b"")).unwrap()).status,
        200
    );
}
