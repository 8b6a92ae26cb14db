//! IP addresses for which the kernel refused something, and which are spared it for some time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A bounded table of addresses, each with the time at which the kernel is asked again.
#[derive(Debug)]
pub(crate) struct Refusals {
    until: HashMap<IpAddr, Instant, ahash::RandomState>,
    retry_after: Duration,
    addresses_max: usize,
}

impl Refusals {
    /// Creates an empty table. Each address is in it for `retry_after`.
    pub(crate) fn new(retry_after: Duration, addresses_max: usize) -> Self {
        Self {
            until: HashMap::default(),
            retry_after,
            addresses_max,
        }
    }

    /// Returns true if the kernel is not asked for `address` at the moment.
    pub(crate) fn contains(&self, now: Instant, address: IpAddr) -> bool {
        !self.until.is_empty() && self.until.get(&address).is_some_and(|&until| now < until)
    }

    /// Adds an address. In a full table it replaces the one that would be tried again first.
    pub(crate) fn insert(&mut self, now: Instant, address: IpAddr) {
        if self.until.len() >= self.addresses_max && !self.until.contains_key(&address) {
            self.remove_ended(now);
            if self.until.len() >= self.addresses_max
                && let Some((&first, _)) = self.until.iter().min_by_key(|(_, until)| **until)
            {
                self.until.remove(&first);
            }
        }
        self.until.insert(address, now + self.retry_after);
    }

    /// Returns the number of addresses.
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

    const RETRY_AFTER: Duration = Duration::from_secs(60);

    const ADDRESSES_MAX: usize = 256;

    fn refusals() -> Refusals {
        Refusals::new(RETRY_AFTER, ADDRESSES_MAX)
    }

    fn address(number: usize) -> IpAddr {
        IpAddr::from((number as u32).to_be_bytes())
    }

    #[test]
    fn an_address_is_tried_again_when_its_time_is_over() {
        let mut refusals = refusals();
        let now = Instant::now();
        refusals.insert(now, address(1));
        assert!(refusals.contains(now, address(1)));
        assert!(refusals.contains(now + RETRY_AFTER / 2, address(1)));
        assert!(!refusals.contains(now, address(2)));
        assert_eq!(refusals.len(now), 1);

        let later = now + RETRY_AFTER;
        assert!(!refusals.contains(later, address(1)));
        assert_eq!(refusals.len(later), 0);
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let mut refusals = refusals();
        let start = Instant::now();
        let at = |number: usize| start + Duration::from_millis(number as u64);
        for number in 0..2 * ADDRESSES_MAX {
            refusals.insert(at(number), address(number));
        }
        let now = at(2 * ADDRESSES_MAX);
        assert_eq!(refusals.len(now), ADDRESSES_MAX);
        assert!(!refusals.contains(now, address(0)));
        assert!(refusals.contains(now, address(2 * ADDRESSES_MAX - 1)));
    }
}
