//! The server of the control plane: RPCs of clients, and a local interface for commands.
//!
//! One thread answers all requests. Registrations, which wait for storage, the local interface, name lookups and files
//! of certificates have blocking threads, each kind a limited number. So none of them delays another one, and none
//! delays the data plane. The nice value of these threads is 5 above that of the process, so that they leave the CPU to
//! the workers of the data plane when both want it.
//!
//! The path of a request: `listener` accepts the connection, `connections` makes room for it, `server` serves HTTP on
//! it, `request` reads the request, `service` answers it. A request is in progress until its answer was sent.

use std::any::Any;
use std::fmt;
use std::future::pending;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::{self, JoinSet};

use self::connections::Connections;
use self::endhost_api::EndhostApi;
use self::listener::{Shared, bind};
use self::local::{BLOCKING_CALLS, LocalApi, LocalSocket};
use self::public::PublicAddresses;
use self::resolver::LOOKUPS;
use self::service::{RpcHandler, Rpcs};
use self::tls::Certificate;

mod activity;
mod backend;
mod body;
mod certificate;
mod code;
mod connections;
mod endhost_answer;
mod endhost_api;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod listener;
pub mod local;
mod log_limit;
mod messages;
mod metrics;
mod owner;
mod public;
mod request;
mod resolver;
mod server;
mod service;
mod settings;
mod shares;
mod start_error;
mod tls;

pub use self::backend::{Follow, Refusal, RefusalKind, Registrations, RevocationInForce, Tokens};
pub use self::code::Code;
pub use self::endhost_api::check_endhost_api;
pub use self::metrics::{ConnectionEnd, ControlMetrics, EndhostApiResult, LookupRefusal};
pub use self::public::check_control_plane_url;
pub use self::request::Method;
pub use self::settings::{ControlSettings, EndhostApiSettings, Limits, TlsSettings};
pub use self::start_error::{DirectoryError, StartError, TlsError};
pub use self::tls::check_certificate;

/// Maximum time that the end of the server waits for blocking threads, which nothing can interrupt.
const BLOCKING_TIME: Duration = Duration::from_secs(1);

/// Number of blocking threads that read certificates and the keys of tokens, and that look up the server of these keys.
const READERS: usize = 3;

/// Difference between the nice value of the threads and that of the process.
const NICE: i32 = 5;

/// A running control plane. Dropping it stops it: answers in progress are sent for
/// [`Limits::closing_time`], and registrations that wait for storage are awaited for one second.
pub struct ControlPlane {
    addresses: Vec<SocketAddr>,
    metrics: ControlMetrics,
    failures: Receiver<ControlFailure>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Removed last.
    _socket: Option<LocalSocket>,
}

