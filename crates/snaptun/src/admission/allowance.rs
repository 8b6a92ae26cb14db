//! What initiations from the address of a tunnel in use get beyond the shard's limits.
//!
//! Anyone can write a client's address into an initiation, and a few hosts with cookies can use up every budget
//! of the shard. So that the client keeps its tunnel, one initiation in [`REKEY_TIMEOUT`] is answered beyond all
//! limits, and only the client can use that up: with its cookie, or with an initiation that is proven to be its
//! own. To prove one costs CPU, which has a budget for each tunnel and one for the shard. If they are used up,
//! the gateway begins the next handshake itself, since only the client sees what it has to repeat in its answer.

use std::time::{Duration, Instant};

use crate::admission::handshake_limits::Sender;
use crate::protocol::REKEY_TIMEOUT;

/// Initiations without a cookie from the tunnel's address that are opened in a second beyond the limits, to see
/// whether the client made them. One costs one X25519, 40 to 50 µs with what is around it: 0.6 % of a worker's time.
///
/// With fewer spoofed messages a second, the client is answered at its first try. With `n` more, it is with a
/// probability of `PROOFS_PER_TUNNEL / n`.
const PROOFS_PER_TUNNEL: u32 = 128;

/// Cookies sent to the tunnel's address in a second, at most: 2 KB/s for somebody who did not ask for them. Of
/// its own, so that messages from other ports of the client's IP address, or its carrier's NAT, do not use it up.
const COOKIES_PER_TUNNEL: u32 = 32;

/// About so many of the messages in a second are drawn by lot to get one, whenever they come.
pub(crate) const COOKIES_DRAWN: u32 = 24;

/// How long after an initiation was refused unopened the address counts as under pressure: a client that is not
/// answered sends one every [`REKEY_TIMEOUT`], and a flood more.
const UNDER_PRESSURE_FOR: Duration = REKEY_TIMEOUT.saturating_mul(2);

/// The length of the time that proofs and cookies are counted in.
const PERIOD: Duration = Duration::from_secs(1);

/// What is left to the address of one tunnel.
pub(crate) struct Allowance {
    period_began: Instant,
    proofs: u32,
    /// Messages that needed a cookie, in this period and in the one before.
    cookies_wanted: [u32; 2],
    cookies_sent: u32,
    /// When an initiation was last answered beyond the limits.
    answered_at: Option<Instant>,
    /// When an initiation was last refused beyond the limits without being opened.
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

    /// Whether an initiation beyond the limits may be opened, to be answered if the client made it.
    ///
    /// With a cookie it counts as the client's at once. Without one, `take_proof` decides whether the gateway
    /// may open another in this second.
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

    /// An initiation of the client is answered beyond the limits.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.answered_at = Some(now);
    }

    /// Whether one more cookie may be sent to the tunnel's address; `draw` decides by lot about a message of so many.
    pub(crate) fn take_cookie(&mut self, now: Instant, draw: impl FnOnce(u32) -> bool) -> bool {
        self.begin_period_if_due(now);
        let [wanted, wanted_before] = &mut self.cookies_wanted;
        *wanted = wanted.saturating_add(1);
        let messages = (*wanted).max(*wanted_before);
        let may = self.cookies_sent < COOKIES_PER_TUNNEL && draw(messages);
        self.cookies_sent += u32::from(may);
        may
    }

    /// Whether the client may try in vain: initiations from its address were refused unopened lately.
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
    fn messages_without_a_cookie_use_up_proofs_and_nothing_else() {
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
    fn without_proofs_of_the_gateway_an_address_is_under_pressure_at_once() {
        let (mut allowance, now) = start();
        assert!(!allowance.may_open(now, Sender::Unverified, || false));
        assert!(allowance.is_under_pressure(now));
    }

    #[test]
    fn cookies_of_a_second_are_drawn_by_lot_up_to_a_limit() {
        let (mut allowance, now) = start();
        for second in 0..2 {
            let now = now + second * PERIOD;
            // As many as the second before had, or as there are by now.
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
