//! A running gateway: its sockets, its workers and its HTTP server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use crossbeam_channel::Receiver;
use snaptun::{HandshakeLimits, ReplayGuard, ShardConfig, SnapTunServer};
use udp_shards::DispatchKey;

use crate::accounting::UsageSink;
use crate::authorization::{Authorizer, IdentityChanges, Registry};
use crate::config::{Config, Dispatch};
use crate::control_plane::ControlPlaneMetrics;
use crate::counters::{Counters, Published};
use crate::drain::Drain;
use crate::drop_reason::{DropReason, QueueLoss};
use crate::gateway_clock::GatewayClock;
use crate::http::HttpServer;
use crate::identities::Identity;
use crate::interfaces::{BoundInterface, InterfaceWatch};
use crate::mailbox::{Mailbox, Message, Postbox, mailbox};
use crate::pinning::{PinWatch, PinnedCpus, PinnedThread};
use crate::session_endings::SessionEndings;
use crate::state::{DirectoryFeed, LocalFiles, OpenFiles, StateWriter};
use crate::status::Status;
use crate::summary::Summary;
use crate::system_clock::{Dependents, SystemClock};
use crate::turn_watch::TurnWatch;
use crate::worker::{
    Lanes, MAILBOX, Owners, Pipeline, PipelineParts, ScionUpstream, Sockets, Upstream, Worker,
};

mod bound_sockets;
mod builder;
mod clock;
mod remedy;
mod start_error;
#[cfg(test)]
mod tests;
mod worker_thread;

use self::bound_sockets::{BoundSockets, RouterLanes};
pub use self::builder::GatewayBuilder;
pub use self::start_error::StartError;
pub use self::worker_thread::WorkerFailure;
pub use crate::drain::Drained;
pub use crate::metrics::GatewayMetrics;
pub use crate::state::StateError;

/// Capacity of a shard's queue of tunnel changes, which is emptied at the end of each turn.
const DIRECTORY_CHANGES: usize = 1024;

/// A running gateway. Stopping or dropping it stops its threads and closes its sockets; both wait for the threads to
/// end, and with a state directory up to 2 s for its last write.
pub struct Gateway {
    addresses: LocalAddresses,
    workers: Vec<RunningWorker>,
    published: Arc<[Arc<Published>]>,
    failures: Receiver<WorkerFailure>,
    status: Arc<Status>,
    /// Threads of pinned workers.
    pinned: Vec<PinnedThread>,
    /// Interfaces that sockets are bound to.
    interfaces: Vec<BoundInterface>,
    _http: Option<HttpServer>,
    /// Writes for the last time when it is dropped, after the workers have stopped.
    _state: Option<StateWriter>,
    _clock: SystemClock,
    session_endings: SessionEndings,
    started: Instant,
}

/// The bound addresses of a gateway, with their actual ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalAddresses {
    /// Addresses for tunnels, in the order of the configuration.
    pub tunnels: Vec<SocketAddr>,
    /// Address towards SCION; `None` unless the gateway forwards to SCION.
    pub internal: Option<SocketAddr>,
    /// Address of the HTTP server; `None` without one.
    pub metrics: Option<SocketAddr>,
}

/// Parts of a gateway that its program chooses.
pub(crate) struct Attachments {
    /// Opens the state directory.
    pub(crate) open_state: OpenFiles,
    /// Receives usage records. The gateway drops it when its workers have stopped.
    pub(crate) usage: Option<UsageSink>,
    /// The registry, with registrations already in it; made from the configuration if there is none.
    pub(crate) registry: Option<Arc<Registry>>,
    /// True if [`Gateway::serve_control_plane`] will be called. The gateway is not ready before.
    pub(crate) has_control_plane: bool,
}

impl Default for Attachments {
    /// Files are accessed by the calling thread, and there are no usage records.
    fn default() -> Self {
        Self {
            open_state: LocalFiles::open,
            usage: None,
            registry: None,
            has_control_plane: false,
        }
    }
}

struct RunningWorker {
    postbox: Postbox,
    /// Returns the worker's mailbox, unless the worker failed.
    thread: Option<thread::JoinHandle<Option<Mailbox>>>,
}

