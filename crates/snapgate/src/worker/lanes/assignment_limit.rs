//! Limit of the rate at which lanes are assigned to local hosts.

use std::time::{Duration, Instant};

/// Time between two assignments. Each can take two system calls to close and bind a socket (10 to 20 µs), and in a full
/// table one call for each lane (50 µs).
const INTERVAL: Duration = Duration::from_millis(5);

/// A token bucket, kept as the time at which it would be full.
pub(super) struct AssignmentLimit {
    full_at: Instant,
    burst: u32,
}

impl AssignmentLimit {
    /// Creates a full bucket, for `burst` assignments at once.
    pub(super) fn new(now: Instant, burst: u32) -> Self {
        Self {
            full_at: now,
            burst,
        }
    }

    /// Returns true if a lane may be assigned now, and counts it.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + INTERVAL;
        let admitted = full_at - now <= self.burst * INTERVAL;
        if admitted {
            self.full_at = full_at;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_200_a_second() {
        let start = Instant::now();
        let mut limit = AssignmentLimit::new(start, 512);
        let admitted =
            |limit: &mut AssignmentLimit, now| (0..1000).filter(|_| limit.admit(now)).count();
        assert_eq!(admitted(&mut limit, start), 512);
        assert_eq!(admitted(&mut limit, start + Duration::from_secs(1)), 200);
        assert_eq!(admitted(&mut limit, start + Duration::from_secs(100)), 512);
    }
}
