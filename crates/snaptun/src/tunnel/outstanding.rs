//! Handshake messages of ours that the peer may answer.

use std::time::{Duration, Instant};

use crate::protocol::REKEY_TIMEOUT;

/// How long a response to our initiation is waited for: by then we have sent another initiation, or the peer
/// has begun a handshake itself.
const RESPONSE_AWAITED: Duration = REKEY_TIMEOUT.saturating_mul(2);

/// The sender indexes of a tunnel's last handshake messages.
///
/// An answer repeats the index of the message that it answers. Indexes are random 32-bit numbers, so only
/// the peer, and an observer on the path to it, can make an answer that is taken in.
#[derive(Default)]
pub(crate) struct Outstanding {
    /// When the last initiation was sent, while no response to it was accepted.
    initiated_at: Option<Instant>,
    /// The last two initiations, latest first: `Tunn` takes a response to either of them.
    initiations: [Option<Initiation>; 2],
    /// The last initiation or response: `Tunn` takes a cookie for that one only.
    last_message: Option<u32>,
}

#[derive(Clone, Copy)]
struct Initiation {
    index: u32,
    /// No response to this index has come.
    unanswered: bool,
}

impl Outstanding {
    /// An initiation with this sender index was sent.
    pub(crate) fn initiated(&mut self, now: Instant, index: u32) {
        let initiation = Initiation {
            index,
            unanswered: true,
        };
        self.initiated_at = Some(now);
        self.initiations = [Some(initiation), self.initiations[0]];
        self.last_message = Some(index);
    }

    /// A response with this sender index was sent.
    pub(crate) fn responded(&mut self, index: u32) {
        self.last_message = Some(index);
    }

    /// A response was accepted: no other is awaited.
    pub(crate) fn completed(&mut self) {
        self.initiated_at = None;
        self.initiations = [None; 2];
    }

    /// When the last initiation was sent that no response to was accepted.
    pub(crate) fn initiated_at(&self) -> Option<Instant> {
        self.initiated_at
    }

    /// Whether a response to this index answers one of our initiations, at whatever time.
    pub(crate) fn is_initiation(&self, index: u32) -> bool {
        self.initiations
            .iter()
            .flatten()
            .any(|initiation| initiation.index == index)
    }

    /// Whether a response to this index is still awaited.
    pub(crate) fn awaits_response(&self, now: Instant, index: u32) -> bool {
        self.is_initiation(index)
            && self
                .initiated_at
                .is_some_and(|at| now.saturating_duration_since(at) < RESPONSE_AWAITED)
    }

    /// Whether this index is that of an initiation of ours to which no response has come.
    pub(crate) fn is_unanswered(&self, index: u32) -> bool {
        self.initiations
            .iter()
            .flatten()
            .any(|initiation| initiation.index == index && initiation.unanswered)
    }

    /// A response to this index has come.
    pub(crate) fn note_response(&mut self, index: u32) {
        let answered = |initiation: &&mut Initiation| initiation.index == index;
        if let Some(initiation) = self.initiations.iter_mut().flatten().find(answered) {
            initiation.unanswered = false;
        }
    }

    /// Whether a cookie reply to this index answers our last handshake message.
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
