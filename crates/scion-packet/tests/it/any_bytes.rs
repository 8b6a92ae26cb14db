//! Arbitrary bytes cause no panic, and everything read lies inside the packet.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::{client, mutated, peer};
use testkit::oracle::reading::read_all;

/// Generates random bytes with valid version and lengths and a known path type and NextHdr.
fn shaped() -> impl Strategy<Value = Vec<u8>> {
    let next_header = select(&[6, 17, 200, 201, 202][..]);
    let host_kinds = select(&[0x00, 0x03, 0x30, 0x33, 0x04, 0x40, 0xff][..]);
    let hop_fields = (1..5_u8, 0..5_u8, 0..5_u8);
    (
        vec(any::<u8>(), 36..400),
        next_header,
        host_kinds,
        0..3_u8,
        hop_fields,
    )
        .prop_map(
            |(mut bytes, next_header, host_kinds, path_type, (first, second, third))| {
                bytes[0] &= 0x0f;
                bytes[4] = next_header;
                bytes[8] = path_type;
                bytes[9] = host_kinds;
                let path_offset = 28
                    + 4 * (usize::from(host_kinds >> 4 & 3) + 1)
                    + 4 * (usize::from(host_kinds & 3) + 1);
                let third = if second == 0 { 0 } else { third };
                let segments = [first, second, third];
                let info_fields = segments.iter().filter(|length| **length > 0).count();
                let hop_fields = segments.iter().copied().map(usize::from).sum::<usize>();
                let path_bytes = match path_type {
                    0 => 0,
                    1 => 4 + 8 * info_fields + 12 * hop_fields,
                    _ => 32,
                };
                if let Some(meta) = bytes.get_mut(path_offset..path_offset + 4) {
                    let lengths = segments.map(u32::from);
                    let lengths = lengths[0] << 12 | lengths[1] << 6 | lengths[2];
                    let position = u32::from(meta[0]) << 24;
                    if path_type == 1 {
                        meta.copy_from_slice(&(position | lengths).to_be_bytes());
                    }
                }
                let header_bytes = path_offset + path_bytes;
                bytes[5] = (header_bytes / 4) as u8;
                let payload = bytes.len().saturating_sub(header_bytes) as u16;
                bytes[6..8].copy_from_slice(&payload.to_be_bytes());
                bytes
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..300)) {
        read_all(&bytes, client(), peer());
    }

    #[test]
    fn random_bytes_with_a_matching_common_header(bytes in shaped()) {
        read_all(&bytes, client(), peer());
    }

    #[test]
    fn almost_well_formed_packets(bytes in mutated()) {
        read_all(&bytes, client(), peer());
    }
}
