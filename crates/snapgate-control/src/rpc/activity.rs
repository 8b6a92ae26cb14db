//! What a connection is doing, for its deadlines and for the choice of a connection to close.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use super::metrics::ConnectionEnd;
use super::owner::owning;
use super::settings::Limits;

/// Activity of a connection.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests whose body has not arrived.
    incomplete: usize,
    /// Requests that wait for an answer.
    complete: usize,
    /// Deadlines of the answers that are being sent.
    sending: Vec<Instant>,
    /// Begin of the current state.
    since: Instant,
    /// True after the header of the first request.
    is_used: bool,
}

impl Activity {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            opened: now,
            state: Mutex::new(State {
                incomplete: 0,
                complete: 0,
                sending: Vec::new(),
                since: now,
                is_used: false,
            }),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request whose header has arrived.
    pub(super) fn begin_request(self: &Arc<Self>) -> Progress {
        let mut state = self.state();
        state.incomplete += 1;
        state.is_used = true;
        Progress {
            activity: Arc::clone(self),
            began: Instant::now(),
            stage: Stage::Incomplete,
        }
    }

    /// Returns true and the time since when if a complete request waits for its answer, else false and the time of the
    /// last answer, or of the begin of the connection. An answer that the client does not read does not keep a
    /// connection open.
    pub(super) fn rank(&self) -> (bool, Instant) {
        let state = self.state();
        (state.complete > 0, state.since)
    }

    /// Returns true while a request has no answer.
    pub(super) fn is_busy(&self) -> bool {
        self.state().is_busy()
    }

    /// Returns why the connection has to end, if so.
    pub(super) fn overdue(&self, limits: &Limits, now: Instant) -> Option<ConnectionEnd> {
        let state = self.state();
        if state.sending_deadline().is_some_and(|last| now >= last) {
            return Some(ConnectionEnd::Unresponsive);
        }
        if now.saturating_duration_since(self.opened) >= limits.connection_time {
            return Some(ConnectionEnd::Age);
        }
        if state.is_in_use() {
            // Requests without an answer have their own limits of time.
            return None;
        }
        let (limit, end) = state.idle_limit(limits);
        (now.saturating_duration_since(state.since) >= limit).then_some(end)
    }

    /// Waits until [`next_check`](Self::next_check) has another result than at the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns when [`overdue`](Self::overdue) should be called again, unless there is a [change](Self::changed)
    /// before.
    pub(super) fn next_check(&self, limits: &Limits) -> Instant {
        let state = self.state();
        let age = self.opened + limits.connection_time;
        let next = if state.is_in_use() {
            state.sending_deadline()
        } else {
            Some(state.since + state.idle_limit(limits).0)
        };
        next.map_or(age, |next| next.min(age))
    }
}

impl State {
    fn is_busy(&self) -> bool {
        self.incomplete + self.complete > 0
    }

    /// Returns true while a request is in progress, until its answer was sent.
    fn is_in_use(&self) -> bool {
        self.is_busy() || !self.sending.is_empty()
    }

    fn sending_deadline(&self) -> Option<Instant> {
        self.sending.iter().min().copied()
    }

    fn idle_limit(&self, limits: &Limits) -> (Duration, ConnectionEnd) {
        if self.is_used {
            (limits.idle_time, ConnectionEnd::Idle)
        } else {
            (limits.header_time, ConnectionEnd::HeaderTime)
        }
    }

    fn leave(&mut self, stage: Stage) {
        match stage {
            Stage::Incomplete => self.incomplete -= 1,
            Stage::Complete => self.complete -= 1,
            Stage::Sending(deadline) => {
                if let Some(index) = self.sending.iter().position(|&other| other == deadline) {
                    self.sending.swap_remove(index);
                }
            }
        }
    }
}

/// A request in progress. Dropping it ends the request.
pub(super) struct Progress {
    activity: Arc<Activity>,
    /// When the header had arrived.
    began: Instant,
    stage: Stage,
}

/// How far a request is.
#[derive(Clone, Copy)]
enum Stage {
    /// Its body has not arrived.
    Incomplete,
    /// It waits for an answer.
    Complete,
    /// Its answer is being sent, until a deadline.
    Sending(Instant),
}

impl Progress {
    /// Notes that the whole request has arrived.
    pub(super) fn complete(&mut self) {
        if matches!(self.stage, Stage::Incomplete) {
            self.stage = Stage::Complete;
            let mut state = self.activity.state();
            state.incomplete -= 1;
            state.complete += 1;
            if state.complete == 1 {
                state.since = Instant::now();
            }
        }
    }

