//! Path segments from another endhost API, and what happens when it fails.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use snapgate_control::rpc::{Code, ConnectionEnd, ControlSettings, EndhostApiSettings, Method};
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::*;
use crate::tls::pair;

/// A request of segments with all fields.
const REQUEST: &[u8] = b"\x08\x01\x10\x02\x18\x80\x01\x22\x04page";

/// An answer with two segments and a page token.
const ANSWER: &[u8] = b"\x0a\x03xyz\x1a\x01z\x22\x04next";

/// A request as the endhost API received it.
struct Received {
    /// In lower case.
    head: String,
    body: Vec<u8>,
}

/// What the endhost API does with a request.
type Behaviour = dyn Fn(&Received) -> Option<Vec<u8>> + Send + Sync;

/// An endhost API, which answers one request per connection. It stalls if its behaviour returns nothing.
struct EndhostApi {
    address: SocketAddr,
    received: Receiver<Received>,
}

impl EndhostApi {
    fn start(behaviour: impl Fn(&Received) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = sync_channel(1000);
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let stalled: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (behaviour, sender) = (Arc::clone(&behaviour), sender.clone());
                let stalled = Arc::clone(&stalled);
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    if !serve(&mut stream, &*behaviour, &sender) {
                        stalled.lock().unwrap().push(stream);
                    }
                });
            }
        });
        Self { address, received }
    }

    fn settings(&self) -> EndhostApiSettings {
        EndhostApiSettings::new(format!("http://{}", self.address))
    }

    fn received(&self) -> Received {
        self.received.recv_timeout(PATIENCE).unwrap()
    }
}

/// Answers one request. Returns false if the behaviour is to stall.
fn serve(
    stream: &mut (impl std::io::Read + std::io::Write),
    behaviour: &Behaviour,
    sender: &SyncSender<Received>,
) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        // A connection without a request.
        let Ok(1) = stream.read(&mut byte) else {
            return true;
        };
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap_or("0").parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    let received = Received { head, body };
    let answer = behaviour(&received);
    // The test may have ended.
    let _sent = sender.send(received);
    match answer {
        Some(answer) => {
            let _written = stream.write_all(&answer).and_then(|()| stream.flush());
            true
        }
        None => false,
    }
}

fn response(status: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn segments() -> Vec<u8> {
    response("200 OK", "application/proto", ANSWER)
}

fn start(endhost_api: EndhostApiSettings) -> Running {
    Running::with(|settings: &mut ControlSettings| settings.endhost_api = Some(endhost_api))
}

fn assert_unavailable(running: &Running, message: &str) {
    let answer = running.call(LIST_SEGMENTS, REQUEST);
    answer.assert_error(503, "unavailable", message);
    assert!(running.is_serving());
}

#[test]
fn requests_and_answers_are_passed_on_byte_for_byte() {
    let endhost_api = EndhostApi::start(|_| Some(segments()));
    let running = start(endhost_api.settings());
    for path in [LIST_SEGMENTS, LIST_PATHS] {
        let answer = running.call(path, REQUEST);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/proto");
        assert_eq!(answer.body, ANSWER);
        let received = endhost_api.received();
        assert_eq!(received.body, REQUEST);
        let head = received.head;
        let line = format!("POST {path} HTTP/1.1\r\n").to_ascii_lowercase();
        assert!(head.starts_with(&line), "{head}");
        assert!(
            head.contains(&format!("host: {}\r\n", endhost_api.address)),
            "{head}"
        );
        assert!(
            head.contains("content-type: application/proto\r\n"),
            "{head}"
        );
        assert!(!head.contains("authorization"), "{head}");
    }
    let page = running.page();
    let line = r#"snapgate_control_endhost_api_requests_total{result="answered"} 2"#;
    assert!(page.contains(line), "{page}");
}

#[test]
fn the_token_is_forwarded_only_if_the_settings_say_so() {
    let endhost_api = EndhostApi::start(|_| Some(segments()));
    let mut settings = endhost_api.settings();
    settings.forward_token = true;
    settings.url.push_str("/base/");
    let running = start(settings);
    assert_eq!(running.call(LIST_SEGMENTS, REQUEST).status, 200);
    let head = endhost_api.received().head;
    assert!(head.contains("authorization: bearer valid\r\n"), "{head}");
    assert!(
        head.starts_with("post /base/scion.endhost.v1.segmentsservice/"),
        "{head}"
    );
}

#[test]
fn a_client_and_an_endhost_api_of_different_versions_understand_each_other() {
    for (served, called) in [(LIST_SEGMENTS, LIST_PATHS), (LIST_PATHS, LIST_SEGMENTS)] {
        let served = served.to_ascii_lowercase();
        let endhost_api = EndhostApi::start(move |received| {
            Some(if received.head.contains(&served) {
                segments()
            } else {
                response("404 Not Found", "text/plain", b"")
            })
        });
        let running = start(endhost_api.settings());
        let answer = running.call(called, REQUEST);
        assert_eq!((answer.status, &answer.body[..]), (200, ANSWER));
    }
}

#[test]
fn without_an_endhost_api_segments_are_not_implemented() {
    let running = Running::with(|_| ());
    for path in [LIST_SEGMENTS, LIST_PATHS] {
        let answer = running.call(path, REQUEST);
        answer.assert_error(501, "unimplemented", "has not configured an endhost API");
    }
}

#[test]
fn an_endhost_api_that_is_down_means_unavailable() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let running = start(EndhostApiSettings::new(format!("http://{address}")));
    assert_unavailable(&running, "cannot be reached");
    assert_eq!(running.rpcs(Method::ListSegments, Code::Unavailable), 1);
}

