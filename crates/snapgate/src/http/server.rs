//! The HTTP server: one request per connection, and a limited number of connections.
//!
//! A new connection is always accepted: at the limit, the oldest connection without a complete request is closed for
//! it. So idle connections, however many, delay no request.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Pause after an error of accept(2), which is a lack of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Interval between warnings about such errors.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Size of a connection's buffer, in bytes; larger headers are rejected.
const BUFFER_BYTES: usize = 16 << 10;

/// Limits of the server.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Maximum number of open connections.
    pub(super) connections: usize,
    /// Time from accepting a connection to the end of the request's header.
    pub(super) header_time: Duration,
    /// Time from accepting a connection to the end of the response.
    pub(super) time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            header_time: Duration::from_secs(2),
            time: Duration::from_secs(10),
        }
    }
}

/// Answers one request per connection.
pub(super) async fn serve(listener: TcpListener, app: Router, limits: Limits) -> Infallible {
    let mut connections = Connections {
        open: Vec::with_capacity(limits.connections),
    };
    let mut warned_at = None::<Instant>;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if warned_at.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                    warned_at = Some(Instant::now());
                    tracing::warn!(%error, "cannot accept metrics connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        connections.make_room(limits.connections);
        connections
            .open
            .push(Connection::start(stream, app.clone(), limits));
        // The connections make progress before another one is accepted, so that in a burst no connection is closed
        // whose request has arrived.
        tokio::task::yield_now().await;
    }
}

struct Connections {
    /// Oldest first.
    open: Vec<Connection>,
}

struct Connection {
    task: JoinHandle<()>,
    /// True after the header of the request has arrived.
    has_request: Arc<AtomicBool>,
}

impl Connections {
    /// Closes connections until there are fewer than `max`: first the oldest without a complete request.
    fn make_room(&mut self, max: usize) {
        self.open
            .retain(|connection| !connection.task.is_finished());
        while self.open.len() >= max {
            let idle = self
                .open
                .iter()
                .position(|connection| !connection.has_request.load(Ordering::Relaxed));
            self.open.remove(idle.unwrap_or(0)).task.abort();
        }
    }
}

impl Connection {
    fn start(stream: TcpStream, app: Router, limits: Limits) -> Self {
        let has_request = Arc::new(AtomicBool::new(false));
        let arrived = Arc::clone(&has_request);
        let app = TowerToHyperService::new(app);
        let service = service_fn(move |request: Request<Incoming>| {
            arrived.store(true, Ordering::Relaxed);
            app.call(request)
        });
        let connection = http1::Builder::new()
            .keep_alive(false)
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_time)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let task = tokio::spawn(async move {
            // A client that is late or gone gets no response.
            let _late = tokio::time::timeout(limits.time, connection).await;
        });
        Self { task, has_request }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};
    use std::thread;

    use axum::routing::get;

    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);
    const PATIENCE: Duration = Duration::from_secs(20);

    /// More bytes than the buffers of a connection hold.
    const LARGE: usize = 16 << 20;

    /// A running server.
    fn start(limits: Limits) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let app = Router::new()
                    .route("/", get(|| async { "served" }))
                    .route("/large", get(|| async { vec![0; LARGE] }))
                    .route("/never", get(std::future::pending::<&str>));
                serve(listener, app, limits).await
            })
        });
        address
    }

    fn connect(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn request(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = connect(address);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n").unwrap();
        stream
    }

    fn is_served(address: SocketAddr) -> bool {
        let mut answer = String::new();
        let read = request(address, "/").read_to_string(&mut answer);
        read.is_ok() && answer.ends_with("\r\n\r\nserved")
    }

    /// Returns true if the server closes the connection without a response. Fails if it stays open.
    fn is_closed(mut stream: &TcpStream) -> bool {
        match stream.read(&mut [0]) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    #[test]
    fn idle_connections_give_way_oldest_first() {
        let address = start(Limits {
            connections: 8,
            header_time: NEVER,
            time: NEVER,
        });
        let idle: Vec<TcpStream> = (0..300).map(|_| connect(address)).collect();
        assert!(is_served(address));
        // The last of them are still open, the others closed.
        let (closed, open) = idle.split_at(300 - 7);
        assert!(closed.iter().all(is_closed));
        for stream in open {
            stream.set_nonblocking(true).unwrap();
            let error = (&mut &*stream).read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_connection_with_a_request_is_closed_only_if_none_is_idle() {
        let address = start(Limits {
            connections: 4,
            header_time: NEVER,
            time: NEVER,
        });
        // These responses are not read yet.
        let begin = || {
            let stream = request(address, "/large");
            assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
            stream
        };
        let mut unread: Vec<TcpStream> = (0..3).map(|_| begin()).collect();
        let idle = connect(address);
        assert!(is_served(address));
        assert!(is_closed(&idle));
        unread.push(begin());
        assert!(is_served(address));

        let is_complete = unread.iter_mut().map(|stream| {
            let mut response = Vec::new();
            stream.read_to_end(&mut response).is_ok() && response.len() > LARGE
        });
        let is_complete: Vec<bool> = is_complete.collect();
        assert_eq!(is_complete, [false, true, true, true]);
    }

    #[test]
    fn a_header_that_comes_slowly_is_not_waited_for() {
        let address = start(Limits {
            connections: 4,
            header_time: Duration::from_millis(50),
            time: NEVER,
        });
        let mut slow = connect(address);
        slow.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
        assert!(is_closed(&slow));
    }

    #[test]
    fn a_response_that_takes_too_long_is_cut_off() {
        let address = start(Limits {
            connections: 4,
            header_time: NEVER,
            time: Duration::from_millis(50),
        });
        assert!(is_closed(&request(address, "/never")));
    }
}