    /// Notes that there is an answer, and returns its body, which keeps the request in progress until it was sent.
    /// That may take until the end of [`Limits::request_time`], and always [`Limits::closing_time`].
    pub(super) fn answered(mut self, body: Bytes, limits: &Limits) -> Bytes {
        let now = Instant::now();
        let deadline = (self.began + limits.request_time).max(now + limits.closing_time);
        let mut state = self.activity.state();
        state.leave(std::mem::replace(&mut self.stage, Stage::Sending(deadline)));
        state.sending.push(deadline);
        if !state.is_busy() {
            state.since = now;
        }
        drop(state);
        self.activity.changed.notify_one();
        owning(body, self)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.leave(self.stage);
        if !state.is_in_use() {
            state.since = Instant::now();
            self.activity.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: fn() -> Limits = Limits::default;

    fn after(activity: &Activity, time: Duration) -> Option<ConnectionEnd> {
        activity.overdue(&LIMITS(), activity.opened + time)
    }

    #[test]
    fn the_first_header_has_a_limit_of_time() {
        let activity = Activity::new(Instant::now());
        let limit = LIMITS().header_time;
        assert_eq!(after(&activity, limit - Duration::from_millis(1)), None);
        assert_eq!(after(&activity, limit), Some(ConnectionEnd::HeaderTime));
        assert_eq!(activity.next_check(&LIMITS()), activity.opened + limit);
    }

    #[test]
    fn a_connection_with_a_request_is_not_idle() {
        let activity = Arc::new(Activity::new(Instant::now()));
        let mut progress = activity.begin_request();
        assert_eq!(activity.rank(), (false, activity.opened));
        assert_eq!(after(&activity, Duration::from_secs(600)), None);
        progress.complete();
        progress.complete();
        assert!(activity.rank().0);
        assert_eq!(after(&activity, Duration::from_secs(600)), None);
        drop(progress);
        assert!(!activity.rank().0);
        assert_eq!(
            after(&activity, Duration::from_secs(600)),
            Some(ConnectionEnd::Idle)
        );
    }

    #[test]
    fn a_request_that_never_became_complete_ends_as_well() {
        let activity = Arc::new(Activity::new(Instant::now()));
        drop(activity.begin_request());
        assert_eq!(
            after(&activity, Duration::from_secs(600)),
            Some(ConnectionEnd::Idle)
        );
    }

    #[test]
    fn an_old_connection_ends_even_with_requests() {
        let activity = Arc::new(Activity::new(Instant::now()));
        let _progress = activity.begin_request();
        let age = LIMITS().connection_time;
        assert_eq!(after(&activity, age), Some(ConnectionEnd::Age));
        assert_eq!(activity.next_check(&LIMITS()), activity.opened + age);
    }

    #[test]
    fn a_request_is_in_progress_until_its_answer_was_sent() {
        let limits = Limits {
            idle_time: Duration::ZERO,
            ..LIMITS()
        };
        let activity = Arc::new(Activity::new(Instant::now()));
        let mut progress = activity.begin_request();
        let began = progress.began;
        progress.complete();
        let body = progress.answered(Bytes::from_static(b"answer"), &limits);
        let deadline = began + limits.request_time;
        assert_eq!(activity.next_check(&limits), deadline);
        let before = deadline - Duration::from_millis(1);
        assert_eq!(activity.overdue(&limits, before), None);
        let unresponsive = Some(ConnectionEnd::Unresponsive);
        assert_eq!(activity.overdue(&limits, deadline), unresponsive);
        drop(body);
        let idle = Some(ConnectionEnd::Idle);
        assert_eq!(activity.overdue(&limits, before), idle);
    }

    #[test]
    fn a_late_answer_has_the_closing_time_to_be_sent() {
        let limits = Limits {
            request_time: Duration::ZERO,
            ..LIMITS()
        };
        let activity = Arc::new(Activity::new(Instant::now()));
        let progress = activity.begin_request();
        let earliest = Instant::now() + limits.closing_time;
        let _body = progress.answered(Bytes::from_static(b"answer"), &limits);
        assert!(activity.next_check(&limits) >= earliest);
    }

    #[test]
    fn an_answer_that_is_not_read_keeps_no_connection_open() {
        let activity = Arc::new(Activity::new(Instant::now()));
        let mut progress = activity.begin_request();
        progress.complete();
        assert!(activity.rank().0 && activity.is_busy());
        let _body = progress.answered(Bytes::from_static(b"answer"), &LIMITS());
        assert!(!activity.rank().0 && !activity.is_busy());
    }
}
