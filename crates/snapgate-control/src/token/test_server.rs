//! An HTTP server for tests. Its answers are texts that the test writes, also wrong ones.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the server does with a request.
pub(super) enum Reply {
    /// Writes a text and closes the connection.
    Close(String),
    /// Writes a text, and then nothing more.
    Hang(String),
}

/// Answers the n-th request, from 0, whose head is a text.
type Answers = dyn Fn(usize, &str) -> Reply + Send + Sync;

/// A server on a loopback address. Its threads end with the process of the test.
pub(super) struct TestServer {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl TestServer {
    pub(super) fn start(answers: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(Arc::new(answers), None)
    }

    pub(super) fn start_tls(
        tls: Arc<ServerConfig>,
        answers: impl Fn(usize, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Arc::new(answers), Some(tls))
    }

    fn listen(answers: Arc<Answers>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let answers = Arc::clone(&answers);
                let counter = Arc::clone(&counter);
                let tls = tls.clone();
                thread::spawn(move || match tls {
                    None => serve(stream, &*answers, &counter),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        let mut stream = StreamOwned::new(connection, stream);
                        serve(&mut stream, &*answers, &counter);
                        stream.conn.send_close_notify();
                        // The client may be gone.
                        let _ = stream.flush();
                    }
                });
            }
        });
        Self { address, requests }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    /// Returns the number of requests so far.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: impl Read + Write, answers: &Answers, counter: &AtomicUsize) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            // The client ended the connection, because it does not trust the certificate.
            _ => return,
        }
    }
    let number = counter.fetch_add(1, Ordering::SeqCst);
    let reply = answers(number, std::str::from_utf8(&head).unwrap());
    let (Reply::Close(text) | Reply::Hang(text)) = &reply;
    // The client may end the connection before it has read everything.
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.flush();
    while let Reply::Hang(_) = reply {
        thread::park();
    }
}

/// Returns an answer with status 200, further header lines and a body.
pub(super) fn ok(headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Close(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    ))
}

/// Returns an answer without a body, with the given status line and further header lines.
pub(super) fn empty(status: &str, headers: &str) -> Reply {
    Reply::Close(format!(
        "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n"
    ))
}