#[test]
fn a_name_that_does_not_exist_means_unavailable() {
    let mut settings = EndhostApiSettings::new("http://endhost.invalid");
    // The lookup itself may take longer.
    settings.timeout = Duration::from_secs(1);
    let running = start(settings);
    let answer = running.call(LIST_SEGMENTS, REQUEST);
    assert_eq!(answer.error().0, "unavailable");
    assert!(running.is_serving());
}

#[test]
fn an_endhost_api_that_stalls_means_unavailable_and_delays_nothing_else() {
    let endhost_api = EndhostApi::start(|_| None);
    let mut settings = endhost_api.settings();
    settings.timeout = Duration::from_secs(2);
    let running = start(settings);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| running.call(LIST_SEGMENTS, REQUEST)))
            .collect();
        endhost_api.received();
        assert!(running.is_serving());
        assert_eq!(running.call(REGISTER, &registration(&[9; 32])).status, 200);
        for answer in waiting {
            let answer = answer.join().unwrap();
            answer.assert_error(503, "unavailable", "did not answer within 2s");
        }
    });
    let page = running.page();
    let line = r#"snapgate_control_endhost_api_requests_total{result="timed_out"} 3"#;
    assert!(page.contains(line), "{page}");
}

/// Value of a metric.
fn value(running: &Running, metric: &str, label: &str) -> u64 {
    let begin = format!("snapgate_control_{metric}_total{{{label}}} ");
    let page = running.page();
    let number = page.lines().find_map(|line| line.strip_prefix(&begin));
    number.unwrap().parse().unwrap()
}

fn asked(running: &Running, result: &str) -> u64 {
    value(
        running,
        "endhost_api_requests",
        &format!("result={result:?}"),
    )
}

fn refused(running: &Running, reason: &str) -> u64 {
    value(running, "refused_lookups", &format!("reason={reason:?}"))
}

#[test]
fn a_request_that_earlier_ones_keep_from_the_endhost_api_is_not_counted_as_its_fault() {
    let endhost_api = EndhostApi::start(|_| None);
    let mut settings = endhost_api.settings();
    settings.timeout = Duration::from_millis(500);
    settings.concurrency = 1;
    let running = start(settings);
    // While two of them are asked one after the other, the third one waits for too long.
    let answers: Vec<Answer> = thread::scope(|scope| {
        let call = || running.call(LIST_SEGMENTS, REQUEST);
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(call)).collect();
        let answers = waiting.into_iter().map(|answer| answer.join().unwrap());
        answers.collect()
    });
    let with = |text: &str| {
        let has_text = |answer: &&Answer| {
            let (code, message) = answer.error();
            code == "unavailable" && message.contains(text)
        };
        u64::try_from(answers.iter().filter(has_text).count()).unwrap()
    };
    let (late, not_asked) = (
        with("did not answer within"),
        with("earlier requests occupied"),
    );
    assert_eq!(late + not_asked, 3);
    assert!(late > 0 && not_asked > 0);
    assert_eq!(asked(&running, "timed_out"), late);
    assert_eq!(asked(&running, "not_asked"), not_asked);
}

