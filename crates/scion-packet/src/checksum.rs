//! The checksum of UDP and SCMP over SCION.

use std::net::IpAddr;

use crate::ScionAddress;

/// A one's complement sum of 16-bit words (RFC 1071).
pub(crate) struct Checksum(u64);

impl Checksum {
    /// Creates a checksum over the pseudo header of SCION: both ISD-AS numbers, both host addresses, the
    /// length of the upper layer as 32 bits and its protocol as 32 bits (SCION header specification,
    /// "Pseudo Header for Upper-Layer Checksum").
    pub(crate) fn new(
        source: ScionAddress,
        destination: ScionAddress,
        protocol: u8,
        upper_layer_bytes: u16,
    ) -> Self {
        let mut sum = Self(u64::from(protocol) + u64::from(upper_layer_bytes));
        for address in [destination, source] {
            sum.add(&address.isd_as.to_u64().to_be_bytes());
            match address.ip {
                IpAddr::V4(ip) => sum.add(&ip.octets()),
                IpAddr::V6(ip) => sum.add(&ip.octets()),
            }
        }
        sum
    }

    /// Adds `bytes`. Only the last added slice may have an odd length; it counts as padded with a zero.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        // Carries are folded at the end, so adding two words at a time gives the same sum.
        let (double_words, rest) = bytes.as_chunks::<4>();
        let (words, odd) = rest.as_chunks::<2>();
        for &double_word in double_words {
            self.0 += u64::from(u32::from_be_bytes(double_word));
        }
        for &word in words {
            self.0 += u64::from(u16::from_be_bytes(word));
        }
        for &byte in odd {
            self.0 += u64::from(byte) << 8;
        }
    }

    /// Returns the complement of the sum, folded to 16 bits.
    pub(crate) fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(bytes: &[u8]) -> u16 {
        let mut sum = Checksum(0);
        sum.add(bytes);
        sum.finish()
    }

    #[test]
    fn the_example_of_rfc_1071_gives_its_result() {
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
    }

    #[test]
    fn an_odd_last_byte_is_padded_with_zero() {
        assert_eq!(checksum(&[1, 2, 3]), checksum(&[1, 2, 3, 0]));
    }

    #[test]
    fn all_carries_are_folded() {
        assert_eq!(checksum(&[0xff; 65_536]), 0);
        assert_eq!(checksum(&[]), 0xffff);
    }
}
