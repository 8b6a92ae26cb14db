//! Handshakes with the client of a tunnel in use beyond the shard's limits.
//!
//! Anyone can put a client's address into an initiation, and a few hosts with cookies can use up every budget of the
//! shard. To let the client keep its tunnel, one initiation per [`REKEY_TIMEOUT`] is answered beyond all limits. Only
//! the client can use it up: with its cookie, or with an initiation that is proven to be its own. A proof costs CPU
//! time, which has a budget per tunnel and one per shard. When they are used up, the gateway begins the next handshake
//! itself, because only the client sees the index that its response has to repeat.

use std::time::{Duration, Instant};

use crate::admission::handshake_limits::Sender;
use crate::protocol::REKEY_TIMEOUT;

/// Maximum number of initiations per second and tunnel, without a cookie and beyond the limits, that are opened to see
/// if the client made them. Each costs one X25519, 40 to 50 µs with overhead: 0.6 % of a worker's time.
///
/// Below this number of spoofed messages per second the client is answered at its first attempt, above it, with `n`
/// messages, with a probability of `PROOFS_PER_TUNNEL / n`.
const PROOFS_PER_TUNNEL: u32 = 128;

/// Maximum number of cookies per second for the tunnel's address: 2 KB/s of unsolicited traffic. Separate from the
/// cookies of the IP address, which messages from other ports, or other hosts behind a carrier's NAT, can use up.
const COOKIES_PER_TUNNEL: u32 = 32;

/// Expected number of messages per second that are drawn at random to get a cookie.
pub(crate) const COOKIES_DRAWN: u32 = 24;

/// Time for which the address counts as under pressure after an initiation was refused unopened: an unanswered client
/// sends one every [`REKEY_TIMEOUT`], and a flood sends more.
const UNDER_PRESSURE_FOR: Duration = REKEY_TIMEOUT.saturating_mul(2);

/// Period in which proofs and cookies are counted.
const PERIOD: Duration = Duration::from_secs(1);

/// Remaining allowance of one tunnel's address.
pub(crate) struct Allowance {
    period_began: Instant,
    proofs: u32,
    /// Messages that needed a cookie, in this period and the previous one.
    cookies_wanted: [u32; 2],
    cookies_sent: u32,
    /// When an initiation was last answered beyond the limits.
    answered_at: Option<Instant>,
    /// When an initiation beyond the limits was last refused unopened.
    refused_at: Option<Instant>,
}

impl Allowance {
    pub(crate) fn new(now: Instant) -> Self {
        Allowance {
            period_began: now,
            proofs: 0,
            cookies_wanted: [0; 2],
            cookies_sent: 0,
            answered_at: None,
            refused_at: None,
        }
    }

    /// Returns true if an initiation beyond the limits may be opened, to be answered if the client made it.
    ///
    /// An initiation with a cookie counts as the client's. For one without, `take_proof` takes a permit of the gateway
    /// for this second.
    pub(crate) fn may_open(
        &mut self,
        now: Instant,
        sender: Sender,
        take_proof: impl FnOnce() -> bool,
    ) -> bool {
        let is_used_up = self
            .answered_at
            .is_some_and(|at| now.saturating_duration_since(at) < REKEY_TIMEOUT);
        if is_used_up {
            return false;
        }
        if sender == Sender::Verified {
            self.answered(now);
            return true;
        }
        self.begin_period_if_due(now);
        if self.proofs >= PROOFS_PER_TUNNEL || !take_proof() {
            self.refused_at = Some(now);
            return false;
        }
        self.proofs += 1;
        true
    }

    /// Records that an initiation of the client is answered beyond the limits.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.answered_at = Some(now);
    }

    /// Takes a cookie for the tunnel's address. `draw` gets the number of messages and decides at random about this
    /// one.
    pub(crate) fn take_cookie(&mut self, now: Instant, draw: impl FnOnce(u32) -> bool) -> bool {
        self.begin_period_if_due(now);
        let [wanted, wanted_before] = &mut self.cookies_wanted;
        *wanted = wanted.saturating_add(1);
        let messages = (*wanted).max(*wanted_before);
        let may = self.cookies_sent < COOKIES_PER_TUNNEL && draw(messages);
        self.cookies_sent += u32::from(may);
        may
    }

    /// Returns true if initiations from the address were recently refused unopened, so that the client's may be among
    /// them.
    pub(crate) fn is_under_pressure(&self, now: Instant) -> bool {
        self.refused_at
            .is_some_and(|at| now.saturating_duration_since(at) < UNDER_PRESSURE_FOR)
    }

    fn begin_period_if_due(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.period_began);
        if age >= PERIOD {
            let before = if age < 2 * PERIOD {
                self.cookies_wanted[0]
            } else {
                0
            };
            self.period_began = now;
            self.proofs = 0;
            self.cookies_wanted = [0, before];
            self.cookies_sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any point in time to count from")]
    fn start() -> (Allowance, Instant) {
        let now = Instant::now();
        (Allowance::new(now), now)
    }

    #[test]
    fn messages_without_a_cookie_use_up_only_proofs() {
        let (mut allowance, now) = start();
        let mut taken = 0;
        let mut take_proof = || {
            taken += 1;
            true
        };
        for _ in 0..PROOFS_PER_TUNNEL {
            assert!(allowance.may_open(now, Sender::Unverified, &mut take_proof));
        }
        assert!(!allowance.is_under_pressure(now));
        assert!(!allowance.may_open(now, Sender::Unverified, &mut take_proof));
        assert!(allowance.is_under_pressure(now));
        assert!(!allowance.is_under_pressure(now + UNDER_PRESSURE_FOR));

        assert!(allowance.may_open(now, Sender::Verified, &mut take_proof));
        assert!(!allowance.may_open(now, Sender::Verified, &mut take_proof));
        let later = now + REKEY_TIMEOUT;
        assert!(allowance.may_open(later, Sender::Unverified, &mut take_proof));
        assert_eq!(taken, PROOFS_PER_TUNNEL + 1);
    }

    #[test]
    fn an_address_is_under_pressure_once_the_gateway_has_no_proofs_left() {
        let (mut allowance, now) = start();
        assert!(!allowance.may_open(now, Sender::Unverified, || false));
        assert!(allowance.is_under_pressure(now));
    }

    #[test]
    fn cookies_are_drawn_at_random_up_to_a_limit_per_second() {
        let (mut allowance, now) = start();
        for second in 0..2 {
            let now = now + second * PERIOD;
            // The larger of the previous second's number and the number so far.
            let least = if second == 0 { 1 } else { 200 };
            let drawn = (1..=100).filter(|nth| {
                allowance.take_cookie(now, |messages| {
                    assert_eq!(messages, least.max(*nth));
                    nth % 50 == 0
                })
            });
            assert_eq!(drawn.count(), 2);
            let drawn = (0..100).filter(|_| allowance.take_cookie(now, |_| true));
            assert_eq!(drawn.count(), 30);
        }
    }
}
