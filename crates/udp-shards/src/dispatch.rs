//! The keyed hash that assigns remote addresses to workers, identical in userspace and in the kernel.
//!
//! The hash is HalfSipHash-1-3 (<https://github.com/veorq/SipHash>, and `hsiphash` on 32-bit Linux, see
//! `Documentation/security/siphash.rst`): a keyed pseudo-random function for hash tables with
//! untrusted keys. Without the key, an attacker cannot pick addresses that all map to one worker. It
//! needs only 32-bit additions, exclusive ors and shifts, which classic BPF has.
//!
//! The message is the IP address (4 or 16 bytes) followed by the port, taken as 32-bit words in
//! *network* order, because a classic BPF load returns that order. The port shares the last word with
//! the message's length, as in SipHash: `length << 24 | port`.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::{fmt, io};

/// Where the worker of a datagram is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// In the kernel: a program on the SO_REUSEPORT group computes [`DispatchKey::worker_of`], so a
    /// datagram arrives on the socket of the worker that owns its address.
    Kernel,
    /// In userspace: the kernel spreads flows by its own hash, and the caller passes each datagram to the thread of
    /// its worker by [`DispatchKey::worker_of`]: of the source address in a tunnel group, of the destination in the
    /// SCION header in an upstream group. A fallback, and the oracle for tests.
    User,
}

/// Secret key of the hash that assigns remote addresses to workers. `Debug` does not print it.
///
/// ```
/// use std::num::NonZeroUsize;
/// use udp_shards::DispatchKey;
///
/// let key = DispatchKey::from_words([1, 2]);
/// let worker = key.worker_of("192.0.2.1:4000".parse().unwrap(), NonZeroUsize::new(8).unwrap());
/// assert!(worker < 8);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DispatchKey {
    words: [u32; 2],
}

impl DispatchKey {
    /// Creates a key from the operating system's random number generator. Use one per process.
    ///
    /// # Errors
    ///
    /// The error of the random number generator.
    pub fn random() -> io::Result<Self> {
        let low = getrandom::u32()?;
        let high = getrandom::u32()?;
        Ok(Self::from_words([low, high]))
    }

    /// Creates a key from given words, for reproducible tests.
    #[must_use]
    pub const fn from_words(words: [u32; 2]) -> Self {
        Self { words }
    }

    /// Returns the worker that owns `remote`: 0 to `workers - 1`, the index of its sockets in a group. The answer
    /// depends on the number of workers, which has to be that of the group.
    ///
    /// Hashes the IP address and the port; an IPv6 flow label and scope are ignored.
    #[inline]
    #[must_use]
    pub fn worker_of(&self, remote: SocketAddr, workers: NonZeroUsize) -> usize {
        self.hash(remote) as usize % workers
    }

    fn hash(&self, remote: SocketAddr) -> u32 {
        let mut state = State::new(self);
        let port = u32::from(remote.port());
        match remote.ip() {
            IpAddr::V4(ip) => {
                state.absorb(ip.to_bits());
                state.absorb(last_word(4, port));
            }
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                for shift in [96, 64, 32, 0] {
                    state.absorb((bits >> shift) as u32);
                }
                state.absorb(last_word(16, port));
            }
        }
        state.finish()
    }

    pub(crate) fn initial_state(&self) -> [u32; 4] {
        let [low, high] = self.words;
        [low, high, 0x6c79_6765 ^ low, 0x7465_6462 ^ high]
    }
}

impl fmt::Debug for DispatchKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DispatchKey(..)")
    }
}

/// Returns the last word of a message: its length in bytes (address and port) above the port.
pub(crate) const fn last_word(address_bytes: u32, port: u32) -> u32 {
    (address_bytes + 2) << 24 | port
}

/// The four words of HalfSipHash.
struct State {
    v: [u32; 4],
}

impl State {
    fn new(key: &DispatchKey) -> Self {
        Self {
            v: key.initial_state(),
        }
    }

    /// Absorbs one message word with one round.
    #[inline]
    fn absorb(&mut self, word: u32) {
        self.v[3] ^= word;
        self.round();
        self.v[0] ^= word;
    }

    /// Runs the final rounds and returns 32 bits of the state.
    #[inline]
    fn finish(mut self) -> u32 {
        self.v[2] ^= FINAL_MARK;
        for _ in 0..FINAL_ROUNDS {
            self.round();
        }
        self.v[1] ^ self.v[3]
    }

    #[inline]
    fn round(&mut self) {
        for Step {
            sum,
            with,
            rotate_sum,
            rotate_with,
        } in ROUND
        {
            self.v[sum] = self.v[sum].wrapping_add(self.v[with]);
            self.v[with] = self.v[with].rotate_left(rotate_with) ^ self.v[sum];
            self.v[sum] = self.v[sum].rotate_left(rotate_sum);
        }
    }
}

pub(crate) const FINAL_MARK: u32 = 0xff;
pub(crate) const FINAL_ROUNDS: usize = 3;

/// A quarter of a round: `v[sum] += v[with]`, `v[with] = rotate(v[with]) ^ v[sum]`, then
/// `v[sum] = rotate(v[sum])`.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) sum: usize,
    pub(crate) with: usize,
    pub(crate) rotate_with: u32,
    pub(crate) rotate_sum: u32,
}

/// A round of HalfSipHash as data, shared with the program builder.
pub(crate) const ROUND: [Step; 4] = [
    Step {
        sum: 0,
        with: 1,
        rotate_with: 5,
        rotate_sum: 16,
    },
    Step {
        sum: 2,
        with: 3,
        rotate_with: 8,
        rotate_sum: 0,
    },
    Step {
        sum: 0,
        with: 3,
        rotate_with: 7,
        rotate_sum: 0,
    },
    Step {
        sum: 2,
        with: 1,
        rotate_with: 13,
        rotate_sum: 16,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR_KEY: DispatchKey = DispatchKey::from_words([0x0302_0100, 0x0706_0504]);

    fn vector_hash(remote: &str) -> u32 {
        VECTOR_KEY.hash(remote.parse().unwrap())
    }

    /// Linux `lib/siphash_kunit.c`, `test_vectors_hsiphash` of 32-bit machines: the message is the
    /// bytes 0, 1, 2, ... and its words are little-endian.
    #[test]
    fn the_hash_is_halfsiphash_1_3() {
        assert_eq!(
            vector_hash("3.2.1.0:1284"),
            0xa008_0b65,
            "vector of length 6"
        );
        let v6 = "[0302:0100:0706:0504:0b0a:0908:0f0e:0d0c]:4368";
        assert_eq!(vector_hash(v6), 0x0671_2339, "vector of length 18");
    }
}
