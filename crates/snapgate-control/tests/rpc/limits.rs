//! Limits of connections and of time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};
use snapgate_control::rpc::{ConnectionEnd, ControlSettings};

use crate::support::*;

const SHORT: Duration = Duration::from_millis(50);

/// Removes all limits of time.
fn patient(settings: &mut ControlSettings) {
    let limits = &mut settings.limits;
    limits.header_time = NEVER;
    limits.body_time = NEVER;
    limits.request_time = NEVER;
    limits.idle_time = NEVER;
    limits.connection_time = NEVER;
}

fn ended(running: &Running, end: ConnectionEnd) -> u64 {
    running.plane.metrics().ended_connections(end)
}

const HEAD: &str = "content-type: application/proto\r\nauthorization: Bearer valid\r\nhost: x\r\n";

fn begin_registration(running: &Running, key: u8) -> TcpStream {
    let mut stream = running.connect();
    let head = format!("POST {REGISTER} HTTP/1.1\r\n{HEAD}content-length: 68\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&registration(&[key; 32])).unwrap();
    stream
}

#[test]
fn idle_connections_give_way_oldest_first() {
    let running = Running::with(|settings| {
        patient(settings);
        settings.limits.connections = 8;
    });
    let idle: Vec<TcpStream> = (0..100).map(|_| running.connect()).collect();
    assert!(running.is_serving());
    // The last of them are still open, the others closed.
    let (closed, open) = idle.split_at(100 - 7);
    assert!(closed.iter().all(is_closed));
    for stream in open {
        stream.set_nonblocking(true).unwrap();
        let error = (&mut &*stream).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    assert_eq!(ended(&running, ConnectionEnd::Limit), 93);
}

#[test]
fn a_connection_with_a_request_is_closed_only_if_none_is_idle() {
    let running = Running::with(|settings| {
        patient(settings);
        settings.limits.connections = 4;
    });
    running.backend.hold();
    let first = begin_registration(&running, 1);
    running.backend.wait_for_begun(1);
    let others: Vec<TcpStream> = (2..=3)
        .map(|key| begin_registration(&running, key))
        .collect();
    running.backend.wait_for_begun(3);
    let idle = running.connect();
    assert!(running.is_serving());
    assert!(is_closed(&idle));

    // Now there are only connections with requests, and the oldest one is closed.
    let last = begin_registration(&running, 4);
    running.backend.wait_for_begun(4);
    assert!(running.is_serving());
    assert!(is_closed(&first));
    running.backend.release();
    for stream in others.iter().chain([&last]) {
        assert!(read_answer(stream).starts_with("http/1.1 200 "));
    }
}

#[test]
fn connections_of_one_address_give_way_to_each_other() {
    let running = Running::with(|settings| {
        patient(settings);
        settings.limits.connections_per_address = 2;
    });
    let other = connect_from([127, 0, 0, 7], running.address());
    let own: Vec<TcpStream> = (0..5).map(|_| running.connect()).collect();
    assert!(own[..3].iter().all(is_closed));
    wait_until("connections are counted", || {
        ended(&running, ConnectionEnd::AddressLimit) == 3
    });
    other.set_nonblocking(true).unwrap();
    let error = (&other).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

/// Connects from another address of the loopback interface.
fn connect_from(ip: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((ip, 0))).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn addresses_with_many_connections_do_not_push_out_a_client_of_another_address() {
    let running = Running::with(|settings| {
        patient(settings);
        settings.limits.connections = 6;
    });
    let client = connect_from([127, 0, 0, 7], running.address());
    assert!(is_answered(&client));
    // Each of them has waited for less time than the client.
    let others: Vec<TcpStream> = (0..10)
        .map(|number| {
            let other = connect_from([127, 0, 0, 8 + number % 2], running.address());
            assert!(is_answered(&other));
            other
        })
        .collect();
    assert!(is_answered(&client));
    assert_eq!(ended(&running, ConnectionEnd::Limit), 5);
    assert!(is_closed(&others[0]));
}

/// Calls a cheap RPC over HTTP/1.1, and leaves the connection open.
fn is_answered(mut stream: &TcpStream) -> bool {
    let request = format!("POST {LIST_UNDERLAYS} HTTP/1.1\r\n{HEAD}content-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(stream).starts_with("http/1.1 200 ")
}

#[test]
fn a_client_that_does_not_read_its_answers_over_http2_is_cut_off() {
    let running = Running::with(|settings| {
        patient(settings);
        settings.limits.request_time = SHORT;
        settings.limits.closing_time = SHORT;
    });
    block_on(async {
        let mut client = Http2::without_window(running.address()).await;
        let _unread = client.begin(http2_rpc(LIST_UNDERLAYS, b"")).await;
        while !client.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    wait_until("the connection is counted", || {
        ended(&running, ConnectionEnd::Unresponsive) == 1
    });
}

#[test]
fn a_header_that_comes_slowly_is_not_waited_for() {
    let running = Running::with(|settings| {
        patient(settings);
        settings.limits.header_time = SHORT;
    });
    for begin in [
        &b""[..],
        b"POST / HTTP/1.1\r\nHost: ",
        b"PRI * HTTP/2.0\r\n",
    ] {
        let mut slow = running.connect();
        slow.write_all(begin).unwrap();
        assert!(is_closed(&slow));
    }
    wait_until("connections are counted", || {
        ended(&running, ConnectionEnd::HeaderTime) == 3
    });
}

#[test]
fn a_body_that_comes_slowly_is_not_waited_for() {
    let running = Running::with(|settings| {
        patient(settings);
        settings.limits.body_time = SHORT;
    });
    let head = format!("POST {REGISTER} HTTP/1.1\r\n{HEAD}content-length: 68\r\n\r\nabc");
    let answer = running.exchange(head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains(r#""code":"deadline_exceeded""#), "{answer}");
    assert_eq!(running.backend.identities(), [] as [[u8; 32]; 0]);
}

#[test]
fn an_unused_connection_is_closed_after_a_while() {
    let running = Running::with(|settings| {
        patient(settings);
        settings.limits.idle_time = SHORT;
    });
    let stream = running.connect();
    assert!(is_answered(&stream));
    assert!(is_closed(&stream));
    block_on(async {
        let mut client = Http2::connect(running.address()).await;
        let url = format!("http://control{LIST_UNDERLAYS}");
        let request = rpc(&url).body(body_of(b"")).unwrap();
        assert_eq!(client.send(request).await.status, 200);
        while !client.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    wait_until("connections are counted", || {
        ended(&running, ConnectionEnd::Idle) == 2
    });
}

#[test]
fn a_connection_with_a_request_is_not_idle() {
    let running = Running::with(|settings| {
        patient(settings);
        settings.limits.idle_time = Duration::from_millis(1);
        settings.limits.header_time = Duration::from_millis(500);
    });
    running.backend.hold();
    let stream = begin_registration(&running, 1);
    running.backend.wait_for_begun(1);
    // An idle connection that began later is closed first.
    let idle = running.connect();
    assert!(is_closed(&idle));
    running.backend.release();
    assert!(read_answer(&stream).starts_with("http/1.1 200 "));
}

#[test]
fn an_old_connection_ends_after_its_request() {
    let running = Running::with(|settings| {
        patient(settings);
        settings.limits.connection_time = SHORT;
    });
    running.backend.hold();
    let stream = begin_registration(&running, 1);
    running.backend.wait_for_begun(1);
    let other = running.connect();
    assert!(is_closed(&other));
    running.backend.release();
    assert!(read_answer(&stream).starts_with("http/1.1 200 "));
    assert!(is_closed(&stream));
    wait_until("connections are counted", || {
        ended(&running, ConnectionEnd::Age) == 2
    });
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// `:method POST`, `:scheme http`, `:path /`, `:authority a` from the static table (RFC 7541).
const POST_ROOT: [u8; 6] = [0x83, 0x86, 0x84, 0x41, 0x01, b'a'];

/// Reads a frame, and returns its type. Returns `None` at the end of the connection.
fn read_frame(mut stream: &TcpStream) -> Option<u8> {
    let mut header = [0; 9];
    // The end may be a reset.
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).ok()?;
    Some(header[3])
}

#[test]
fn a_client_that_does_not_confirm_the_end_of_its_connection_is_cut_off() {
    let running = Running::with(|settings| {
        patient(settings);
        settings.limits.connection_time = SHORT;
        settings.limits.closing_time = SHORT;
        settings.limits.request_time = 4 * SHORT;
    });
    let mut stream = running.connect();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).unwrap();
    // Requests without an end, each of which is answered after some time and followed by another one. The server's
    // frames PING are not answered.
    let ids = (1..).step_by(2);
    let mut requests = ids.map(|id| frame(HEADERS, 0x4, id, &POST_ROOT));
    for request in requests.by_ref().take(3) {
        stream.write_all(&request).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while let Some(kind) = read_frame(&stream) {
        assert!(Instant::now() < deadline, "the connection is still open");
        if kind == HEADERS {
            // The server may have closed the connection.
            let _written = stream.write_all(&requests.next().unwrap());
        }
    }
    wait_until("the connection is counted", || {
        ended(&running, ConnectionEnd::Unresponsive) == 1
    });
}

#[test]
fn a_flood_of_cancelled_requests_ends_its_connection() {
    let running = Running::with(patient);
    let mut stream = running.connect();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).unwrap();
    let mut flood = Vec::new();
    for id in (1..10_000).step_by(2) {
        flood.extend(frame(HEADERS, 0x4, id, &POST_ROOT));
        flood.extend(frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
    }
    // The server may close the connection before it has read everything.
    let _written = stream.write_all(&flood);
    while let Some(kind) = read_frame(&stream) {
        assert!([SETTINGS, GOAWAY, HEADERS, DATA, RST_STREAM, 8].contains(&kind));
    }
    wait_until("the connection is counted", || {
        ended(&running, ConnectionEnd::Broken) == 1
    });
    assert!(running.is_serving());
}

#[test]
fn the_number_of_concurrent_requests_of_a_connection_is_limited() {
    let running = Running::with(|settings| {
        patient(settings);
        settings.limits.streams = 3;
    });
    let mut stream = running.connect();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).unwrap();
    // Requests without an end.
    for id in [1, 3, 5, 7] {
        stream
            .write_all(&frame(HEADERS, 0x4, id, &POST_ROOT))
            .unwrap();
    }
    // The fourth one is refused: a frame RST_STREAM with the error REFUSED_STREAM (7).
    let mut bytes = Vec::new();
    let refused = frame(RST_STREAM, 0, 7, &[0, 0, 0, 7]);
    let mut buffer = [0; 1024];
    while !bytes.windows(refused.len()).any(|window| window == refused) {
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "{bytes:?}");
        bytes.extend_from_slice(&buffer[..read]);
    }
    // SETTINGS_MAX_CONCURRENT_STREAMS (3).
    let setting = [0, 3, 0, 0, 0, 3];
    assert!(bytes.windows(6).any(|window| window == setting));
}
