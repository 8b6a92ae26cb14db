//! Phase of a tunnel: what is known about its peer.

use std::time::Instant;

/// Phase of a tunnel. It begins with one of the first two and only moves down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// We began the handshake with a remembered peer, and have not heard from it.
    Restarting,
    /// We answered the peer's initiation, and have heard nothing else from it: our response may not have reached it.
    HalfOpen,
    /// The peer has used a session of the tunnel, or has answered our initiation.
    InUse {
        /// Time of the peer's last message as reported to the directory; `None` if the tunnel was not reported.
        in_directory: Option<Instant>,
    },
}

impl Phase {
    pub(crate) fn is_in_use(self) -> bool {
        matches!(self, Phase::InUse { .. })
    }

    /// Records an answered initiation of the peer.
    pub(crate) fn answered(&mut self) {
        if *self == Phase::Restarting {
            *self = Phase::HalfOpen;
        }
    }

    /// Records that the peer used a session, or answered our initiation.
    pub(crate) fn used(&mut self) {
        if !self.is_in_use() {
            *self = Phase::InUse { in_directory: None };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_in_use_once_its_peer_sends_more_than_an_initiation() {
        for mut phase in [Phase::Restarting, Phase::HalfOpen] {
            phase.answered();
            assert_eq!(phase, Phase::HalfOpen);
            phase.used();
            assert!(phase.is_in_use());
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time")]
    fn the_directory_state_survives_later_messages() {
        let in_use = Phase::InUse {
            in_directory: Some(Instant::now()),
        };
        let mut phase = in_use;
        phase.answered();
        phase.used();
        assert_eq!(phase, in_use);
    }
}