impl Gateway {
    /// Binds all sockets and starts all workers, and returns when they run. [`Gateway::builder`] makes a configuration
    /// and starts it.
    ///
    /// Waits 1 to 50 ms for a check of the clock, and for the file system if there is a state directory. The
    /// requirements of the fields of [`Config`] are not checked.
    ///
    /// # Errors
    ///
    /// See [`StartError`]. Threads that were already started are stopped.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(config, Attachments::default())
    }

    /// Starts a gateway with the parts that its program chooses.
    pub(crate) fn start_with(
        config: &Config,
        attachments: Attachments,
    ) -> Result<Self, StartError> {
        Self::start_on(config, attachments, &GatewayClock::start())
    }

    fn start_on(
        config: &Config,
        attachments: Attachments,
        clock: &GatewayClock,
    ) -> Result<Self, StartError> {
        let Attachments {
            open_state,
            usage,
            registry,
            has_control_plane,
        } = attachments;
        if !clock::advances() {
            return Err(StartError::FrozenClock);
        }
        let workers = config.workers.count;
        let key = DispatchKey::random().map_err(StartError::Random)?;
        let bound = BoundSockets::bind(config, workers, &key)?;
        let interfaces = bound_interfaces(config)?;
        let published: Arc<[Arc<Published>]> = (0..workers.get()).map(|_| Arc::default()).collect();
        let inboxes = (0..workers.get())
            .map(|worker| Inbox::new().map_err(|source| StartError::Worker { worker, source }))
            .collect::<Result<Vec<_>, _>>()?;
        let postboxes: Vec<_> = inboxes.iter().map(|inbox| inbox.postbox.clone()).collect();
        let (state_writer, mut feeds) =
            start_state_writer(config, open_state, clock, key, &postboxes)?.unzip();
        let authorization = Arc::new(registry.map_or_else(
            || Authorizer::new(&config.authorization),
            Authorizer::Registry,
        ));
        let state = state_writer
            .as_ref()
            .map(|writer| Arc::clone(writer.status()));
        // Common to all shards: different times of cookie renewal would tell them apart.
        let started = clock.now();
        let replay_guard = Arc::new(ReplayGuard::new(
            started,
            config.remembered_identities,
            config.handshake_timestamp_tolerance,
        ));
        let handshake_limits =
            Arc::new(HandshakeLimits::new(started, &config.limits, workers.get()));
        let session_endings = SessionEndings::default();
        let dependents = Dependents {
            guard: Arc::clone(&replay_guard),
            authorization: Arc::clone(&authorization),
            sessions: session_endings.clone(),
        };
        let system_clock =
            SystemClock::start(clock.clone(), dependents).map_err(StartError::Clock)?;
        let status = Arc::new(Status::new(
            Arc::clone(&authorization),
            system_clock.is_trusted(),
            state,
            usage.as_ref().and_then(|sink| sink.log.clone()),
            PinnedCpus::new(workers.get()),
        ));
        if has_control_plane {
            status.await_control_plane();
        }
        let http = config
            .metrics
            .map(|address| {
                HttpServer::start(address, Arc::clone(&published), Arc::clone(&status))
                    .map_err(|source| StartError::Metrics { address, source })
            })
            .transpose()?;

        let (failed, failures) = crossbeam_channel::bounded(workers.get());
        let mut gateway = Self {
            addresses: LocalAddresses {
                tunnels: bound.listen,
                internal: bound.internal,
                metrics: http.as_ref().map(HttpServer::address),
            },
            workers: Vec::with_capacity(workers.get()),
            published,
            failures,
            status,
            pinned: Vec::new(),
            interfaces,
            _http: http,
            _state: state_writer,
            _clock: system_clock,
            session_endings,
            started: Instant::now(),
        };

        for (me, (inbox, sockets)) in inboxes.into_iter().zip(bound.workers).enumerate() {
            let source_error = |source| StartError::Worker { worker: me, source };
            let Inbox {
                poll,
                postbox,
                mailbox,
            } = inbox;
            let listeners = sockets.listeners.len();
            let (router_lanes, unpolled_lanes) = sockets.upstream.unzip();
            let sockets =
                Sockets::new(poll, sockets.listeners, sockets.garbage).map_err(source_error)?;
            let lanes = Lanes::new(clock.now(), sockets.registry(), unpolled_lanes)
                .map_err(source_error)?;
            let pipeline = Pipeline::new(PipelineParts {
                owners: Owners { key, workers, me },
                clock: clock.clone(),
                session_endings: gateway.session_endings.clone(),
                shard: SnapTunServer::new(
                    started,
                    config.private_key.static_key().clone(),
                    Arc::clone(&authorization),
                    Arc::clone(&replay_guard),
                    Arc::clone(&handshake_limits),
                    shard_config(config, usage.is_some()),
                ),
                upstream: upstream(
                    config,
                    gateway.addresses.internal,
                    &router_lanes.unwrap_or_default(),
                ),
                peers: postboxes.clone(),
                directory: feeds.as_mut().and_then(Iterator::next),
                usage: usage.as_ref().map(|sink| sink.feed(clock.clone())),
                listeners,
                has_other_sockets: config.dispatch == Dispatch::Kernel,
                lanes,
            });
            let published = Arc::clone(&gateway.published[me]);
            let worker = Worker::new(sockets, mailbox, pipeline, published);
            let run = move || worker.run();
            let cpu = config.cpus.cpu_of(me);
            let thread = worker_thread::spawn(me, cpu, run, failed.clone())?;
            gateway.status.pinned_cpus().set(me, cpu);
            gateway.pinned.extend(cpu.map(|cpu| PinnedThread {
                worker: me,
                thread: thread.id,
                cpu,
            }));
            gateway.workers.push(RunningWorker {
                postbox,
                thread: Some(thread.handle),
            });
        }
        Ok(gateway)
    }

    /// Returns the bound addresses.
    pub fn local_addresses(&self) -> &LocalAddresses {
        &self.addresses
    }

    /// Returns the counters of each worker at the end of its last turn. An idle worker has a turn at least once a
    /// second.
    pub fn counters(&self) -> Vec<Counters> {
        self.published
            .iter()
            .map(|published| published.snapshot())
            .collect()
    }

    /// Returns a collector of the metrics, for the registry of an embedding program.
    pub fn metrics(&self) -> GatewayMetrics {
        GatewayMetrics::new(Arc::clone(&self.published), Arc::clone(&self.status))
    }

    /// Returns the channel on which a worker reports its failure. A gateway with a failed worker drops the packets of
    /// that worker's tunnels, so a program should stop it and start another one. Each worker reports at most once, also
    /// after a panic in the program's authorization. The channel is closed when all workers have ended.
    pub fn failures(&self) -> &Receiver<WorkerFailure> {
        &self.failures
    }

    /// Replaces the list of authorized identities. Tunnels of removed identities end within a second, unless the
    /// identity is also [registered](Registry::apply). Returns `None`, and changes nothing, if the gateway was not started
    /// with a list. Of identities with the same public key, the last counts. Takes time in proportion to the list;
    /// workers do not wait for it.
    pub fn replace_identities(&self, identities: &[Identity]) -> Option<IdentityChanges> {
        let registry = self.registry()?;
        Some(registry.replace(identities))
    }

    /// Returns the registry of identities, to register clients. `None` if the gateway was not started with a list of
    /// identities, which may be empty.
    pub fn registry(&self) -> Option<&Arc<Registry>> {
        self.status.authorization().registry()
    }

    /// Shows the metrics of a control plane that serves, and that the gateway is ready.
    pub(crate) fn serve_control_plane(&self, metrics: ControlPlaneMetrics) {
        self.status.set_control_plane(metrics);
    }

    /// Ends all sessions, and begins a new handshake with each client that has one.
    ///
    /// For a program that learns that its virtual machine was copied, or restored from a snapshot: the other copy may
    /// have sent in these sessions, with the same keys and counters. The gateway does the same when the kernel reports
    /// it (a new VM generation ID), or when the system clock leaps forward by 10 s or more. Returns at once; no worker
    /// sends in these sessions after its current turn.
    pub fn end_sessions(&self) {
        self.session_endings.end_all();
    }

    /// Creates no new tunnels from now on, and waits until no tunnel has carried data for `idle_after`, at most for
    /// `timeout`. Existing tunnels are served until [`Gateway::stop`]. It cannot be undone. Blocks the calling thread,
    /// and looks every 0.5 s; other methods can be called from other threads meanwhile. With [`Duration::MAX`] it waits
    /// without limit.
    pub fn drain(&self, idle_after: Duration, timeout: Duration) -> Drained {
        let deadline = Instant::now().checked_add(timeout);
        self.begin_drain(idle_after).wait(deadline)
    }

    /// Stops the workers at the end of their turns, without a drain, and returns their totals. Packets that wait are
    /// lost and counted as drops. Clients are not notified.
    pub fn stop(mut self) -> Summary {
        self.stop_workers();
        Summary {
            ran: self.started.elapsed(),
            workers: self.counters(),
        }
    }

    /// Returns a watch for workers that hang.
    pub(crate) fn turn_watch(&self, now: Instant) -> TurnWatch {
        TurnWatch::new(Arc::clone(&self.published), now)
    }

    /// Returns a watch for workers that lose their CPU.
    pub(crate) fn pin_watch(&self) -> PinWatch {
        PinWatch::new(self.pinned.clone(), Arc::clone(self.status.pinned_cpus()))
    }

    /// Returns a watch for the interfaces that sockets are bound to.
    pub(crate) fn interface_watch(&self) -> InterfaceWatch {
        InterfaceWatch::new(self.interfaces.iter().copied())
    }

    /// Creates no new tunnels from now on.
    pub(crate) fn begin_drain(&self, idle_after: Duration) -> Drain {
        self.status.set_draining();
        let workers = self.workers.iter().map(|worker| worker.postbox.clone());
        Drain::begin(workers.collect(), idle_after)
    }

    fn stop_workers(&mut self) {
        for worker in &self.workers {
            // A worker that failed has no mailbox any more.
            let _gone = worker.postbox.deliver(Message::Stop);
        }
        let mailboxes = self.workers.iter_mut().map(|worker| {
            // A panic has been caught and reported as a failure.
            worker
                .thread
                .take()
                .and_then(|thread| thread.join().ok().flatten())
        });
        let mailboxes: Vec<_> = mailboxes.collect();
        for (published, mailbox) in self.published.iter().zip(mailboxes) {
            // Packets that a worker handed over after the receiving worker had stopped.
            let lost = mailbox.map_or(0, Mailbox::packets_left);
            let mut counters = published.snapshot();
            counters.taken_packets += lost;
            counters.drop_packets(DropReason::Queue(QueueLoss::Stopped), lost);
            published.publish(&counters);
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop_workers();
    }
}

