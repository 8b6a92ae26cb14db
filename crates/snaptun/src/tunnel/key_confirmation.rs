//! Whether the session that a tunnel would send with is known to the peer.
//!
//! A responder sends no data in a new session before it has received an authenticated data packet in
//! it (WireGuard whitepaper, section 5.4.4): until then the initiation may have been anyone's replay.
//! `Tunn` keeps to that only where an older session exists. It would send at once in the very first
//! session, and in one that comes to lie in the slot of the session in use.

use std::time::{Duration, Instant};

/// `Tunn` keeps the sessions of a tunnel in a ring of so many slots (`N_SESSIONS`) and gives each new
/// session the next slot, whatever lies there.
const SESSION_SLOTS: u8 = 8;

#[derive(Default)]
pub(crate) struct KeyConfirmation {
    /// The newest session, by our index of it.
    newest_session: u32,
    /// The session that was last confirmed, which is the one in use.
    in_use: Option<InUse>,
    /// Sessions made by answering an initiation since the newest was last confirmed.
    unconfirmed: u8,
}

/// A confirmed session.
#[derive(Clone, Copy)]
struct InUse {
    /// When it was confirmed, which is about when it began.
    since: Instant,
    /// Whether we began its handshake.
    is_ours: bool,
}

impl KeyConfirmation {
    /// We answered an initiation; the session waits for its confirmation.
    pub(crate) fn answered(&mut self, session: u32) {
        self.newest_session = session;
        self.unconfirmed = self.unconfirmed.saturating_add(1);
    }

    /// The peer answered our initiation, which confirms the session.
    pub(crate) fn completed(&mut self, now: Instant, session: u32) {
        self.newest_session = session;
        self.confirm(now, true);
    }

    /// An authenticated data packet came in that session.
    pub(crate) fn peer_used(&mut self, now: Instant, session: u32) {
        if session == self.newest_session && self.unconfirmed > 0 {
            self.confirm(now, false);
        }
    }

    fn confirm(&mut self, since: Instant, is_ours: bool) {
        self.unconfirmed = 0;
        self.in_use = Some(InUse { since, is_ours });
    }

    /// How long ago a session was last confirmed, which is about as old as that session is.
    pub(crate) fn session_age(&self, now: Instant) -> Option<Duration> {
        self.in_use
            .map(|session| now.saturating_duration_since(session.since))
    }

    /// Whether the session in use came from a handshake that we began: who began it renews it.
    ///
    /// `Tunn` goes by the last handshake that it saw, whether or not the peer uses its session. When an initiation of
    /// the peer crosses ours, `Tunn` takes the peer to have begun the session, the peer takes us to, and neither
    /// renews it.
    pub(crate) fn is_ours(&self) -> bool {
        self.in_use.is_some_and(|session| session.is_ours)
    }

    /// Whether the session that the peer used last is still what `Tunn` would send with.
    ///
    /// It uses the newest session that the peer has used, until newer ones have gone once around the
    /// ring and one of them lies in its slot.
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
        // A session that the peer does not use makes nothing younger.
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
    fn a_session_is_whose_initiation_began_it() {
        let mut confirmation = KeyConfirmation::default();
        confirmation.completed(now(), 1);
        assert!(confirmation.is_ours());
        // An initiation that crossed ours is answered, and its session never used.
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
        // An older one that is still used says nothing about the one that lies in its slot.
        confirmation.peer_used(now(), 5);
        assert!(!confirmation.is_newest_used_intact());
        confirmation.peer_used(now(), 9);
        assert!(confirmation.is_newest_used_intact());
    }
}