#[test]
fn a_subscriber_with_many_requests_leaves_the_endhost_api_to_others() {
    let (sender, begun) = sync_channel(1000);
    let gate = Arc::new(Mutex::new(()));
    let waiting_for = Arc::clone(&gate);
    let endhost_api = EndhostApi::start(move |_| {
        sender.send(()).unwrap();
        drop(waiting_for.lock().unwrap());
        Some(segments())
    });
    let running = Running::with(|settings| {
        let mut endhost_api = endhost_api.settings();
        endhost_api.timeout = PATIENCE;
        settings.endhost_api = Some(endhost_api);
        settings.limits.request_time = PATIENCE;
    });
    let closed = gate.lock().unwrap();
    thread::scope(|scope| {
        let call = || running.call(LIST_SEGMENTS, REQUEST);
        let mut waiting: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
        for _ in 0..4 {
            begun.recv_timeout(PATIENCE).unwrap();
        }
        let answer = running.call(LIST_PATHS, REQUEST);
        let message = "the subscriber has the maximum number of requests";
        answer.assert_error(429, "resource_exhausted", message);
        let request = rpc(LIST_SEGMENTS).body(body_of(REQUEST)).unwrap();
        let request = of_other_subscriber(request);
        waiting.push(scope.spawn(|| running.send(request)));
        begun.recv_timeout(PATIENCE).unwrap();
        drop(closed);
        for answer in waiting {
            assert_eq!(answer.join().unwrap().body, ANSWER);
        }
    });
    assert_eq!(refused(&running, "subscriber_limit"), 1);
    assert_eq!(running.call(LIST_SEGMENTS, REQUEST).body, ANSWER);
}

#[test]
fn an_answer_that_was_not_read_counts_as_a_request_of_its_subscriber() {
    let endhost_api = EndhostApi::start(|_| Some(segments()));
    let running = start(endhost_api.settings());
    let request = || http2_rpc(LIST_SEGMENTS, REQUEST);
    block_on(async {
        let mut client = Http2::without_window(running.address()).await;
        let mut unread = Vec::new();
        for _ in 0..4 {
            unread.push(client.begin(request()).await.unwrap());
        }
        assert!(unread.iter().all(|answer| answer.status() == 200));
        let mut client = Http2::connect(running.address()).await;
        let answer = client.send(request()).await;
        answer.assert_error(429, "resource_exhausted", "the subscriber");
        let answer = client.send(of_other_subscriber(request())).await;
        assert_eq!(answer.body, ANSWER);
    });
    assert_eq!(refused(&running, "subscriber_limit"), 1);
}