/// Failure of the control plane, which serves no requests any more.
#[derive(Debug, thiserror::Error)]
#[error("the control plane failed: {reason}")]
pub struct ControlFailure {
    /// Error or panic message.
    pub reason: String,
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Checks the settings, binds all addresses and starts to serve.
    ///
    /// # Errors
    ///
    /// A setting is wrong, a file cannot be used, or an address cannot be bound.
    pub fn start(
        settings: &ControlSettings,
        tokens: Arc<dyn Tokens>,
        registrations: Arc<dyn Registrations>,
    ) -> Result<Self, StartError> {
        if settings.listen.is_empty() {
            let text = "the control plane needs an address to listen on";
            return Err(StartError::Setting(text.to_owned()));
        }
        if settings.isd_ases.is_empty() {
            let text = "the control plane needs the ISD-AS that clients reach";
            return Err(StartError::Setting(text.to_owned()));
        }
        let metrics = ControlMetrics::new();
        let certificate = match &settings.tls {
            Some(tls) => Some(Certificate::load(tls, &metrics)?),
            None => None,
        };
        let endhost_api = match &settings.endhost_api {
            Some(endhost_api) => Some(EndhostApi::new(endhost_api, metrics.clone())?),
            None => None,
        };
        let listeners = bind_all(&settings.listen)?;
        let addresses: Vec<SocketAddr> = listeners.iter().map(|(_, address)| *address).collect();
        let public = PublicAddresses::new(settings, &addresses)?;
        let (socket, local_listener) = match &settings.local_directory {
            Some(directory) => {
                let (socket, listener) = LocalSocket::bind(directory)?;
                (Some(socket), Some(listener))
            }
            None => (None, None),
        };
        let local = local_listener.map(|listener| {
            let api = LocalApi::new(Arc::clone(&registrations), settings.limits);
            (listener, api)
        });
        let follow = Arc::clone(&tokens).follow();
        let rpcs = Rpcs::new(
            settings,
            public,
            tokens,
            registrations,
            endhost_api,
            metrics.clone(),
        );
        let server = Server {
            limits: settings.limits,
            listeners: listeners
                .into_iter()
                .map(|(listener, _)| listener)
                .collect(),
            local,
            rpcs: Arc::new(rpcs),
            follow,
            certificate,
            metrics: metrics.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("control-block")
            .max_blocking_threads(
                settings.limits.registrations.max(1) + BLOCKING_CALLS + LOOKUPS + READERS,
            )
            .build()
            .map_err(StartError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let (failed, failures) = crossbeam_channel::bounded(1);
        let thread = thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                // Threads that it starts inherit this. A sandbox may forbid it.
                let _refused = rustix::process::nice(NICE);
                run(runtime, server.serve(stopped), &failed);
            })
            .map_err(StartError::Thread)?;
        Ok(Self {
            addresses,
            metrics,
            failures,
            stop: Some(stop),
            thread: Some(thread),
            _socket: socket,
        })
    }

    /// Returns the bound addresses, in the order of the settings.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the collector of the metrics. It stays valid after the end of the control plane.
    #[must_use]
    pub fn metrics(&self) -> ControlMetrics {
        self.metrics.clone()
    }

    /// Returns the channel that receives the failure of the control plane: of its thread, or of a task that has to run
    /// as long as it.
    #[must_use]
    pub fn failures(&self) -> &Receiver<ControlFailure> {
        &self.failures
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // The thread may have ended already; both calls fail then.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn bind_all(listen: &[SocketAddr]) -> Result<Vec<(std::net::TcpListener, SocketAddr)>, StartError> {
    let mut listeners = Vec::new();
    for &address in listen {
        let fail = |source| StartError::Bind { address, source };
        let listener = bind(address, listen).map_err(fail)?;
        let bound = listener.local_addr().map_err(fail)?;
        listeners.push((listener, bound));
    }
    Ok(listeners)
}

/// What the thread of the control plane needs.
struct Server {
    limits: Limits,
    listeners: Vec<std::net::TcpListener>,
    local: Option<(std::os::unix::net::UnixListener, LocalApi)>,
    rpcs: Arc<Rpcs>,
    /// Keeps the keys of tokens current.
    follow: Follow,
    certificate: Option<Arc<Certificate>>,
    metrics: ControlMetrics,
}

/// Runs a server to its end, and reports its failure.
fn run(
    runtime: Runtime,
    serve: impl Future<Output = std::io::Result<()>>,
    failed: &Sender<ControlFailure>,
) {
    let serve = || runtime.block_on(serve);
    let reason = match catch_unwind(AssertUnwindSafe(serve)) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(format!("it panicked: {}", panic_message(&*panic))),
    };
    if let Some(reason) = reason {
        // The channel has room for one failure.
        let _fits = failed.send(ControlFailure { reason });
    }
    runtime.shutdown_timeout(BLOCKING_TIME);
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Tasks that have to run as long as the server.
#[derive(Default)]
struct Tasks {
    running: JoinSet<()>,
    names: Vec<(task::Id, &'static str)>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.names.push((id, name));
    }

