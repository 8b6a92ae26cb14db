//! One lane: a socket and its queue.

use std::time::{Duration, Instant};

use udp_shards::SendQueue;

use super::host::Host;
use crate::worker::polled_socket::{PolledSocket, QUEUED_TIME_MAX};

/// Time after which packets that have not left the lane of a local host make the lane available to another host.
const STUCK_AFTER: Duration = Duration::from_millis(100);

/// Lower bound for what the kernel counts beside the payload of a datagram or train in a send buffer, in bytes.
const OVERHEAD_BYTES: usize = 512;

/// Maximum number of datagrams and bytes in a queue.
pub(super) type QueueLimits = (usize, usize);

/// A socket that sends to one host, or to those without a lane, and its queue.
pub(super) struct Lane<B> {
    pub(super) socket: PolledSocket,
    pub(super) queue: SendQueue<B>,
    /// The lane is in the list of lanes to flush.
    pub(super) will_be_flushed: bool,
    /// The local host that has the lane.
    pub(super) tenancy: Option<Tenancy>,
}

/// Use of a lane by a local host.
pub(super) struct Tenancy {
    pub(super) host: Host,
    pub(super) used_at: Instant,
    /// Lower bound for what the kernel would count in the send buffer if nothing had left.
    given_bytes: usize,
    /// Observation since which nothing has left the send buffer.
    observed: Option<Observation>,
}

/// Fill level of a send buffer that is not empty.
#[derive(Clone, Copy)]
struct Observation {
    at: Instant,
    unsent_bytes: usize,
    given_bytes: usize,
}

/// What the lane of a local host is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Its packets do not leave.
    Stuck,
    /// Everything has left.
    Idle,
    Busy,
}

impl Tenancy {
    pub(super) fn new(now: Instant, host: Host) -> Self {
        Self {
            host,
            used_at: now,
            given_bytes: 0,
            observed: Some(Observation {
                at: now,
                unsent_bytes: 0,
                given_bytes: 0,
            }),
        }
    }

    /// Counts a datagram that was put into the queue, which may become a train with those that are there.
    pub(super) fn note_datagram(&mut self, now: Instant, bytes: usize, is_first_in_queue: bool) {
        self.used_at = now;
        self.given_bytes += bytes;
        if is_first_in_queue {
            self.given_bytes += OVERHEAD_BYTES;
        }
    }
}

impl<B: AsRef<[u8]>> Lane<B> {
    pub(super) fn new(socket: PolledSocket, (datagrams, bytes): QueueLimits) -> Self {
        Self {
            socket,
            queue: SendQueue::with_limits(datagrams, bytes).with_max_age(QUEUED_TIME_MAX),
            will_be_flushed: false,
            tenancy: None,
        }
    }

    /// Returns what the lane is doing. May make a system call.
    pub(super) fn state(&mut self, now: Instant) -> State {
        match self.stuck_since(now) {
            None if self.queue.is_empty() => State::Idle,
            Some(since) if now.saturating_duration_since(since) >= STUCK_AFTER => State::Stuck,
            None | Some(_) => State::Busy,
        }
    }

    /// Returns the time since which, as far as is known, nothing has left the send buffer; `None` if it is empty. May
    /// make a system call. Something has left if the buffer has grown by less than what it was given since the last
    /// call.
    pub(super) fn stuck_since(&mut self, now: Instant) -> Option<Instant> {
        if let Some(since) = self.socket.blocked_since() {
            return Some(since);
        }
        let unsent_bytes = self.socket.unsent_bytes();
        let Some(tenancy) = &mut self.tenancy else {
            return (unsent_bytes > 0).then_some(now);
        };
        let queued_overhead = if self.queue.is_empty() {
            0
        } else {
            OVERHEAD_BYTES
        };
        let queued = self.queue.bytes() + queued_overhead;
        let given_bytes = tenancy.given_bytes.saturating_sub(queued);
        let nothing_left = |observed: &Observation| {
            unsent_bytes >= observed.unsent_bytes + given_bytes.saturating_sub(observed.given_bytes)
        };
        if unsent_bytes == 0 {
            tenancy.observed = None;
        } else if !tenancy.observed.as_ref().is_some_and(nothing_left) {
            tenancy.observed = Some(Observation {
                at: now,
                unsent_bytes,
                given_bytes,
            });
        }
        tenancy.observed.map(|observed| observed.at)
    }
}