#[test]
fn the_memory_of_answers_that_clients_do_not_read_is_limited() {
    let endhost_api = EndhostApi::start(|_| Some(segments()));
    let mut settings = endhost_api.settings();
    settings.response_bytes = ANSWER.len();
    settings.unsent_bytes = 0;
    let running = start(settings);
    let request = || http2_rpc(LIST_SEGMENTS, REQUEST);
    block_on(async {
        let mut reluctant = Http2::without_window(running.address()).await;
        let unread = reluctant.begin(request()).await.unwrap();
        assert_eq!(unread.status(), 200);
        let mut client = Http2::connect(running.address()).await;
        let answer = client.send(request()).await;
        answer.assert_error(429, "resource_exhausted", "have not read");
        assert_eq!(refused(&running, "unsent_answers"), 1);
        let other = client.send(http2_rpc(LIST_UNDERLAYS, b"")).await;
        assert_eq!(other.status, 200);
        // This cancels the request.
        drop(unread);
        while client.send(request()).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn answers_that_are_none_mean_unavailable() {
    let whole = segments();
    for answer in [
        b"nonsense".to_vec(),
        whole[..whole.len() - 1].to_vec(),
        Vec::new(),
        response("200 OK", "text/html", b"<html>"),
        response("200 OK", "application/proto", b"\x0a\x7fxyz"),
        response("204 No Content", "application/proto", b""),
        response("302 Found", "text/plain", b""),
        response("500 Internal Server Error", "text/plain", b"broken"),
        response("404 Not Found", "text/plain", b""),
        response("401 Unauthorized", "text/plain", b"token"),
    ] {
        let endhost_api = EndhostApi::start(move |_| Some(answer.clone()));
        let running = start(endhost_api.settings());
        assert_unavailable(&running, "the endhost API of this SNAP");
    }
}

#[test]
fn an_answer_that_is_too_large_means_unavailable() {
    let endhost_api = EndhostApi::start(|_| Some(segments()));
    let mut settings = endhost_api.settings();
    settings.response_bytes = ANSWER.len() - 1;
    let running = start(settings);
    assert_unavailable(&running, "sent an invalid answer");
}

#[test]
fn errors_that_the_request_caused_are_passed_on() {
    let json = br#"{"code":"not_found","message":"no such AS"}"#;
    let endhost_api =
        EndhostApi::start(|_| Some(response("404 Not Found", "application/json", json)));
    let running = start(endhost_api.settings());
    let answer = running.call(LIST_SEGMENTS, REQUEST);
    answer.assert_error(404, "not_found", "no such AS");
}

#[test]
fn segments_are_served_again_when_the_endhost_api_is_back() {
    let is_up = Arc::new(Mutex::new(false));
    let observed = Arc::clone(&is_up);
    let endhost_api = EndhostApi::start(move |_| {
        let is_up = *observed.lock().unwrap();
        Some(if is_up { segments() } else { Vec::new() })
    });
    let running = start(endhost_api.settings());
    assert_unavailable(&running, "failed");
    *is_up.lock().unwrap() = true;
    assert_eq!(running.call(LIST_SEGMENTS, REQUEST).body, ANSWER);
}

#[test]
fn a_client_that_does_not_read_its_answers_is_cut_off() {
    // More than the buffers of a connection hold.
    let size = 16 << 20;
    let segment = vec![7; size];
    let length = [0x80_u8, 0x80, 0x80, 0x08];
    let body = [&[0x0a][..], &length, &segment].concat();
    let endhost_api =
        EndhostApi::start(move |_| Some(response("200 OK", "application/proto", &body)));
    let running = Running::with(|settings| {
        let mut endhost_api = endhost_api.settings();
        endhost_api.response_bytes = 2 * size;
        endhost_api.timeout = PATIENCE;
        settings.endhost_api = Some(endhost_api);
        settings.limits.request_time = Duration::from_secs(3);
        settings.limits.idle_time = NEVER;
        settings.limits.closing_time = Duration::from_millis(50);
    });
    let mut stream = running.connect();
    let head = format!(
        "POST {LIST_SEGMENTS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\n\
         authorization: Bearer {TOKEN}\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let ended = || {
        running
            .plane
            .metrics()
            .ended_connections(ConnectionEnd::Unresponsive)
    };
    wait_until("the connection is counted", || ended() == 1);
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    assert!(answer.len() < size);
}

#[test]
fn an_endhost_api_with_tls_is_checked_with_the_certificates_of_the_settings() {
    let pair = pair(2100);
    let directory = TempDir::new().unwrap();
    let ca_file = directory.path().join("ca.pem");
    fs::write(&ca_file, &pair.chain).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let (sender, _received) = sync_channel(1);
            serve(&mut stream, &|_| Some(segments()), &sender);
            stream.conn.send_close_notify();
            let _ended = stream.flush();
        }
    });
    let call = |host: &str, ca_file: Option<&std::path::Path>| {
        let mut settings = EndhostApiSettings::new(format!("https://{host}:{port}"));
        settings.ca_file = ca_file.map(Into::into);
        start(settings).call(LIST_SEGMENTS, REQUEST)
    };
    assert_eq!(call("127.0.0.1", Some(&ca_file)).body, ANSWER);
    // The certificate is not for this name.
    let answer = call("localhost", Some(&ca_file));
    answer.assert_error(503, "unavailable", "cannot be reached");
}
