//! What the peer of a tunnel is known to do with it.

use std::time::Instant;

/// The phase of a tunnel. It goes from top to bottom, and may begin with either of the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// We began the handshake, with a peer that had a tunnel before; it has not been heard from.
    Restarting,
    /// We answered the peer's initiation, and have heard nothing else from it: our answer may never have
    /// reached it.
    HalfOpen,
    /// The peer has used a session of the tunnel, or has answered our initiation.
    InUse {
        /// When the peer was last heard from, as far as the directory knows; `None` if it does not have the tunnel.
        in_directory: Option<Instant>,
    },
}

impl Phase {
    pub(crate) fn is_in_use(self) -> bool {
        matches!(self, Phase::InUse { .. })
    }

    /// An initiation of the peer was answered.
    pub(crate) fn answered(&mut self) {
        if *self == Phase::Restarting {
            *self = Phase::HalfOpen;
        }
    }

    /// The peer used a session, or answered our initiation.
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
    fn a_tunnel_is_in_use_from_the_first_word_of_its_peer_that_is_no_initiation() {
        for mut phase in [Phase::Restarting, Phase::HalfOpen] {
            phase.answered();
            assert_eq!(phase, Phase::HalfOpen);
            phase.used();
            assert!(phase.is_in_use());
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time")]
    fn what_the_directory_knows_lasts() {
        let in_use = Phase::InUse {
            in_directory: Some(Instant::now()),
        };
        let mut phase = in_use;
        phase.answered();
        phase.used();
        assert_eq!(phase, in_use);
    }
}
