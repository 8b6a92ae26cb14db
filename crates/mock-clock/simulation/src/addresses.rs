//! Socket addresses of clients behind NATs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rand::Rng as _;
use rand::rngs::StdRng;

pub(crate) struct Addresses {
    /// Probability that a client shares an IP address with others.
    shared_ips: f64,
    given: u16,
    /// Addresses that clients have given up.
    left: Vec<SocketAddr>,
}

impl Addresses {
    pub(crate) fn new(shared_ips: f64) -> Self {
        Addresses {
            shared_ips,
            given: 0,
            left: Vec::new(),
        }
    }

    /// Returns an unused address.
    pub(crate) fn another(&mut self, rng: &mut StdRng) -> SocketAddr {
        self.given += 1;
        let [high, low] = self.given.to_be_bytes();
        if rng.random_bool(self.shared_ips) {
            return SocketAddr::from(([10, 0, 0, 1], self.given));
        }
        if rng.random_bool(0.2) {
            let subnet = Ipv6Addr::new(0x2001, 0xdb8, 0, self.given, 0, 0, 0, 1);
            return SocketAddr::from((subnet, 40_000));
        }
        SocketAddr::from((Ipv4Addr::new(10, 1, high, low), 40_000))
    }

    /// Returns an address that a client gave up, or an unused one.
    pub(crate) fn reuse(&mut self, rng: &mut StdRng) -> SocketAddr {
        if self.left.is_empty() {
            return self.another(rng);
        }
        self.left.swap_remove(rng.random_range(0..self.left.len()))
    }

    pub(crate) fn leave(&mut self, address: SocketAddr) {
        self.left.push(address);
    }

    /// Returns an address that no client has.
    pub(crate) fn left_or_unknown(&self, rng: &mut StdRng) -> SocketAddr {
        let count = self.left.len();
        match count.checked_sub(1) {
            Some(last) if rng.random() => self.left[rng.random_range(0..=last)],
            _ => SocketAddr::from(([10, 99, 0, 1], rng.random_range(1..=64))),
        }
    }
}
