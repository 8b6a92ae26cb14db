//! A running gateway: its sockets, its workers and its HTTP side.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use crossbeam_channel::Receiver;
use snaptun::{HandshakeLimits, ReplayGuard, ShardConfig, SnapTunServer};
use udp_shards::{
    BufferReport, DispatchKey, GarbageSocket, ShardSocket, bind_tunnel_group, bind_upstream_group,
};

use crate::authorization::{ConfiguredIdentities, IdentityChanges, IdentityList};
use crate::config::Config;
use crate::counters::{Counters, Published};
use crate::drain::Drain;
use crate::drop_reason::{DropReason, QueueLoss};
use crate::http::HttpServer;
use crate::identities::Identity;
use crate::mailbox::{Mailbox, Message, Postbox, mailbox};
use crate::state::{DirectoryFeed, StateError, StateWriter};
use crate::status::Status;
use crate::summary::Summary;
use crate::system_clock::SystemClock;
use crate::turn_watch::TurnWatch;
use crate::worker::{
    MAILBOX, Owners, Pipeline, PipelineParts, ScionUpstream, Sockets, UnpolledListener, Upstream,
    Worker,
};

mod clock;
mod start_error;
mod worker_thread;

pub use start_error::StartError;
pub use worker_thread::WorkerFailure;

/// Changes of a shard's tunnels that wait for the end of the turn.
const DIRECTORY_CHANGES: usize = 1024;

/// A running gateway. It stops when [`Gateway::stop`] is called or it is dropped.
pub struct Gateway {
    listen: Vec<SocketAddr>,
    internal: Option<SocketAddr>,
    workers: Vec<RunningWorker>,
    published: Arc<[Arc<Published>]>,
    failures: Receiver<WorkerFailure>,
    status: Arc<Status>,
    http: Option<HttpServer>,
    /// Writes for the last time when the workers have stopped and this is dropped.
    _state: Option<StateWriter>,
    _clock: SystemClock,
    started: Instant,
}

struct RunningWorker {
    postbox: Postbox,
    /// Ends with the worker's mailbox, unless the worker failed.
    thread: Option<thread::JoinHandle<Option<Mailbox>>>,
}

