//! A limit per source address and second.

use std::net::IpAddr;

use ahash::RandomState;

use crate::key_limit::KeyLimit;

/// Counts by IP address, and by the first 64 bits of an IPv6 address: one host has all of the others.
pub(crate) struct AddressLimit(KeyLimit);

impl AddressLimit {
    pub(crate) fn new(limit: u64, hasher: RandomState) -> Self {
        AddressLimit(KeyLimit::new(limit, hasher))
    }

    /// Counts one more of the address if it may have one more.
    pub(crate) fn take(&mut self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.0.take(&address),
            IpAddr::V6(address) => self.0.take(&(address.to_bits() >> 64)),
        }
    }

    /// Begins to count anew.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_limit() {
        let mut limit = AddressLimit::new(3, RandomState::new());
        for address in ["192.0.2.1", "192.0.2.2"] {
            let address = address.parse().unwrap();
            let taken = (0..10).filter(|_| limit.take(address)).count();
            assert_eq!(taken, 3);
        }
    }

    #[test]
    fn the_addresses_of_one_ipv6_subnet_count_as_one() {
        let mut limit = AddressLimit::new(1, RandomState::new());
        assert!(limit.take("2001:db8::1".parse().unwrap()));
        assert!(!limit.take("2001:db8::2".parse().unwrap()));
        assert!(limit.take("2001:db8:0:1::1".parse().unwrap()));
    }
}
