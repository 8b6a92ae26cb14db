//! Mark in every generated packet that identifies it on arrival and tells when it was due.
//!
//! Layout of the [`STAMP_LEN`] bytes, big endian. They are few so that a 64-byte SCION/UDP packet over IPv4 (44 bytes
//! of headers) can carry them.
//!
//! ```text
//!  0..4   check: mix of the run's salt and the 16 bytes that follow
//!  4..8   tunnel, index within the run
//!  8..14  sequence number of the packet within its tunnel
//! 14..20  scheduled time in nanoseconds since the start of the run (78 hours fit), or the number of the train if the
//!         packet is encrypted before that time is known
//! ```

/// Size of a [`Stamp`] on the wire, in bytes.
pub(crate) const STAMP_LEN: usize = 20;

/// First value that does not fit into the 48 bits of a sequence number or a scheduled time.
pub(crate) const U48_END: u64 = 1 << 48;

/// Contents of a stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    /// Index of the tunnel the packet was sent on.
    pub(crate) tunnel: u32,
    /// Sequence number within the tunnel, below [`U48_END`].
    pub(crate) sequence: u64,
    /// Scheduled time in nanoseconds since the start of the run, or the number of the train if the packet is encrypted
    /// before that time is known. Below [`U48_END`].
    pub(crate) time: u64,
}

impl Stamp {
    /// Encodes the stamp. `salt` is random per run, so that a packet of an earlier run is not taken for one of this
    /// run.
    pub(crate) fn to_bytes(self, salt: u64) -> [u8; STAMP_LEN] {
        let fields = (u128::from(self.tunnel) << 96)
            | (u128::from(self.sequence % U48_END) << 48)
            | u128::from(self.time % U48_END);
        let mut bytes = [0; STAMP_LEN];
        let (check, rest) = bytes.split_at_mut(4);
        check.copy_from_slice(&check_of(salt, fields).to_be_bytes());
        rest.copy_from_slice(&fields.to_be_bytes());
        bytes
    }

    /// Decodes a stamp. `None` if the check fails: the packet was changed, or belongs to another run.
    pub(crate) fn from_bytes(salt: u64, bytes: &[u8; STAMP_LEN]) -> Option<Self> {
        let (check, rest) = bytes.split_first_chunk::<4>()?;
        let fields = u128::from_be_bytes(rest.try_into().ok()?);
        if u32::from_be_bytes(*check) != check_of(salt, fields) {
            return None;
        }
        Some(Self {
            tunnel: (fields >> 96) as u32,
            sequence: (fields >> 48) as u64 % U48_END,
            time: fields as u64 % U48_END,
        })
    }
}

/// Mixes salt and fields into 32 bits. Detects accidents and bugs, not attacks: inside a tunnel every packet is
/// authenticated.
fn check_of(salt: u64, fields: u128) -> u32 {
    let mut mixed = ((fields >> 64) as u64 ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 32;
    mixed = (mixed ^ fields as u64).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^= mixed >> 32;
    (mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: u64 = 0x0123_4567_89ab_cdef;

    proptest! {
        #[test]
        fn stamp_survives_encoding_and_decoding(
            tunnel: u32, sequence in 0..U48_END, time in 0..U48_END, salt: u64,
        ) {
            let stamp = Stamp { tunnel, sequence, time };
            prop_assert_eq!(Stamp::from_bytes(salt, &stamp.to_bytes(salt)), Some(stamp));
        }
    }

    #[test]
    fn any_flipped_bit_is_detected() {
        let bytes = Stamp {
            tunnel: 7,
            sequence: 123_456,
            time: 9_876_543_210,
        }
        .to_bytes(SALT);
        for bit in 0..STAMP_LEN * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Stamp::from_bytes(SALT, &changed), None, "bit {bit}");
        }
    }

    #[test]
    fn stamp_of_another_run_is_rejected() {
        let bytes = Stamp {
            tunnel: 7,
            sequence: 1,
            time: 2,
        }
        .to_bytes(SALT);
        assert_eq!(Stamp::from_bytes(SALT + 1, &bytes), None);
    }
}