/// Returns the interfaces that sockets are bound to.
fn bound_interfaces(config: &Config) -> Result<Vec<BoundInterface>, StartError> {
    let internal = config.forward.scion().and_then(|scion| scion.interface);
    config
        .listen_interface
        .into_iter()
        .chain(internal)
        .map(|interface| {
            BoundInterface::by_name(interface)
                .map_err(|source| StartError::Interface { interface, source })
        })
        .collect()
}

/// A worker's mailbox and the poll that it wakes. All are created before the first worker runs, so that every worker
/// can be woken from the beginning.
struct Inbox {
    poll: mio::Poll,
    postbox: Postbox,
    mailbox: Mailbox,
}

impl Inbox {
    fn new() -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let (postbox, mailbox) = mailbox(mio::Waker::new(poll.registry(), MAILBOX)?);
        Ok(Self {
            poll,
            postbox,
            mailbox,
        })
    }
}

/// Starts the state writer, if there is a state directory. Also returns the feeds of the workers.
fn start_state_writer(
    config: &Config,
    open_files: OpenFiles,
    clock: &GatewayClock,
    key: DispatchKey,
    postboxes: &[Postbox],
) -> Result<Option<(StateWriter, impl Iterator<Item = DirectoryFeed> + use<>)>, StateError> {
    let Some(directory) = &config.state_dir else {
        return Ok(None);
    };
    let public_key = config.private_key.public_key();
    let tunnels_max = postboxes.len() * config.limits.tunnels_per_shard;
    let (writer, feeds) = StateWriter::start(
        directory,
        open_files,
        public_key.as_bytes(),
        tunnels_max,
        clock.clone(),
        key,
        postboxes.to_vec(),
    )?;
    Ok(Some((writer, feeds.into_iter())))
}

fn shard_config(config: &Config, usage_records: bool) -> ShardConfig {
    ShardConfig {
        usage_records,
        directory_changes: config.state_dir.as_ref().map_or(0, |_| DIRECTORY_CHANGES),
        ..config.limits.clone()
    }
}

fn upstream(config: &Config, internal: Option<SocketAddr>, lanes: &RouterLanes) -> Upstream {
    config.forward.map(|scion| {
        let internal = internal.unwrap_or(scion.internal);
        Box::new(ScionUpstream::new(scion, internal, lanes))
    })
}
