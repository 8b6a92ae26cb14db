//! Rate limits of SCMP errors into tunnels (RFC 4443, 2.4(f)).
//!
//! Errors are cheap to provoke and to forge, and a client needs few: one makes it leave a path or send shorter packets.
//! Echo and traceroute replies are not errors and are not limited.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ahash::RandomState;

use crate::config::ScmpErrorLimits;

/// Cells in each of the two rows: 256 KiB of memory, of which only used pages are resident.
const CELLS: usize = 1 << 14;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Origin of an SCMP error. Each origin has separate budgets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// The gateway, about a packet from the tunnel.
    Gateway,
    /// A router, or another host on the SCION side.
    Scion,
    /// A client at this IP address.
    Tunnel(IpAddr),
}

/// The limit that an SCMP error exceeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Limit {
    /// The limit of the tunnel that it goes to or came from.
    Tunnel,
    /// The limit of the worker.
    Worker,
}

/// Token buckets of one worker: one per tunnel and origin, and one per origin in total.
///
/// A bucket is stored as the time at which it will be full again (GCRA), so nothing has to refill it. Buckets of
/// tunnels share a table of fixed size: each has a cell in both rows, picked by a keyed hash, and is as full as the
/// fuller cell. A tunnel never gets more than its limit. It gets less only if other tunnels at their limits share both
/// of its cells, which they cannot choose.
pub(crate) struct ScmpErrorLimiter {
    started: Instant,
    per_tunnel: Rate,
    per_worker: Rate,
    rows: [Box<[u64]>; 2],
    totals: [u64; 3],
    hasher: RandomState,
}

/// A rate and its burst tolerance, in nanoseconds.
#[derive(Clone, Copy)]
struct Rate {
    interval: u64,
    tolerance: u64,
}

impl Rate {
    fn new(per_second: u64, burst: u64) -> Self {
        let interval = NANOS_PER_SECOND / per_second.clamp(1, NANOS_PER_SECOND);
        Self {
            interval,
            tolerance: interval.saturating_mul(burst.saturating_sub(1)),
        }
    }

    /// Returns the time at which the bucket will be full after one more token, or `None` if it has none left.
    fn take(self, full_at: u64, now: u64) -> Option<u64> {
        (full_at.saturating_sub(now) <= self.tolerance).then(|| full_at.max(now) + self.interval)
    }
}

/// A tunnel's bucket: its cells, and when it will be full if the error is admitted.
struct Bucket {
    cells: [usize; 2],
    full_at: u64,
}

impl ScmpErrorLimiter {
    pub(crate) fn new(now: Instant, limits: ScmpErrorLimits) -> Self {
        Self {
            started: now,
            per_tunnel: Rate::new(limits.per_tunnel_per_second, limits.tunnel_burst()),
            per_worker: Rate::new(limits.per_second, limits.worker_burst()),
            rows: [(); 2].map(|()| vec![0; CELLS].into()),
            totals: [0; 3],
            hasher: RandomState::new(),
        }
    }

