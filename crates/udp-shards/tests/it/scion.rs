//! Generators of SCION packets, with the fields that dispatch reads.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use testkit::oracle::destination::{END_TO_END, HOP_BY_HOP};

/// A SCION header: addresses, path and extensions.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    /// Destination and source: nibble of type and length, and host address.
    pub(crate) hosts: [(u8, Vec<u8>); 2],
    path: Vec<u8>,
    /// ExtLen of each extension header, if present.
    hop_by_hop: Option<u8>,
    end_to_end: Option<u8>,
}

impl Header {
    /// Returns the packet of this header and `payload`, whose protocol is `next_header`.
    pub(crate) fn write(&self, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let [(dst_type, dst), (src_type, src)] = &self.hosts;
        let header_bytes = 28 + dst.len() + src.len() + self.path.len();
        let mut packet = vec![0; 28];
        packet[5] = (header_bytes / 4) as u8;
        packet[9] = dst_type << 4 | src_type;
        packet.extend_from_slice(dst);
        packet.extend_from_slice(src);
        packet.extend_from_slice(&self.path);

        let mut names_next = 4;
        for (number, length) in [(HOP_BY_HOP, self.hop_by_hop), (END_TO_END, self.end_to_end)] {
            if let Some(length) = length {
                packet[names_next] = number;
                names_next = packet.len();
                packet.extend([0, length]);
                packet.resize(names_next + 4 * (usize::from(length) + 1), 0xee);
            }
        }
        packet[names_next] = next_header;
        packet.extend_from_slice(payload);
        packet
    }
}

/// Generates headers with the given type and length nibble of the destination.
fn headers_to(dst_type: u8) -> impl Strategy<Value = Header> {
    let host = |nibble: u8| {
        vec(any::<u8>(), 4 * (usize::from(nibble & 3) + 1)).prop_map(move |host| (nibble, host))
    };
    let path = prop_oneof![
        Just(vec![]),
        (1..20_usize).prop_map(|words| vec![0xab; 4 * words])
    ];
    (
        host(dst_type),
        prop_oneof![Just(0_u8), Just(3), Just(4)].prop_flat_map(host),
        path,
        option::of(0..4_u8),
        option::of(0..4_u8),
    )
        .prop_map(|(dst, src, path, hop_by_hop, end_to_end)| Header {
            hosts: [dst, src],
            path,
            hop_by_hop,
            end_to_end,
        })
}

/// Generates headers to an IPv4 or IPv6 host.
pub(crate) fn headers() -> impl Strategy<Value = Header> {
    prop_oneof![headers_to(0), headers_to(3)]
}

/// Generates headers to a host without an IP address.
pub(crate) fn headers_to_no_ip() -> impl Strategy<Value = Header> {
    prop_oneof![Just(4_u8), 1..3_u8, 4..16_u8].prop_flat_map(headers_to)
}
