//! What a connection is doing, for its deadlines and for the choice of a connection to close.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::metrics::ConnectionEnd;
use super::settings::Limits;

/// Activity of a connection.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    state: Mutex<State>,
    became_idle: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests whose body has not arrived.
    incomplete: usize,
    /// Requests that wait for an answer.
    complete: usize,
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
                since: now,
                is_used: false,
            }),
            became_idle: Notify::new(),
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
            is_complete: false,
        }
    }

    /// Returns true and the time since when if a complete request waits for its answer, else false and the time of the
    /// last answer, or of the begin of the connection.
    pub(super) fn rank(&self) -> (bool, Instant) {
        let state = self.state();
        (state.complete > 0, state.since)
    }

    /// Returns true while a request is in progress.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state();
        state.incomplete + state.complete > 0
    }

    /// Returns why the connection has to end, if so.
    pub(super) fn overdue(&self, limits: &Limits, now: Instant) -> Option<ConnectionEnd> {
        let state = self.state();
        if now.saturating_duration_since(self.opened) >= limits.connection_time {
            return Some(ConnectionEnd::Age);
        }
        if state.incomplete + state.complete > 0 {
            // Requests have their own limits of time.
            return None;
        }
        let (limit, end) = state.idle_limit(limits);
        (now.saturating_duration_since(state.since) >= limit).then_some(end)
    }

    /// Waits until no request is in progress any more, since the last call. Then [`next_check`](Self::next_check) has
    /// another result.
    pub(super) async fn becomes_idle(&self) {
        self.became_idle.notified().await;
    }

    /// Returns when [`overdue`](Self::overdue) should be called again, unless the connection becomes idle before.
    pub(super) fn next_check(&self, limits: &Limits) -> Instant {
        let state = self.state();
        if state.incomplete + state.complete > 0 {
            return self.opened + limits.connection_time;
        }
        let idle = state.since + state.idle_limit(limits).0;
        idle.min(self.opened + limits.connection_time)
    }
}

impl State {
    fn idle_limit(&self, limits: &Limits) -> (Duration, ConnectionEnd) {
        if self.is_used {
            (limits.idle_time, ConnectionEnd::Idle)
        } else {
            (limits.header_time, ConnectionEnd::HeaderTime)
        }
    }
}

/// A request in progress. Dropping it ends the request.
pub(super) struct Progress {
    activity: Arc<Activity>,
    is_complete: bool,
}

impl Progress {
    /// Notes that the whole request has arrived.
    pub(super) fn complete(&mut self) {
        if !std::mem::replace(&mut self.is_complete, true) {
            let mut state = self.activity.state();
            state.incomplete -= 1;
            state.complete += 1;
            if state.complete == 1 {
                state.since = Instant::now();
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        if self.is_complete {
            state.complete -= 1;
        } else {
            state.incomplete -= 1;
        }
        if state.incomplete + state.complete == 0 {
            state.since = Instant::now();
            self.activity.became_idle.notify_one();
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
}