impl Gateway {
    /// Binds all sockets, starts all workers and returns when they serve.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left behind.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        if !clock::advances() {
            return Err(StartError::FrozenClock);
        }
        let workers = config.workers.count;
        let key = DispatchKey::random().map_err(StartError::Random)?;
        let bound = BoundSockets::bind(config, workers, &key)?;
        let published: Arc<[Arc<Published>]> = (0..workers.get()).map(|_| Arc::default()).collect();
        let inboxes = (0..workers.get())
            .map(|worker| Inbox::new().map_err(|source| StartError::Worker { worker, source }))
            .collect::<Result<Vec<_>, _>>()?;
        let postboxes: Vec<_> = inboxes.iter().map(|inbox| inbox.postbox.clone()).collect();
        let (state_writer, mut feeds) = start_state_writer(config, key, &postboxes)?.unzip();
        let authorization = Arc::new(ConfiguredIdentities::new(&config.authorization));
        let state = state_writer
            .as_ref()
            .map(|writer| Arc::clone(writer.status()));
        // The same for all shards: when their cookies begin anew would tell them apart.
        let started = Instant::now();
        let replay_guard = Arc::new(ReplayGuard::new(
            started,
            config.remembered_identities,
            config.handshake_timestamp_tolerance,
        ));
        let handshake_limits = Arc::new(HandshakeLimits::new(
            started,
            &shard_config(config),
            workers.get(),
        ));
        let clock = SystemClock::start(Arc::clone(&replay_guard)).map_err(StartError::Clock)?;
        let status = Arc::new(Status::new(
            Arc::clone(&authorization),
            clock.is_trusted(),
            state,
        ));
        let http = config
            .metrics
            .map(|address| {
                HttpServer::start(address, Arc::clone(&published), Arc::clone(&status))
                    .map_err(|source| StartError::Metrics { address, source })
            })
            .transpose()?;

        let (failed, failures) = crossbeam_channel::bounded(workers.get());
        let mut gateway = Self {
            listen: bound.listen,
            internal: bound.internal,
            workers: Vec::with_capacity(workers.get()),
            published,
            failures,
            status,
            http,
            _state: state_writer,
            _clock: clock,
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
            let sockets = Sockets::new(poll, sockets.listeners, sockets.upstream, sockets.garbage)
                .map_err(source_error)?;
            let pipeline = Pipeline::new(PipelineParts {
                owners: Owners { key, workers, me },
                shard: SnapTunServer::new(
                    started,
                    config.private_key.static_key().clone(),
                    Arc::clone(&authorization),
                    Arc::clone(&replay_guard),
                    Arc::clone(&handshake_limits),
                    shard_config(config),
                ),
                upstream: upstream(config, gateway.internal),
                peers: postboxes.clone(),
                directory: feeds.as_mut().and_then(Iterator::next),
                listeners,
            });
            let published = Arc::clone(&gateway.published[me]);
            let worker = Worker::new(sockets, mailbox, pipeline, published);
            let run = move || worker.run();
            let thread = worker_thread::spawn(me, config.cpus.cpu_of(me), run, failed.clone())?;
            gateway.workers.push(RunningWorker {
                postbox,
                thread: Some(thread),
            });
        }
        Ok(gateway)
    }

    /// The listen addresses, with their real ports, in the order of the configuration.
    pub fn listen_addrs(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// The address towards SCION, with its real port; `None` unless packets go there.
    pub fn internal_addr(&self) -> Option<SocketAddr> {
        self.internal
    }

    /// Where the metrics are served, if they are.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::address)
    }

    /// Each worker's counters as of its last turn.
    pub fn counters(&self) -> Vec<Counters> {
        self.published
            .iter()
            .map(|published| published.snapshot())
            .collect()
    }

    /// Where a worker reports that it failed. Whoever runs a gateway watches this, and ends the
    /// process: a gateway half dead is worse than one restarted.
    pub fn failures(&self) -> &Receiver<WorkerFailure> {
        &self.failures
    }

    /// Puts `identities` into the place of those that may have a tunnel. Within a second, tunnels of others
    /// are gone, and nothing passes them any more. `None`: everyone may, and there is nothing to replace.
    pub fn replace_identities(&self, identities: &[Identity]) -> Option<IdentityChanges> {
        let list = self.identity_list()?;
        Some(list.replace(identities))
    }

    /// The identities that may have a tunnel, unless everyone may.
    pub(crate) fn identity_list(&self) -> Option<&Arc<IdentityList>> {
        self.status.authorization().list()
    }

    /// Watches whether the workers take turns.
    pub(crate) fn turn_watch(&self, now: Instant) -> TurnWatch {
        TurnWatch::new(Arc::clone(&self.published), now)
    }

    /// Makes no new tunnels from now on. Existing ones are served until [`Gateway::stop`].
    pub(crate) fn drain(&self, idle_after: Duration) -> Drain {
        self.status.set_draining();
        let workers = self.workers.iter().map(|worker| worker.postbox.clone());
        Drain::begin(workers.collect(), idle_after)
    }

    /// Stops the workers and returns what they did.
    pub fn stop(mut self) -> Summary {
        self.stop_workers();
        Summary {
            ran: self.started.elapsed(),
            workers: self.counters(),
        }
    }

    fn stop_workers(&mut self) {
        for worker in &self.workers {
            // A worker that failed is not there to be told.
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
            // Given by a worker that stopped after the one that it was for.
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

/// The sockets of all workers, before there are workers.
struct BoundSockets {
    listen: Vec<SocketAddr>,
    internal: Option<SocketAddr>,
    workers: Vec<WorkerSockets>,
}

#[derive(Default)]
struct WorkerSockets {
    listeners: Vec<UnpolledListener>,
    upstream: Option<ShardSocket>,
    garbage: Vec<GarbageSocket>,
}

impl BoundSockets {
    fn bind(config: &Config, workers: NonZeroUsize, key: &DispatchKey) -> Result<Self, StartError> {
        let options = &config.sockets;
        let mut bound = Self {
            listen: Vec::new(),
            internal: None,
            workers: (0..workers.get())
                .map(|_| WorkerSockets::default())
                .collect(),
        };
        for &address in &config.listen {
            let group = bind_tunnel_group(address, workers, key, config.dispatch, options)?;
            warn_of_short_buffers(group.local_addr, &group.buffers);
            bound.listen.push(group.local_addr);
            let mut handshakes = group.handshake.into_iter();
            let mut mixed = group.mixed.into_iter();
            for (worker, data) in bound.workers.iter_mut().zip(group.data) {
                worker.listeners.push(UnpolledListener {
                    data,
                    handshake: handshakes.next(),
                    mixed: mixed.next(),
                });
            }
            bound.workers[0].garbage.extend(group.garbage);
        }
        if let Some(scion) = config.forward.scion() {
            let group =
                bind_upstream_group(scion.internal, workers, key, config.dispatch, options)?;
            warn_of_short_buffers(group.local_addr, &group.buffers);
            bound.internal = Some(group.local_addr);
            for (worker, socket) in bound.workers.iter_mut().zip(group.sockets) {
                worker.upstream = Some(socket);
            }
        }
        Ok(bound)
    }
}

fn warn_of_short_buffers(address: SocketAddr, buffers: &BufferReport) {
    let sizes = [
        ("receive", "net.core.rmem_max", buffers.receive),
        ("send", "net.core.wmem_max", buffers.send),
    ];
    for (buffer, sysctl, size) in sizes {
        if size.is_short() {
            tracing::warn!(
                %address,
                wanted_bytes = size.wanted_bytes,
                got_bytes = size.got_bytes,
                "the kernel granted a smaller {buffer} buffer than configured: bursts may be lost; \
                 raise {sysctl}, or give the process CAP_NET_ADMIN",
            );
        }
    }
}

/// A worker's mailbox and the poll that it wakes. All are made before the first worker runs, so that every worker
/// can be woken before it does.
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

/// Starts to keep the tunnels for the next process, if so configured. Also returns the feeds of the workers.
fn start_state_writer(
    config: &Config,
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
        public_key.as_bytes(),
        tunnels_max,
        key,
        postboxes.to_vec(),
    )?;
    Ok(Some((writer, feeds.into_iter())))
}

fn shard_config(config: &Config) -> ShardConfig {
    ShardConfig {
        directory_changes: config.state_dir.as_ref().map_or(0, |_| DIRECTORY_CHANGES),
        ..config.limits.clone()
    }
}

fn upstream(config: &Config, internal: Option<SocketAddr>) -> Upstream {
    config.forward.map(|scion| {
        let internal = internal.unwrap_or(scion.internal);
        Box::new(ScionUpstream::new(scion, internal))
    })
}
