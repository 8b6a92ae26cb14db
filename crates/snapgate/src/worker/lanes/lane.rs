//! One lane: a socket and its queue.

use std::time::{Duration, Instant};

use udp_shards::SendQueue;

use super::host::Host;
use crate::worker::polled_socket::{PolledSocket, QUEUED_TIME_MAX};

/// Time after which packets that have not left the lane of a local host make the lane available to another host.
const STUCK_AFTER: Duration = Duration::from_millis(100);

/// Lower bound for what the kernel counts beside the payload of a datagram in a send buffer, in bytes.
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
    since: Instant,
    pub(super) used_at: Instant,
    /// Lower bound for what the kernel would count in the send buffer if nothing had left.
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
            since: now,
            used_at: now,
            given_bytes: 0,
        }
    }

    /// Counts a datagram that was put into the queue.
    pub(super) fn note_datagram(&mut self, now: Instant, bytes: usize) {
        self.used_at = now;
        self.given_bytes += bytes + OVERHEAD_BYTES;
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
    ///
    /// A lane with unsent packets is stuck if its send buffer has been full for a time, if nothing was sent for that time,
    /// or if after that time not even the first packet has left. Others may be busy with packets that were just sent.
    pub(super) fn state(&self, now: Instant) -> State {
        let was_long_ago = |then| now.saturating_duration_since(then) >= STUCK_AFTER;
        if let Some(since) = self.socket.blocked_since() {
            return if was_long_ago(since) {
                State::Stuck
            } else {
                State::Busy
            };
        }
        if !self.queue.is_empty() {
            return State::Busy;
        }
        let unsent = self.socket.unsent_bytes();
        if unsent == 0 {
            return State::Idle;
        }
        let is_stuck = self.tenancy.as_ref().is_some_and(|tenancy| {
            let nothing_left = unsent >= tenancy.given_bytes;
            was_long_ago(tenancy.used_at) || nothing_left && was_long_ago(tenancy.since)
        });
        if is_stuck { State::Stuck } else { State::Busy }
    }
}
