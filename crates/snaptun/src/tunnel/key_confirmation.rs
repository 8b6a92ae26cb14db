//! Confirmation by the peer of the session in which a tunnel sends.
//!
//! A responder sends no data in a new session before it has received an authenticated data message in it (WireGuard
//! whitepaper, section 5.4.4): until then the initiation may be a replay. `Tunn` complies only if there is an older
//! session. It would send at once in the first session, and in a session that overwrites the slot of the one in use.

use std::time::{Duration, Instant};

/// Size of the ring in which `Tunn` keeps the sessions of a tunnel (`N_SESSIONS`). Each new session overwrites the next
/// slot.
const SESSION_SLOTS: u8 = 8;

#[derive(Default)]
pub(crate) struct KeyConfirmation {
    /// Our index of the newest session.
    newest_session: u32,
    /// The last confirmed session, which is in use.
    in_use: Option<InUse>,
    /// Number of sessions made by answering initiations since the newest was last confirmed.
    unconfirmed: u8,
}

/// Confirmed session.
#[derive(Clone, Copy)]
struct InUse {
    /// Time of the confirmation, about when the session began.
    since: Instant,
    /// Set if we began the handshake.
    is_ours: bool,
}

impl KeyConfirmation {
    /// Records a session made by answering an initiation, not yet confirmed.
    pub(crate) fn answered(&mut self, session: u32) {
        self.newest_session = session;
        self.unconfirmed = self.unconfirmed.saturating_add(1);
    }

    /// Records a session confirmed by the peer's response to our initiation.
    pub(crate) fn completed(&mut self, now: Instant, session: u32) {
        self.newest_session = session;
        self.confirm(now, true);
    }

    /// Records an authenticated data message in a session.
    pub(crate) fn peer_used(&mut self, now: Instant, session: u32) {
        if session == self.newest_session && self.unconfirmed > 0 {
            self.confirm(now, false);
        }
    }

    fn confirm(&mut self, since: Instant, is_ours: bool) {
        self.unconfirmed = 0;
        self.in_use = Some(InUse { since, is_ours });
    }

    /// Returns the time since a session was last confirmed, about the age of that session.
    pub(crate) fn session_age(&self, now: Instant) -> Option<Duration> {
        self.in_use
            .map(|session| now.saturating_duration_since(session.since))
    }

    /// Returns true if we began the handshake of the session in use, so that we renew it.
    ///
    /// `Tunn` decides by the last handshake it saw, even if the peer does not use its session. When initiations cross,
    /// `Tunn` assumes that the peer began the session, the peer assumes that we did, and neither side renews it.
    pub(crate) fn is_ours(&self) -> bool {
        self.in_use.is_some_and(|session| session.is_ours)
    }

    /// Returns true if `Tunn` would send in the session that the peer used last.
    ///
    /// `Tunn` sends in the newest session that the peer has used, until newer sessions have gone round the ring and
    /// overwritten its slot.
    pub(crate) fn is_newest_used_intact(&self) -> bool {
        self.unconfirmed < SESSION_SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any point in time to count from")]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_session_is_as_old_as_its_confirmation() {
        let mut confirmation = KeyConfirmation::default();
        let start = now();
        let second = Duration::from_secs(1);
        confirmation.answered(1);
        assert_eq!(confirmation.session_age(start), None);
        confirmation.peer_used(start, 1);
        confirmation.peer_used(start + second, 1);
        assert_eq!(confirmation.session_age(start + second), Some(second));
        // A session that the peer does not use does not reset the age.
        confirmation.answered(2);
        confirmation.peer_used(start + second, 1);
        assert_eq!(confirmation.session_age(start + second), Some(second));
        confirmation.peer_used(start + second, 2);
        assert_eq!(
            confirmation.session_age(start + second),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn a_session_belongs_to_the_side_whose_initiation_began_it() {
        let mut confirmation = KeyConfirmation::default();
        confirmation.completed(now(), 1);
        assert!(confirmation.is_ours());
        // An initiation that crossed ours is answered, but its session is never used.
        confirmation.answered(2);
        confirmation.peer_used(now(), 1);
        assert!(confirmation.is_ours());
        confirmation.peer_used(now(), 2);
        assert!(!confirmation.is_ours());
    }

    #[test]
    fn the_session_in_use_stays_usable_while_newer_ones_wait() {
        let mut confirmation = KeyConfirmation::default();
        confirmation.answered(1);
        confirmation.peer_used(now(), 1);
        for session in 2..=8 {
            confirmation.answered(session);
            assert!(confirmation.is_newest_used_intact());
        }
    }

    #[test]
    fn a_ring_full_of_unconfirmed_sessions_is_not_used() {
        let mut confirmation = KeyConfirmation::default();
        confirmation.completed(now(), 1);
        for session in 2..=9 {
            confirmation.answered(session);
        }
        assert!(!confirmation.is_newest_used_intact());
        // Use of an older session does not show which session is in its slot.
        confirmation.peer_used(now(), 5);
        assert!(!confirmation.is_newest_used_intact());
        confirmation.peer_used(now(), 9);
        assert!(confirmation.is_newest_used_intact());
    }
}
