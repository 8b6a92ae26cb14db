//! Destinations to which the kernel cannot send trains.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Time for which a destination gets single datagrams after the kernel refused a train. Routes and offloads of network
/// cards can change.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Maximum number of destinations.
const DESTINATIONS_MAX: usize = 256;

/// Destinations for which the kernel refused a train with EIO or EINVAL, because of their route (IPsec), their network
/// card or the kernel's version. Each has an end, after which trains are tried again.
#[derive(Debug, Default)]
pub(crate) struct GsoRefusals {
    until: HashMap<IpAddr, Instant, ahash::RandomState>,
}

impl GsoRefusals {
    /// Returns true if trains to `destination` are not tried at the moment.
    pub(crate) fn contains(&self, now: Instant, destination: IpAddr) -> bool {
        !self.until.is_empty()
            && self
                .until
                .get(&destination)
                .is_some_and(|&until| now < until)
    }

    /// Adds a destination. In a full table it replaces the one that would be tried again first.
    pub(crate) fn insert(&mut self, now: Instant, destination: IpAddr) {
        if self.until.len() >= DESTINATIONS_MAX && !self.until.contains_key(&destination) {
            self.remove_ended(now);
            if self.until.len() >= DESTINATIONS_MAX
                && let Some((&first, _)) = self.until.iter().min_by_key(|(_, until)| **until)
            {
                self.until.remove(&first);
            }
        }
        self.until.insert(destination, now + RETRY_AFTER);
    }

    /// Returns the number of destinations.
    pub(crate) fn len(&mut self, now: Instant) -> usize {
        self.remove_ended(now);
        self.until.len()
    }

    fn remove_ended(&mut self, now: Instant) {
        self.until.retain(|_, until| now < *until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(number: usize) -> IpAddr {
        IpAddr::from((number as u32).to_be_bytes())
    }

    #[test]
    fn a_destination_is_tried_again_after_a_minute() {
        let mut refusals = GsoRefusals::default();
        let now = Instant::now();
        refusals.insert(now, destination(1));
        assert!(refusals.contains(now, destination(1)));
        assert!(!refusals.contains(now, destination(2)));
        assert_eq!(refusals.len(now), 1);

        let later = now + RETRY_AFTER;
        assert!(!refusals.contains(later, destination(1)));
        assert_eq!(refusals.len(later), 0);
    }

    #[test]
    fn the_number_of_destinations_is_bounded() {
        let mut refusals = GsoRefusals::default();
        let start = Instant::now();
        let at = |number: usize| start + Duration::from_millis(number as u64);
        for number in 0..2 * DESTINATIONS_MAX {
            refusals.insert(at(number), destination(number));
        }
        let now = at(2 * DESTINATIONS_MAX);
        assert_eq!(refusals.len(now), DESTINATIONS_MAX);
        assert!(!refusals.contains(now, destination(0)));
        assert!(refusals.contains(now, destination(2 * DESTINATIONS_MAX - 1)));
    }
}
