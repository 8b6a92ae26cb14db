//! Serving HTTP to few, and to nobody for long.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// After an error of accept(2), which is a lack of something (files, memory) that others use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all who ask together may use.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Connections at once. More wait for one of these to end.
    pub(super) connections: usize,
    /// From the connection to the end of the answer: whoever sends a header byte by byte, or does not read,
    /// has no more.
    pub(super) time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            time: Duration::from_secs(10),
        }
    }
}

/// Answers one request of each connection.
pub(super) async fn serve(listener: TcpListener, app: Router, limits: Limits) -> Infallible {
    let connections = Arc::new(Semaphore::new(limits.connections));
    loop {
        // A semaphore that nobody closes always gives one in the end.
        let permit = Arc::clone(&connections).acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot take a connection for metrics: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = http1::Builder::new()
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app.clone()));
        tokio::spawn(async move {
            let _permit = permit;
            // Whoever is late, or goes away, gets no answer.
            let _ = tokio::time::timeout(limits.time, connection).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::thread;

    use axum::routing::get;

    use super::*;

    #[test]
    fn who_is_slow_keeps_nobody_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits {
            connections: 2,
            // The request below has to come within this time of its connection.
            time: Duration::from_secs(1),
        };
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let app = Router::new().route("/", get(|| async { "served" }));
                serve(listener, app, limits).await
            })
        });

        let mut slow: Vec<TcpStream> = (0..2)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        slow[0].write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();

        assert!(answer.ends_with("\r\n\r\nserved"), "{answer}");
        // Closed without an answer.
        for slow in &mut slow {
            let mut answer = Vec::new();
            let _reset = slow.read_to_end(&mut answer);
            assert_eq!(answer, b"");
        }
    }
}
