//! Packets for measurements.

use std::net::SocketAddr;

use scion_packet::build::{BuildError, PacketBuilder, Segment};
use scion_packet::{HopField, InfoField, IsdAs, ScionAddress};

/// The AS of the gateway.
pub const LOCAL_ISD_AS: IsdAs = IsdAs::from_u64(0x0001_ff00_0000_0110);

const REMOTE_ISD_AS: IsdAs = IsdAs::from_u64(0x0002_ff00_0000_0220);

/// Length in bytes of a SCION header with IPv4 hosts and a path of two hops, and of the UDP header after it.
const HEADERS_BYTES: usize = 36 + 4 + 8 + 2 * 12 + 8;

/// The simple IMIX: number of packets, of 48, and their size in bytes.
pub const IMIX: [(usize, usize); 3] = [(28, 64), (16, 570), (4, 1518)];

/// Returns the sizes of 48 packets of the simple IMIX, in a fixed order without a pattern.
#[must_use]
pub fn imix_in_random_order() -> Vec<usize> {
    let mut sizes: Vec<usize> = IMIX
        .iter()
        .flat_map(|&(count, size)| std::iter::repeat_n(size, count))
        .collect();
    // Fisher-Yates shuffle, with the generator of Knuth's MMIX.
    let mut state: u64 = 1;
    for last in (1..sizes.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        sizes.swap(last, (state >> 33) as usize % (last + 1));
    }
    sizes
}

/// Returns a UDP packet of `size` bytes from `client` to a host in another AS, by interface 1.
///
/// # Errors
///
/// [`BuildError`] if `size` exceeds 16 bits.
pub fn packet_to_remote(client: SocketAddr, size: usize) -> Result<Vec<u8>, BuildError> {
    let source = ScionAddress {
        isd_as: LOCAL_ISD_AS,
        ip: client.ip(),
    };
    let destination = ScionAddress {
        isd_as: REMOTE_ISD_AS,
        ip: [198, 51, 100, 9].into(),
    };
    let info_field = InfoField {
        construction_direction: true,
        ..InfoField::default()
    };
    let first = HopField {
        cons_egress: 1,
        ..HopField::default()
    };
    let last = HopField {
        cons_ingress: 1,
        ..HopField::default()
    };
    let path = [Segment {
        info_field,
        hop_fields: vec![first, last],
    }];
    let payload = vec![0x5a; size.saturating_sub(HEADERS_BYTES)];
    let mut packet = Vec::with_capacity(size);
    PacketBuilder::new(source, destination)
        .with_path(&path)?
        .append_udp(client.port(), 443, &payload, &mut packet)?;
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_imix_has_the_sizes_of_an_imix() {
        let sizes = imix_in_random_order();
        for (count, size) in IMIX {
            assert_eq!(sizes.iter().filter(|&&is| is == size).count(), count);
        }
        assert!(!sizes.is_sorted());
    }

    #[test]
    fn packet_has_the_requested_size() {
        let client = SocketAddr::from(([192, 0, 2, 1], 40_000));
        for size in [HEADERS_BYTES, 1400, 8900] {
            assert_eq!(packet_to_remote(client, size).unwrap().len(), size);
        }
    }
}