    /// Waits until one ends, and returns why.
    async fn failure(&mut self) -> std::io::Error {
        let Some(ended) = self.running.join_next_with_id().await else {
            return pending().await;
        };
        let (id, end) = match ended {
            Ok((id, ())) => (id, "ended".to_owned()),
            Err(error) => {
                let id = error.id();
                let panic = error.try_into_panic();
                let panic = panic.map(|panic| format!("panicked: {}", panic_message(&*panic)));
                (id, panic.unwrap_or_else(|error| error.to_string()))
            }
        };
        let name = self.names.iter().find(|(other, _)| *other == id);
        let name = name.map_or("a task", |(_, name)| name);
        std::io::Error::other(format!("{name} {end}"))
    }
}

async fn keep_keys_current(follow: Follow) {
    match follow.await {}
}

impl Server {
    /// Serves until `stopped`. Connections that are left end with the runtime.
    async fn serve(self, stopped: oneshot::Receiver<()>) -> std::io::Result<()> {
        let (stop, stopping) = watch::channel(());
        let mut tasks = Tasks::default();
        let tls = match &self.certificate {
            Some(certificate) => {
                let follow = Arc::clone(certificate).follow(self.metrics.clone());
                tasks.spawn("the task that reloads the certificate", follow);
                Some(certificate.acceptor().map_err(std::io::Error::other)?)
            }
            None => None,
        };
        let keys = keep_keys_current(self.follow);
        tasks.spawn("the task that refreshes the keys of tokens", keys);
        let shared = Arc::new(Shared {
            limits: self.limits,
            connections: Connections::new(
                self.limits.connections,
                self.limits.connections_per_address,
                self.metrics.clone(),
            ),
            metrics: self.metrics.clone(),
            tls,
        });
        for listener in self.listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let rpcs = Arc::clone(&self.rpcs);
            let handler_for = move |peer: SocketAddr| RpcHandler {
                rpcs: Arc::clone(&rpcs),
                peer: peer.ip(),
            };
            let shared = Arc::clone(&shared);
            let accept = listener::accept(listener, shared, handler_for, stopping.clone());
            tasks.spawn("the task that accepts connections", accept);
        }
        if let Some((listener, api)) = self.local {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let accept = local::accept(listener, api, self.limits, self.metrics, stopping.clone());
            tasks.spawn("the task that accepts local connections", accept);
        }
        drop(stopping);
        tokio::select! {
            biased;
            // An error means that the handle of the control plane was dropped.
            _dropped = stopped => {}
            failure = tasks.failure() => return Err(failure),
        }
        // Every connection and listener has a receiver.
        let _sent = stop.send(());
        let _late = tokio::time::timeout(self.limits.closing_time, stop.closed()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(serve: impl Future<Output = std::io::Result<()>>) -> Option<String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let (failed, failures) = crossbeam_channel::bounded(1);
        run(runtime, serve, &failed);
        drop(failed);
        failures.recv().ok().map(|failure| failure.to_string())
    }

    #[test]
    fn a_server_that_was_stopped_reports_no_failure() {
        assert_eq!(failure(async { Ok(()) }), None);
    }

    #[test]
    fn a_task_that_ends_is_a_failure_of_the_server() {
        let failed = |task: fn()| {
            let serve = async move {
                let mut tasks = Tasks::default();
                tasks.spawn("one task", pending());
                tasks.spawn("another task", async move { task() });
                Err(tasks.failure().await)
            };
            failure(serve).unwrap()
        };
        let expected = "the control plane failed: another task ended";
        assert_eq!(failed(|| {}), expected);
        let expected = "the control plane failed: another task panicked: no sockets";
        assert_eq!(failed(|| panic!("no sockets")), expected);
    }

    #[test]
    fn a_server_that_ends_reports_why() {
        let error = failure(async { Err(std::io::Error::other("no sockets")) });
        assert_eq!(error.unwrap(), "the control plane failed: no sockets");
        let panicked = failure(async { panic!("more than {} tasks", 5) });
        assert_eq!(
            panicked.unwrap(),
            "the control plane failed: it panicked: more than 5 tasks"
        );
    }
}
