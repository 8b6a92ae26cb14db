//! Waiting, precisely and without wasting the CPU.

use std::io::ErrorKind;
use std::time::Duration;

use socket2::SockRef;

use super::{Halt, Lane, Worker};
use crate::error::{ConnectFailure, LoadError};
use crate::pacing::Nanos;

/// How often things are looked at that no event announces.
pub(super) const TICK_NS: Nanos = 1_000_000;

/// Waking a thread takes this long at most, mostly: what is due sooner is waited for in a loop.
const WAKE_UP_NS: Nanos = 60_000;

impl Worker<'_> {
    /// Waits until a socket has something or `wake_ns`, and not at all while there is work left.
    pub(super) fn wait(&mut self, wake_ns: Nanos) -> Result<(), Halt> {
        let before = self.plan.now();
        let mut wake_ns = wake_ns.min(self.next_timers_ns);
        if !self.blocked.is_empty() {
            wake_ns = wake_ns.min(before + TICK_NS);
        }
        let has_work = !self.readable.is_empty() || wake_ns <= before;
        let sleep_ns = wake_ns.saturating_sub(before + WAKE_UP_NS);
        let timeout = if has_work || sleep_ns == 0 {
            Some(Duration::ZERO)
        } else {
            self.wake_timer
                .set(Duration::from_nanos(sleep_ns))
                .map_err(|error| LoadError::io("set a timer")(error.into()))?;
            None
        };
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(LoadError::io("wait for sockets")(error).into()),
        }
        self.take_events();
        self.now = self.plan.now();
        if !has_work {
            self.idle_ns += self.now - before;
        }
        Ok(())
    }

    fn take_events(&mut self) {
        for event in &self.events {
            let index = event.token().0;
            // The timer's token is of no lane.
            let Some(lane) = self.lanes.get_mut(index) else {
                continue;
            };
            if event.is_error() {
                lane.take_error();
            }
            if !lane.is_readable {
                lane.is_readable = true;
                self.readable.push_back(index);
            }
        }
    }
}

impl Lane {
    /// Takes the socket's pending error. While the tunnel connects, the answer "nobody has this
    /// port" (ICMP port unreachable) says why it does not.
    fn take_error(&mut self) {
        let error = SockRef::from(&self.socket).take_error().ok().flatten();
        if error.is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            self.connecting.note_failure(ConnectFailure::NothingListens);
        }
    }
}
