//! A limit per source address, in memory that does not grow with the number of addresses.

use std::net::IpAddr;

use ahash::RandomState;

/// Counters in each of the two rows.
const COUNTERS: usize = 1 << 14;

/// Counts by IP address, and by the first 64 bits of an IPv6 address: one host has all of the others.
///
/// Every address has one counter in each row, picked by a keyed hash, and counts for as many as the lower of
/// them says. So no address is let through more often than the limit, and one is held back wrongly only
/// when both of its counters are shared with others that send a lot; nobody can choose to share them.
pub(crate) struct AddressLimit {
    limit: u64,
    rows: [Box<[u32]>; 2],
    /// Nothing was counted since the last reset.
    clean: bool,
    hasher: RandomState,
}

impl AddressLimit {
    pub(crate) fn new(limit: u64, hasher: RandomState) -> Self {
        AddressLimit {
            limit,
            rows: [(); 2].map(|()| vec![0; COUNTERS].into()),
            clean: true,
            hasher,
        }
    }

    /// Counts one more of the address if it may have one more.
    pub(crate) fn take(&mut self, address: IpAddr) -> bool {
        let hash = match address {
            IpAddr::V4(address) => self.hasher.hash_one(address),
            IpAddr::V6(address) => self.hasher.hash_one(address.to_bits() >> 64),
        };
        let [first, second] = &mut self.rows;
        let counters = [
            &mut first[hash as usize % COUNTERS],
            &mut second[(hash >> 32) as usize % COUNTERS],
        ];
        let count = counters.iter().map(|counter| **counter).min();
        if count.is_none_or(|count| u64::from(count) >= self.limit) {
            return false;
        }
        for counter in counters {
            *counter = counter.saturating_add(1);
        }
        self.clean = false;
        true
    }

    /// Begins to count anew.
    pub(crate) fn reset(&mut self) {
        if !std::mem::replace(&mut self.clean, true) {
            self.rows.iter_mut().for_each(|row| row.fill(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn each_address_has_its_limit_until_the_next_reset() {
        let mut limit = AddressLimit::new(3, RandomState::new());
        for _ in 0..2 {
            for address in [v4(1), v4(2)] {
                let taken = (0..10).filter(|_| limit.take(address)).count();
                assert_eq!(taken, 3);
            }
            limit.reset();
        }
    }

    #[test]
    fn a_limit_of_zero_lets_nothing_through() {
        let mut limit = AddressLimit::new(0, RandomState::new());
        assert!(!limit.take(v4(1)));
    }

    #[test]
    fn the_addresses_of_one_ipv6_subnet_count_as_one() {
        let mut limit = AddressLimit::new(1, RandomState::new());
        assert!(limit.take("2001:db8::1".parse().unwrap()));
        assert!(!limit.take("2001:db8::2".parse().unwrap()));
        assert!(limit.take("2001:db8:0:1::1".parse().unwrap()));
    }

    #[test]
    fn a_thousand_addresses_at_their_limit_hold_back_few_others() {
        let mut limit = AddressLimit::new(1, RandomState::new());
        for n in 0..1000 {
            limit.take(v4(n));
            assert!(!limit.take(v4(n)));
        }
        // Both counters are taken with a probability of 0.35 %.
        let held_back = (1000..2000).filter(|n| !limit.take(v4(*n))).count();
        assert!(held_back < 100, "{held_back} of 1000");
    }
}
