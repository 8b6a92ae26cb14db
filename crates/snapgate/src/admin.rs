//! The HTTP side: `/metrics`, `/livez` and `/readyz`.
//!
//! It runs on a thread of its own and only reads what the workers publish.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::oneshot;

use self::server::{Limits, serve};
use crate::counters::Published;
use crate::metrics;
use crate::status::Status;

mod server;

/// A worker that took no turn for this long hangs: its timers alone wake it more often.
const HANG_TIME: Duration = Duration::from_secs(5);

/// The running HTTP server; it stops when this is dropped.
pub(crate) struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Admin {
    /// Binds `address` and serves from then on.
    pub(crate) fn start(
        address: SocketAddr,
        workers: Arc<[Arc<Published>]>,
        status: Arc<Status>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let app = router(workers, status);
        let thread = thread::Builder::new().name("admin".into()).spawn(move || {
            runtime.block_on(async {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => {
                        tracing::error!("cannot serve metrics: {error}");
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

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        // The thread may have ended by itself; both calls fail then, and there is nothing to do.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// What is asked about.
struct Observed {
    published: Arc<[Arc<Published>]>,
    status: Arc<Status>,
    /// For each worker the last turn seen, and when it was first seen.
    turns: Mutex<Vec<(u64, Instant)>>,
}

impl Observed {
    /// Indexes of the workers that took no turn for [`HANG_TIME`].
    ///
    /// A worker that hangs is noticed on the second query at the earliest.
    fn hanging(&self, now: Instant) -> Vec<usize> {
        let mut seen = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hanging = Vec::new();
        for (worker, (published, (turns, since))) in
            self.published.iter().zip(seen.iter_mut()).enumerate()
        {
            let current = published.snapshot().turns;
            if current != *turns {
                (*turns, *since) = (current, now);
            } else if now.duration_since(*since) > HANG_TIME {
                hanging.push(worker);
            }
        }
        hanging
    }
}

fn router(published: Arc<[Arc<Published>]>, status: Arc<Status>) -> Router {
    let turns = Mutex::new(vec![(u64::MAX, Instant::now()); published.len()]);
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(Observed {
            published,
            status,
            turns,
        }))
}

async fn metrics_page(State(observed): State<Arc<Observed>>) -> Response {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics::encode(&observed.published, &observed.status) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn livez(State(observed): State<Arc<Observed>>) -> Response {
    match observed.hanging(Instant::now()).as_slice() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::ConfiguredIdentities;
    use crate::config::Authorization;
    use crate::counters::Counters;

    #[test]
    fn a_worker_that_takes_no_turn_hangs_after_a_while() {
        let published: Arc<[Arc<Published>]> = Arc::new([Arc::default()]);
        let start = Instant::now();
        let authorization = ConfiguredIdentities::new(&Authorization::AnyIdentity);
        let workers = Observed {
            published: Arc::clone(&published),
            status: Arc::new(Status::new(Arc::new(authorization), Arc::default(), None)),
            turns: Mutex::new(vec![(u64::MAX, start)]),
        };

        assert!(workers.hanging(start).is_empty());
        assert!(workers.hanging(start + HANG_TIME).is_empty());
        assert_eq!(workers.hanging(start + 2 * HANG_TIME), [0]);

        published[0].publish(&Counters {
            turns: 1,
            ..Counters::default()
        });
        assert!(workers.hanging(start + 3 * HANG_TIME).is_empty());
    }
}
