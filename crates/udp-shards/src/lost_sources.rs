//! Source addresses that the host no longer has.

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Time for which a source address is not tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Maximum number of addresses; datagrams from further ones are tried with their source each time.
const ADDRESSES_MAX: usize = 64;

/// Source addresses with which the kernel refused to send, while it accepted the same datagrams without them. Each is
/// forgotten after a second, because the host may have it again; the next datagram finds out.
#[derive(Debug, Default)]
pub(crate) struct LostSources {
    addresses: Vec<(IpAddr, Instant)>,
}

impl LostSources {
    pub(crate) fn insert(&mut self, address: IpAddr, now: Instant) {
        if !self.contain(address) && self.addresses.len() < ADDRESSES_MAX {
            self.addresses.push((address, now + RETRY_AFTER));
        }
    }

    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|(lost, _)| *lost == address)
    }

    /// Forgets the addresses that are due.
    pub(crate) fn forget_old(&mut self, now: Instant) {
        self.addresses.retain(|(_, until)| now < *until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_forgotten_after_a_second() {
        let [address, other] = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let start = Instant::now();
        let mut lost = LostSources::default();
        lost.insert(address, start);
        assert!(lost.contain(address) && !lost.contain(other));

        lost.forget_old(start + RETRY_AFTER / 2);
        assert!(lost.contain(address));
        lost.forget_old(start + RETRY_AFTER);
        assert!(!lost.contain(address));
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let start = Instant::now();
        let mut lost = LostSources::default();
        for last in 0..=255 {
            lost.insert([192, 0, 2, last].into(), start);
        }
        assert_eq!(lost.addresses.len(), ADDRESSES_MAX);
    }
}
