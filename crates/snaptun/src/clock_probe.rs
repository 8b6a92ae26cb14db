//! Check of the clock that `Tunn` reads.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ana_gotatun::noise::index_table::IndexTable;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::noise::{TimerParams, Tunn};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use x25519_dalek::{PublicKey, StaticSecret};

/// Timer of the WireGuard state machine that shows if its clock advances.
///
/// `ana-gotatun` reads the clock itself, and its feature `mock_instant` replaces that clock by one that only tests
/// advance. A gateway built with it would never renew, expire or keep alive a session, without any other symptom. A
/// gateway therefore starts a probe, waits for [`DEADLINE`](Self::DEADLINE), and must not serve unless the probe [has
/// advanced](Self::has_advanced).
///
/// ```
/// use std::thread::sleep;
///
/// use snaptun::ClockProbe;
///
/// let mut probe = ClockProbe::start();
/// sleep(2 * ClockProbe::DEADLINE);
/// assert!(probe.has_advanced());
/// ```
pub struct ClockProbe(Tunn<SmallRng>);

impl ClockProbe {
    /// Time on the clock of `Tunn` after which the probe has advanced: 1 ms.
    pub const DEADLINE: Duration = Duration::from_millis(1);

    /// Starts the timer: the retransmission of an initiation that is never sent.
    #[must_use]
    pub fn start() -> Self {
        // Fixed values are fine: no packet leaves.
        let private = StaticSecret::from([1; 32]);
        let public = PublicKey::from(&private);
        let mut tunn = Tunn::new_with_rng(
            private,
            public,
            None,
            None,
            IndexTable::from_os_rng(),
            Arc::new(RateLimiter::new(&public, u64::MAX)),
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SmallRng::seed_from_u64(0),
        );
        tunn.dangerously_set_timer_params(TimerParams {
            rekey_timeout: RangeInclusive::new(Self::DEADLINE, Self::DEADLINE),
            ..TimerParams::default()
        });
        let _unsent_initiation = tunn.format_handshake_initiation(false);
        ClockProbe(tunn)
    }

    /// Returns true if more than [`DEADLINE`](Self::DEADLINE) has passed since the start. A call after that starts the
    /// timer again.
    #[must_use]
    pub fn has_advanced(&mut self) -> bool {
        // The initiation is due again or, after a leap of the clock, given up.
        !matches!(self.0.update_timers(), Ok(None))
    }
}

impl fmt::Debug for ClockProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockProbe").finish_non_exhaustive()
    }
}
