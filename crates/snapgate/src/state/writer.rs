//! The thread that writes the state file, and the messages between it and the workers.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use snaptun::DirectoryChange;
use udp_shards::DispatchKey;

use crate::gateway_clock::GatewayClock;
use crate::mailbox::{Message, Postbox};
use crate::repeated_warning::RepeatedWarning;
use crate::state::COMMIT_INTERVAL;
use crate::state::clock::{self, BootId, Moment, Reading};
use crate::state::error::StateError;
use crate::state::files::OpenFiles;
use crate::state::format::Record;
use crate::state::status::StateStatus;
use crate::state::store::Store;

/// Maximum number of changes of one worker that wait for the thread, which reads them every [`COMMIT_INTERVAL`]. Bounds
/// its memory to 0.7 MB per worker, and its work.
const CHANGES_PER_WORKER: usize = 8192;

/// Maximum number of tunnels in one message to a worker.
const TUNNELS_PER_MESSAGE: usize = 1024;

/// A worker's channel to the thread. Sending never waits: a change without room stays in the shard.
pub(crate) struct DirectoryFeed(Sender<DirectoryChange>);

impl DirectoryFeed {
    /// Creates a feed and the receiver of its changes.
    pub(crate) fn channel() -> (Self, Receiver<DirectoryChange>) {
        let (sender, receiver) = crossbeam_channel::bounded(CHANGES_PER_WORKER);
        (Self(sender), receiver)
    }

    pub(crate) fn has_room(&self) -> bool {
        !self.0.is_full()
    }

    /// Sends a change. The worker is the only sender, so there is room if [`has_room`](Self::has_room) returned true.
    pub(crate) fn tell(&self, change: DirectoryChange) {
        // Without the thread the gateway is about to stop.
        let _lost = self.0.try_send(change);
    }
}

/// Maximum time for the last write. If storage takes longer, the changes since the last commit are lost, and their
/// clients are served 15 s after the restart.
const LAST_WRITE_TIME: Duration = Duration::from_secs(2);

/// The running thread. Dropping it writes the file for the last time.
pub(crate) struct StateWriter {
    status: Arc<StateStatus>,
    stop: Option<Sender<()>>,
    /// Closed after the last write.
    ended: Receiver<Infallible>,
}

impl StateWriter {
    /// Locks the directory, puts the tunnels of the previous process into the mailboxes of their new owners (at once,
    /// or when the clock allows it), and starts to write. Also returns the feed of each worker.
    pub(crate) fn start(
        directory: &Path,
        open_files: OpenFiles,
        public_key: &[u8; 32],
        records_max: usize,
        gateway_clock: GatewayClock,
        key: DispatchKey,
        workers: Vec<Postbox>,
    ) -> Result<(Self, Vec<DirectoryFeed>), StateError> {
        let boot = clock::boot_id().map_err(StateError::Boot)?;
        let reading = Reading::take(boot);
        let store = Store::open(directory, open_files, public_key, records_max, &reading)?;
        let (feeds, changes) = workers.iter().map(|_| DirectoryFeed::channel()).unzip();
        let status = Arc::new(StateStatus::new());
        let mut writer = WriterThread {
            predecessor: Some(Predecessor {
                end: *store.moment(),
                owners: workers,
                key,
            }),
            store,
            boot,
            gateway_clock,
            changes,
            status: Arc::clone(&status),
            failure_warning: RepeatedWarning::default(),
            is_loss_counted: false,
            loss_warning: RepeatedWarning::default(),
        };
        writer.warn_of_clock(&reading);
        writer.hand_over(&reading);

        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (end, ended) = crossbeam_channel::bounded(0);
        thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || {
                let _dropped_at_the_end: Sender<Infallible> = end;
                writer.run(&stopped);
            })
            .map_err(StateError::Thread)?;
        let writer = Self {
            status,
            stop: Some(stop),
            ended,
        };
        Ok((writer, feeds))
    }

    /// Returns the counts for the metrics.
    pub(crate) fn status(&self) -> &Arc<StateStatus> {
        &self.status
    }
}

impl Drop for StateWriter {
    fn drop(&mut self) {
        // The channel closes, which tells the thread to stop.
        drop(self.stop.take());
        if self.ended.recv_timeout(LAST_WRITE_TIME) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("state directory not responding, latest changes not written");
        }
    }
}

/// State of the thread.
struct WriterThread {
    /// `None` after its tunnels have been handed over.
    predecessor: Option<Predecessor>,
    store: Store,
    boot: BootId,
    /// The clock of the times in the changes.
    gateway_clock: GatewayClock,
    changes: Vec<Receiver<DirectoryChange>>,
    status: Arc<StateStatus>,
    failure_warning: RepeatedWarning,
    /// A loss of files was counted since the last write.
    is_loss_counted: bool,
    loss_warning: RepeatedWarning,
}

