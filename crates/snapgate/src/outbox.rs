//! A bounded queue of messages and the thread that writes them.
//!
//! The reader of standard error, standard output or the service manager's socket may stop reading, and a write then
//! blocks. Threads with other duties put their messages into an outbox, which never waits: a message without room is
//! dropped and counted.
//!
//! `tracing-appender` has such a queue for the log, but it bounds lines instead of bytes, does not report dropped
//! lines, and prints to standard output when the reader is stuck at exit.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{io, thread};

/// Maximum number of waiting messages.
const MESSAGES_MAX: usize = 4096;

/// Maximum total size of waiting messages, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// The sending end of an outbox. The thread lives as long as the process.
#[derive(Clone)]
pub(crate) struct Outbox(Arc<Shared>);

struct Shared {
    /// Locked while a message is moved, never during a write.
    queue: Mutex<Queue>,
    arrived: Condvar,
    emptied: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Box<[u8]>>,
    /// Sum of the lengths of `messages`.
    bytes: usize,
    /// True while a message that is no longer in `messages` is being written.
    is_writing: bool,
}

impl Outbox {
    /// Starts the thread `name`. It passes each message to `write`, which may block; a message whose `write` fails
    /// counts as dropped. After the next successful write, `report_dropped` gets the number of messages dropped since
    /// its last call.
    pub(crate) fn start(
        name: &str,
        mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
        mut report_dropped: impl FnMut(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            emptied: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let outbox = Self(Arc::clone(&shared));
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut reported = 0;
                loop {
                    let message = shared.next();
                    if write(&message).is_err() {
                        shared.dropped.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let dropped = shared.dropped.load(Ordering::Relaxed);
                    if dropped > reported {
                        report_dropped(dropped - reported);
                        reported = dropped;
                    }
                }
            })?;
        Ok(outbox)
    }

    /// Queues a message. Returns false if it was dropped. Never waits for the thread.
    pub(crate) fn put(&self, message: &[u8]) -> bool {
        let mut queue = self.0.lock();
        let has_room = queue.messages.len() < MESSAGES_MAX
            && queue.bytes.saturating_add(message.len()) <= BYTES_MAX;
        if has_room {
            queue.bytes += message.len();
            queue.messages.push_back(message.into());
            drop(queue);
            self.0.arrived.notify_one();
        } else {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// Waits until every message has been written, at most until `deadline`. Returns false if some are left.
    pub(crate) fn flush(&self, deadline: Instant) -> bool {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let (_queue, result) = self
            .0
            .emptied
            .wait_timeout_while(self.0.lock(), timeout, |queue| {
                queue.is_writing || !queue.messages.is_empty()
            })
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }

    /// Returns the number of messages that were not written.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next message to the thread, after the previous one has been written.
    fn next(&self) -> Box<[u8]> {
        let mut queue = self.lock();
        queue.is_writing = false;
        loop {
            if let Some(message) = queue.messages.pop_front() {
                queue.bytes -= message.len();
                queue.is_writing = true;
                return message;
            }
            self.emptied.notify_all();
            queue = self
                .arrived
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::{Receiver, Sender};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// An outbox whose thread writes one message per permit, the messages written, and the reported numbers of drops.
    fn start() -> (Outbox, Sender<()>, Receiver<Vec<u8>>, Receiver<u64>) {
        let (permits, permitted) = crossbeam_channel::bounded(2 * MESSAGES_MAX);
        let (sender, written) = crossbeam_channel::bounded(2 * MESSAGES_MAX);
        let (reporter, reports) = crossbeam_channel::bounded(2 * MESSAGES_MAX);
        let write = move |message: &[u8]| {
            // Writing fails after the test has dropped its end.
            permitted.recv().map_err(io::Error::other)?;
            sender.send(message.to_vec()).map_err(io::Error::other)
        };
        let outbox = Outbox::start("outbox", write, move |dropped| {
            let _test_ended = reporter.send(dropped);
        });
        (outbox.unwrap(), permits, written, reports)
    }

    #[test]
    fn messages_are_written_in_order() {
        let (outbox, permits, written, _) = start();
        for message in [b"one", b"two"] {
            assert!(outbox.put(message));
            permits.send(()).unwrap();
        }
        assert!(outbox.flush(Instant::now() + PATIENCE));
        let written: Vec<_> = written.try_iter().collect();
        assert_eq!(written, [b"one", b"two"]);
        assert_eq!(outbox.dropped(), 0);
    }

    #[test]
    fn a_full_outbox_drops_messages_without_waiting() {
        let (outbox, permits, _written, reports) = start();
        while outbox.put(b"message") {}
        assert!(!outbox.put(b"message"));
        assert_eq!(outbox.dropped(), 2);
        assert!(!outbox.flush(Instant::now()));

        // The reader reads again.
        permits.send(()).unwrap();
        assert_eq!(reports.recv_timeout(PATIENCE), Ok(2));
        (0..=MESSAGES_MAX).for_each(|_| permits.send(()).unwrap());
        assert!(outbox.flush(Instant::now() + PATIENCE));
        assert!(outbox.put(b"message"));
        assert_eq!(outbox.dropped(), 2);
    }

    #[test]
    fn few_large_messages_fill_an_outbox() {
        let (outbox, _permits, ..) = start();
        let message = vec![0; BYTES_MAX / 2];
        // The thread holds one message.
        let put = (0..10).filter(|_| outbox.put(&message)).count();
        assert!(matches!(put, 2 | 3), "{put}");
        assert!(!outbox.put(&vec![0; BYTES_MAX + 1]));
    }

    #[test]
    fn a_message_that_cannot_be_written_counts_as_dropped() {
        let (outbox, permits, ..) = start();
        drop(permits);
        outbox.put(b"message");
        assert!(outbox.flush(Instant::now() + PATIENCE));
        assert_eq!(outbox.dropped(), 1);
    }
}
