//! Invariants of the packet parsers that hold for arbitrary bytes.

use std::net::SocketAddr;

use scion_packet::scmp::{MAX_ERROR_PACKET_BYTES, UnreachableCode};
use scion_packet::{
    Host, IncomingPolicy, Path, PolicyViolation, ScionAddress, ScionPacket, ScmpError,
    delivery_port, egress_interface,
};

/// Calls every function of `scion-packet` that reads a packet, and asserts their invariants. `client` is the address of
/// the tunnel, `peer` is in another AS.
pub fn read_all(bytes: &[u8], client: ScionAddress, peer: ScionAddress) {
    let policy = IncomingPolicy {
        local_isd_as: vec![client.isd_as],
    };
    let mut out = Vec::new();
    for violation in PolicyViolation::ALL {
        out.clear();
        let answered = violation.append_answer(bytes, client.ip, peer.ip, &mut out);
        assert_eq!(answered, !out.is_empty());
        assert!(out.len() <= MAX_ERROR_PACKET_BYTES);
    }
    if let Err(violation) = policy.check(bytes, SocketAddr::new(client.ip, 1)) {
        let _ = violation.scmp_error(bytes);
    }

    let strict = ScionPacket::parse(bytes);
    let Ok(packet) = ScionPacket::parse_quote(bytes) else {
        assert!(strict.is_err());
        return;
    };
    if let Ok(strict) = strict {
        assert_eq!(strict.payload().len(), usize::from(strict.payload_len()));
        let from = match strict.src_host() {
            Host::Ip(ip) => SocketAddr::new(ip, delivery_port(&strict).unwrap_or(1)),
            _ => SocketAddr::new(client.ip, 1),
        };
        let _ = policy.check(bytes, from);
    }
    assert!(bytes.starts_with(packet.as_bytes()));
    assert_eq!(
        packet.total_len(),
        packet.header_len() + packet.payload().len()
    );
    assert!(packet.path_offset() <= packet.header_len());
    assert!(packet.src_host_offset() < packet.path_offset());
    let _ = (
        packet.dst_host(),
        packet.dst_isd_as(),
        packet.src_isd_as(),
        packet.next_header(),
    );
    if let Ok(upper) = packet.upper_layer() {
        assert_eq!(&packet.as_bytes()[upper.offset..], upper.bytes);
    }
    let _ = delivery_port(&packet);
    let _ = ScmpError::unknown_egress_interface(&packet);
    let interface = egress_interface(&packet);
    if let Path::Standard(path) = packet.path() {
        let hop_fields = (0..=path.hop_field_count()).map_while(|index| path.hop_field(index));
        assert_eq!(hop_fields.count(), path.hop_field_count());
        let info_fields = (0..=path.info_field_count()).map_while(|index| path.info_field(index));
        assert_eq!(info_fields.count(), path.info_field_count());
    } else {
        assert!(interface.is_err());
    }
    out.clear();
    let error = ScmpError::DestinationUnreachable {
        code: UnreachableCode::NoRoute,
    };
    if error.append_reply(peer, &packet, &mut out).is_ok() {
        assert!(out.len() <= MAX_ERROR_PACKET_BYTES);
        assert!(ScionPacket::parse(&out).is_ok());
    } else {
        assert!(out.is_empty());
    }
}