/// The previous process.
struct Predecessor {
    /// A moment by which it had ended.
    end: Moment,
    owners: Vec<Postbox>,
    key: DispatchKey,
}

impl WriterThread {
    /// Writes until `stopped`, and then once more.
    fn run(mut self, stopped: &Receiver<()>) {
        let mut last = false;
        loop {
            let reading = Reading::take(self.boot);
            self.hand_over(&reading);
            self.take_changes(&reading);
            self.look_for_files();
            self.commit(&reading, last);
            if last {
                return;
            }
            last = stopped.recv_timeout(COMMIT_INTERVAL) != Err(RecvTimeoutError::Timeout);
        }
    }

    fn warn_of_clock(&self, reading: &Reading) {
        let Some(predecessor) = &self.predecessor else {
            return;
        };
        if self.store.len() > 0 && !predecessor.end.is_passed_by(reading) {
            tracing::warn!(
                behind = ?predecessor.end.ahead_of(reading),
                file = %self.store.file().display(),
                hint = "clients refuse earlier timestamps, so they notice the restart after 15 s; if the clock was \
                        wrong before, stop snapgate and remove the file",
                "system clock was set back"
            );
        }
    }

    /// Tells the workers the tunnels of the previous process, once handshakes with later timestamps can be begun.
    fn hand_over(&mut self, reading: &Reading) {
        let passed = |predecessor: &mut Predecessor| predecessor.end.is_passed_by(reading);
        let Some(predecessor) = self.predecessor.take_if(passed) else {
            return;
        };
        let recent = self.store.recent(reading);
        if recent.is_empty() {
            return;
        }
        tracing::info!(tunnels = recent.len(), "tunnels of previous process loaded");
        predecessor.hand_over(recent);
    }

    fn take_changes(&mut self, reading: &Reading) {
        let now = self.gateway_clock.now();
        for changes in &self.changes {
            for change in changes.try_iter().take(CHANGES_PER_WORKER) {
                match change {
                    DirectoryChange::Gone { remote } => self.store.remove(remote),
                    DirectoryChange::Seen {
                        remote,
                        identity,
                        heard_at,
                    } => {
                        let ago = now.saturating_duration_since(heard_at);
                        let heard_at = reading.boottime.saturating_sub(ago);
                        self.store.insert(remote, Record { identity, heard_at });
                    }
                }
            }
        }
    }

    /// Notices that another process removed or replaced the file, the directory or the lock.
    fn look_for_files(&mut self) {
        // The next write reports errors of the file system.
        if !matches!(self.store.are_files_in_place(), Ok(false)) {
            return;
        }
        if std::mem::replace(&mut self.is_loss_counted, true) {
            return;
        }
        self.status.lost_files();
        if self.loss_warning.is_due(Instant::now()) {
            tracing::warn!(
                file = %self.store.file().display(),
                hint = "only snapgate may change its state directory",
                "state file or its lock removed or replaced, writing it again"
            );
        }
    }

    /// Writes the file if it is due, or if `now` is true and anything changed.
    fn commit(&mut self, reading: &Reading, now: bool) {
        if !(self.store.is_due(reading) || now && self.store.is_dirty()) {
            return;
        }
        match self.store.commit(reading) {
            Ok(()) => {
                self.status.wrote(self.store.len());
                self.is_loss_counted = false;
                if self.failure_warning.end() {
                    tracing::info!(file = %self.store.file().display(), "state file writable again");
                }
            }
            Err(error) => {
                self.status.failed();
                self.warn_of_failure(&error);
            }
        }
    }

    fn warn_of_failure(&mut self, error: &io::Error) {
        if !self.failure_warning.is_due(Instant::now()) {
            return;
        }
        tracing::warn!(
            file = %self.store.file().display(),
            %error,
            hint = "packets are forwarded, but after a restart clients are served late",
            "cannot write state file"
        );
    }
}

impl Predecessor {
    /// Puts its tunnels into the mailboxes of the workers that own them now.
    fn hand_over(self, tunnels: Vec<(SocketAddr, [u8; 32])>) {
        let Some(workers) = NonZeroUsize::new(self.owners.len()) else {
            return;
        };
        let mut owned = vec![Vec::new(); workers.get()];
        for (remote, identity) in tunnels {
            owned[self.key.worker_of(remote, workers)].push((remote, identity));
        }
        for (mut owner, tunnels) in self.owners.into_iter().zip(owned) {
            for tunnels in tunnels.chunks(TUNNELS_PER_MESSAGE) {
                // A full or closed mailbox leaves these clients to notice the restart themselves.
                let _left = owner.put(Message::Remember(tunnels.to_vec()));
            }
            // A worker that cannot be woken reads its mailbox within a second.
            let _later = owner.wake();
        }
    }
}

#[cfg(test)]
mod tests;
