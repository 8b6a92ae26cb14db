//! Our handshake messages that the peer may answer.

use std::time::{Duration, Instant};

use crate::protocol::REKEY_TIMEOUT;

/// Time for which a response to our initiation is accepted: later we have sent another initiation, or the peer has
/// begun a handshake.
const RESPONSE_AWAITED: Duration = REKEY_TIMEOUT.saturating_mul(2);

/// Sender indexes of a tunnel's last handshake messages.
///
/// An answer repeats the index of the message it answers. Indexes are random 32-bit numbers, so only the peer, or an
/// observer on the path to it, can make an acceptable answer.
#[derive(Default)]
pub(crate) struct Outstanding {
    /// Time of the last initiation without an accepted response.
    initiated_at: Option<Instant>,
    /// Last two initiations, latest first: `Tunn` accepts a response to either.
    initiations: [Option<Initiation>; 2],
    /// Last initiation or response: `Tunn` accepts a cookie only for that one.
    last_message: Option<u32>,
}

#[derive(Clone, Copy)]
struct Initiation {
    index: u32,
    /// Set until a response to this index has come.
    unanswered: bool,
}

impl Outstanding {
    /// Records an initiation sent with this sender index.
    pub(crate) fn initiated(&mut self, now: Instant, index: u32) {
        let initiation = Initiation {
            index,
            unanswered: true,
        };
        self.initiated_at = Some(now);
        self.initiations = [Some(initiation), self.initiations[0]];
        self.last_message = Some(index);
    }

    /// Records a response sent with this sender index.
    pub(crate) fn responded(&mut self, index: u32) {
        self.last_message = Some(index);
    }

    /// Records an accepted response, after which no other is awaited.
    pub(crate) fn completed(&mut self) {
        self.initiated_at = None;
        self.initiations = [None; 2];
    }

    /// Returns the time of the last initiation without an accepted response.
    pub(crate) fn initiated_at(&self) -> Option<Instant> {
        self.initiated_at
    }

    /// Returns true if a response to this index answers one of our last two initiations, regardless of its age.
    pub(crate) fn is_initiation(&self, index: u32) -> bool {
        self.initiations
            .iter()
            .flatten()
            .any(|initiation| initiation.index == index)
    }

    /// Returns true if a response to this index is still awaited.
    pub(crate) fn awaits_response(&self, now: Instant, index: u32) -> bool {
        self.is_initiation(index)
            && self
                .initiated_at
                .is_some_and(|at| now.saturating_duration_since(at) < RESPONSE_AWAITED)
    }

    /// Returns true if this is the index of an initiation of ours to which no response has come.
    pub(crate) fn is_unanswered(&self, index: u32) -> bool {
        self.initiations
            .iter()
            .flatten()
            .any(|initiation| initiation.index == index && initiation.unanswered)
    }

    /// Records that a response to this index has come.
    pub(crate) fn note_response(&mut self, index: u32) {
        let answered = |initiation: &&mut Initiation| initiation.index == index;
        if let Some(initiation) = self.initiations.iter_mut().flatten().find(answered) {
            initiation.unanswered = false;
        }
    }

    /// Returns true if a cookie reply to this index answers our last handshake message.
    pub(crate) fn awaits_cookie(&self, index: u32) -> bool {
        self.last_message == Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time to count from")]
    fn responses_to_the_last_two_initiations_are_awaited_for_ten_seconds() {
        let now = Instant::now();
        let mut outstanding = Outstanding::default();
        assert!(!outstanding.awaits_response(now, 0));
        for index in 1..=3 {
            outstanding.initiated(now, index);
        }
        let awaited = |at| [1, 2, 3].map(|index| outstanding.awaits_response(at, index));
        assert_eq!(awaited(now), [false, true, true]);
        assert_eq!(awaited(now + RESPONSE_AWAITED), [false; 3]);
        outstanding.completed();
        assert!(!outstanding.awaits_response(now, 3));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time to count from")]
    fn each_initiation_has_one_first_response() {
        let now = Instant::now();
        let mut outstanding = Outstanding::default();
        outstanding.initiated(now, 1);
        outstanding.initiated(now, 2);
        assert!(!outstanding.is_unanswered(3));
        for index in [1, 2] {
            assert!(outstanding.is_unanswered(index));
            outstanding.note_response(index);
            assert!(!outstanding.is_unanswered(index));
        }
        assert!(outstanding.awaits_response(now, 1), "it may be forged");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time to count from")]
    fn a_cookie_is_awaited_for_the_last_message_only() {
        let mut outstanding = Outstanding::default();
        outstanding.initiated(Instant::now(), 1);
        assert!(outstanding.awaits_cookie(1));
        outstanding.responded(2);
        assert_eq!([1, 2].map(|n| outstanding.awaits_cookie(n)), [false, true]);
    }
}
