//! HTTP server of `/metrics`, `/livez` and `/readyz`.
//!
//! It runs on a separate thread and only reads what the workers publish.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use std::{io, thread};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::oneshot;

use self::server::{Limits, serve};
use crate::counters::Published;
use crate::metrics::GatewayMetrics;
use crate::status::Status;
use crate::turn_watch::{HANG_TIME, TurnWatch};

mod server;

/// Maximum number of connections that wait for accept(2); `net.core.somaxconn` bounds it as well.
const BACKLOG: i32 = 1024;

/// The running HTTP server. Dropping it stops the server.
pub(crate) struct HttpServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl HttpServer {
    /// Binds `address` and starts to serve.
    pub(crate) fn start(
        address: SocketAddr,
        workers: Arc<[Arc<Published>]>,
        status: Arc<Status>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        // The standard library's 128 can be too few for connections that arrive at once. The kernel drops the others,
        // whose clients try again after a second.
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let app = router(workers, status);
        let thread = thread::Builder::new().name("http".into()).spawn(move || {
            runtime.block_on(async {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => {
                        tracing::error!(%error, "cannot serve metrics");
                        return;
                    }
                };
                tokio::select! {
                    never = serve(listener, app, Limits::default()) => match never {},
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Returns the bound address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // The thread may have ended already; both calls fail then.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// State that the handlers read.
struct Observed {
    published: Arc<[Arc<Published>]>,
    status: Arc<Status>,
    metrics: GatewayMetrics,
    /// Used by this thread only, which never waits while it holds the lock.
    turns: Mutex<TurnWatch>,
}

fn router(published: Arc<[Arc<Published>]>, status: Arc<Status>) -> Router {
    let turns = TurnWatch::new(Arc::clone(&published), Instant::now());
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(Observed {
            metrics: GatewayMetrics::new(Arc::clone(&published), Arc::clone(&status)),
            published,
            status,
            turns: Mutex::new(turns),
        }))
}

async fn metrics_page(State(observed): State<Arc<Observed>>) -> Response {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match observed.metrics.page() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn livez(State(observed): State<Arc<Observed>>) -> Response {
    let mut turns = observed
        .turns
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match turns.hanging(Instant::now()).as_slice() {
        [] => (StatusCode::OK, "ok\n").into_response(),
        hanging => {
            let text = format!("workers without a turn for {HANG_TIME:?}: {hanging:?}\n");
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn readyz(State(observed): State<Arc<Observed>>) -> Response {
    if observed.status.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    if observed.status.is_awaiting_control_plane() {
        return (StatusCode::SERVICE_UNAVAILABLE, "control plane starting\n").into_response();
    }
    let starting = observed
        .published
        .iter()
        .filter(|worker| worker.snapshot().turns == 0)
        .count();
    if starting == 0 {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("workers starting: {starting}\n"),
        )
            .into_response()
    }
}