    /// Admits an SCMP error into the tunnel of `to` if every bucket has a token.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        origin: Origin,
        to: SocketAddr,
    ) -> Result<(), Limit> {
        let elapsed = now.saturating_duration_since(self.started).as_nanos();
        let now = u64::try_from(elapsed).unwrap_or(u64::MAX / 2);
        let index = match origin {
            Origin::Gateway => 0,
            Origin::Scion => 1,
            Origin::Tunnel(_) => 2,
        };
        let receiver = self.bucket(now, self.hasher.hash_one((index, to.ip(), to.port())));
        let receiver = receiver.ok_or(Limit::Tunnel)?;
        let sender = match origin {
            Origin::Tunnel(sender) => {
                let sender = self.bucket(now, self.hasher.hash_one((index, sender)));
                Some(sender.ok_or(Limit::Tunnel)?)
            }
            Origin::Gateway | Origin::Scion => None,
        };
        let total = &mut self.totals[index];
        *total = self.per_worker.take(*total, now).ok_or(Limit::Worker)?;
        for bucket in [Some(receiver), sender].into_iter().flatten() {
            for (row, cell) in self.rows.iter_mut().zip(bucket.cells) {
                row[cell] = row[cell].max(bucket.full_at);
            }
        }
        Ok(())
    }

    fn bucket(&self, now: u64, hash: u64) -> Option<Bucket> {
        let cells = [hash as usize % CELLS, (hash >> 32) as usize % CELLS];
        let [first, second] = &self.rows;
        let full_at = first[cells[0]].min(second[cells[1]]);
        let full_at = self.per_tunnel.take(full_at, now)?;
        Some(Bucket { cells, full_at })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: ScmpErrorLimits = ScmpErrorLimits {
        per_tunnel_per_second: 10,
        per_second: 1_000,
    };

    fn tunnel(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    /// Number of admitted errors out of `errors` at once.
    fn admitted(
        limiter: &mut ScmpErrorLimiter,
        now: Instant,
        origin: Origin,
        to: SocketAddr,
        errors: u64,
    ) -> u64 {
        (0..errors)
            .filter(|_| limiter.admit(now, origin, to).is_ok())
            .count() as u64
    }

    #[test]
    fn a_tunnel_gets_a_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut limiter = ScmpErrorLimiter::new(start, LIMITS);
        let (to, burst) = (tunnel(1), LIMITS.tunnel_burst());
        assert_eq!(admitted(&mut limiter, start, Origin::Scion, to, 100), burst);
        assert_eq!(limiter.admit(start, Origin::Scion, to), Err(Limit::Tunnel));
        let second = start + Duration::from_secs(1);
        assert_eq!(admitted(&mut limiter, second, Origin::Scion, to, 100), 10);
        let hour = start + Duration::from_secs(3600);
        assert_eq!(admitted(&mut limiter, hour, Origin::Scion, to, 100), burst);
    }

    #[test]
    fn tunnels_and_origins_do_not_share_a_bucket() {
        let now = Instant::now();
        let mut limiter = ScmpErrorLimiter::new(now, LIMITS);
        let origins = [
            Origin::Gateway,
            Origin::Scion,
            Origin::Tunnel([192, 0, 2, 7].into()),
        ];
        for origin in origins {
            assert_eq!(
                admitted(&mut limiter, now, origin, tunnel(1), 100),
                LIMITS.tunnel_burst()
            );
        }
        assert_eq!(
            admitted(&mut limiter, now, Origin::Scion, tunnel(2), 100),
            LIMITS.tunnel_burst()
        );
    }

    #[test]
    fn errors_of_one_client_to_many_tunnels_share_its_limit() {
        let now = Instant::now();
        let mut limiter = ScmpErrorLimiter::new(now, LIMITS);
        let sent_by = |limiter: &mut ScmpErrorLimiter, sender: [u8; 4]| {
            let origin = Origin::Tunnel(sender.into());
            (0..1_000)
                .filter(|&to| limiter.admit(now, origin, tunnel(to)).is_ok())
                .count() as u64
        };
        assert_eq!(sent_by(&mut limiter, [192, 0, 2, 7]), LIMITS.tunnel_burst());
        assert_eq!(sent_by(&mut limiter, [192, 0, 2, 8]), LIMITS.tunnel_burst());
    }

    #[test]
    fn all_tunnels_of_a_worker_share_its_limit_by_origin() {
        let now = Instant::now();
        let mut limiter = ScmpErrorLimiter::new(now, LIMITS);
        let reached = (0..5_000)
            .filter(|&to| limiter.admit(now, Origin::Scion, tunnel(to)).is_ok())
            .count() as u64;
        assert_eq!(reached, LIMITS.worker_burst());
        assert_eq!(
            limiter.admit(now, Origin::Scion, tunnel(6_000)),
            Err(Limit::Worker)
        );
        assert_eq!(limiter.admit(now, Origin::Gateway, tunnel(6_000)), Ok(()));
    }

    #[test]
    fn a_thousand_limited_tunnels_affect_few_others() {
        let now = Instant::now();
        let limits = ScmpErrorLimits {
            per_second: 1_000_000,
            ..LIMITS
        };
        let mut limiter = ScmpErrorLimiter::new(now, limits);
        for n in 0..1_000 {
            let reached = admitted(&mut limiter, now, Origin::Scion, tunnel(n), 100);
            assert!(reached <= limits.tunnel_burst());
        }
        // The probability that both cells are taken is 0.35 %.
        let held_back = (1_000..2_000)
            .filter(|&n| limiter.admit(now, Origin::Scion, tunnel(n)).is_err())
            .count();
        assert!(held_back < 100, "{held_back} of 1000");
    }

    #[test]
    fn a_clock_that_stops_or_goes_back_gives_no_tokens() {
        let start = Instant::now();
        let mut limiter = ScmpErrorLimiter::new(start + Duration::from_secs(9), LIMITS);
        let to = tunnel(1);
        assert_eq!(
            admitted(&mut limiter, start, Origin::Scion, to, 100),
            LIMITS.tunnel_burst()
        );
        let later = start + Duration::from_secs(9);
        assert_eq!(admitted(&mut limiter, later, Origin::Scion, to, 100), 0);
    }
}
