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
        self.0.take(&host(address))
    }

    /// Counts one more of the address, and returns how many that makes, or a few more.
    pub(crate) fn count(&mut self, address: IpAddr) -> u32 {
        self.0.count(&host(address))
    }

    /// How many the address has, or a few more.
    pub(crate) fn get(&self, address: IpAddr) -> u32 {
        self.0.get(&host(address))
    }

    /// Begins to count anew.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }
}

fn host(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        // Differs from all IPv4 addresses: global IPv6 prefixes do not begin with 32 zero bits.
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
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
