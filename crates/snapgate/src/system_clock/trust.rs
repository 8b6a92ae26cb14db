//! Trust in the system clock.

use std::time::{Duration, SystemTime};

/// Time before which the system clock is wrong: 2026-11-01, when this program did not exist.
const PLAUSIBLE_FROM: Duration = Duration::from_secs(1_793_491_200);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trust {
    Trusted,
    /// It is earlier than [`PLAUSIBLE_FROM`], as after a boot without a battery-backed clock.
    Implausible,
    /// The kernel reports it as not synchronized.
    Unsynchronized,
}

impl Trust {
    /// `synchronized` is the kernel's report, if there is one.
    pub(super) fn of(wall: SystemTime, synchronized: Option<bool>) -> Self {
        if !is_plausible(wall) {
            Self::Implausible
        } else if synchronized == Some(false) {
            Self::Unsynchronized
        } else {
            Self::Trusted
        }
    }

    pub(super) fn log(self) {
        let reason = match self {
            Self::Trusted => {
                tracing::info!("system clock trusted");
                return;
            }
            Self::Implausible => "earlier than 2026-11-01",
            Self::Unsynchronized => "not synchronized",
        };
        tracing::warn!(
            reason,
            hint = "a client whose clock is ahead can lock itself out; synchronize the clock (timedatectl, chronyc \
                    tracking)",
            "system clock not trusted, handshakes with future timestamps are accepted"
        );
    }
}

/// Returns false if the system clock is certainly wrong.
pub(super) fn is_plausible(wall: SystemTime) -> bool {
    wall >= SystemTime::UNIX_EPOCH + PLAUSIBLE_FROM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_or_unsynchronized_clock_is_not_trusted() {
        let plausible = SystemTime::UNIX_EPOCH + PLAUSIBLE_FROM;
        let second = Duration::from_secs(1);
        for (wall, synchronized, trust) in [
            (plausible + second, Some(true), Trust::Trusted),
            (plausible + second, None, Trust::Trusted),
            (plausible + second, Some(false), Trust::Unsynchronized),
            (plausible - second, Some(true), Trust::Implausible),
            (
                SystemTime::UNIX_EPOCH - second,
                Some(true),
                Trust::Implausible,
            ),
            (SystemTime::UNIX_EPOCH, Some(false), Trust::Implausible),
        ] {
            assert_eq!(Trust::of(wall, synchronized), trust);
        }
    }

    #[test]
    fn the_first_plausible_time_is_the_one_in_the_log() {
        let from: jiff::Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        assert_eq!(
            SystemTime::from(from),
            SystemTime::UNIX_EPOCH + PLAUSIBLE_FROM
        );
    }
}
