//! Comparison with sciparse, the parser of real clients, and with the policy check that snap-dataplane builds on it.
//! Each known difference is listed here with its reason.

use std::net::{IpAddr, SocketAddr};

use scion_packet::scmp::ProblemCode;
use scion_packet::{
    Host, IncomingPolicy, MalformedPacket, NoDeliveryPort, Path, PolicyViolation, ScionPacket,
    ScmpError, delivery_port, upper_layer,
};
use sciparse::address::host_addr::WireHostAddr;
use sciparse::core::view::View;
use sciparse::dataplane_path::standard::types::InfoFieldFlags;
use sciparse::dataplane_path::standard::view::StandardPathView;
use sciparse::dataplane_path::types::PathType;
use sciparse::dataplane_path::view::ScionDpPathViewRef;
use sciparse::packet::view::ScionRawPacketView;

/// Parses a packet with sciparse; `None` if sciparse rejects it.
#[must_use]
pub fn sciparse_view(bytes: &[u8]) -> Option<&ScionRawPacketView> {
    ScionRawPacketView::try_from_slice(bytes)
        .ok()
        .map(|(view, _)| view)
}

/// Returns true for paths that the SCION header specification forbids and that sciparse accepts, unlike `scion-packet`.
///
/// - "It is an error to have Seg_XLen > 0 and Seg_YLen == 0, 2 >= X > Y >= 0." sciparse counts the segments that are
///   not empty, at any position.
/// - A path has "up to 64 hop fields", the range of CurrHF. sciparse accepts as many as fit into the header, 81.
#[must_use]
pub fn has_forbidden_path(view: &ScionRawPacketView) -> bool {
    let ScionDpPathViewRef::Standard(path) = view.header().path() else {
        return false;
    };
    let [first, second, third] = [path.seg0_len(), path.seg1_len(), path.seg2_len()];
    (first == 0 && (second > 0 || third > 0))
        || (second == 0 && third > 0)
        || u32::from(first) + u32::from(second) + u32::from(third) > 64
}

fn assert_same_host(ours: Host, theirs: &WireHostAddr) {
    match (ours, theirs) {
        (Host::Ip(ip), theirs) => assert_eq!(Some(ip), theirs.ip()),
        (Host::Service(service), WireHostAddr::Svc(theirs)) => assert_eq!(service, theirs.0),
        (Host::Other { kind }, WireHostAddr::Unknown { id, bytes }) => {
            assert_eq!(
                (kind >> 2, 4 * (usize::from(kind & 3) + 1)),
                (*id, bytes.len())
            );
        }
        (ours, theirs) => panic!("host is {ours:?}, sciparse has {theirs:?}"),
    }
}

fn assert_same_path(ours: Path<'_>, theirs: &StandardPathView) {
    let Path::Standard(path) = ours else {
        panic!("path is {ours:?}, sciparse has a standard path")
    };
    assert_eq!(
        path.current_info_field(),
        usize::from(theirs.curr_info_field_idx())
    );
    assert_eq!(
        path.current_hop_field(),
        usize::from(theirs.curr_hop_field_idx())
    );
    assert_eq!(
        path.segment_lengths(),
        [theirs.seg0_len(), theirs.seg1_len(), theirs.seg2_len()]
    );
    assert_eq!(path.info_field_count(), theirs.info_fields().len());
    for (index, theirs) in theirs.info_fields().iter().enumerate() {
        let ours = path.info_field(index).unwrap();
        assert_eq!(
            ours.construction_direction,
            theirs.flags().contains(InfoFieldFlags::CONS_DIR)
        );
        assert_eq!(
            ours.peering,
            theirs.flags().contains(InfoFieldFlags::PEERING)
        );
        assert_eq!(
            (ours.segment_id, ours.timestamp),
            (theirs.segment_id(), theirs.timestamp())
        );
    }
    assert_eq!(path.hop_field_count(), theirs.hop_fields().len());
    for (index, theirs) in theirs.hop_fields().iter().enumerate() {
        let ours = path.hop_field(index).unwrap();
        assert_eq!(
            (ours.flags, ours.expiry),
            (theirs.flags().bits(), theirs.exp_time())
        );
        assert_eq!(
            (ours.cons_ingress, ours.cons_egress),
            (theirs.cons_ingress(), theirs.cons_egress())
        );
        assert_eq!(ours.mac, theirs.mac().0);
    }
}

fn assert_same_fields(ours: &ScionPacket<'_>, theirs: &ScionRawPacketView) {
    let header = theirs.header();
    assert_eq!(ours.as_bytes(), theirs.as_slice());
    assert_eq!(ours.payload(), theirs.payload());
    assert_eq!(ours.next_header(), header.next_header().to_u8());
    assert_eq!(ours.header_len(), usize::from(header.header_len()));
    assert_eq!(ours.payload_len(), header.payload_len());
    assert_eq!(ours.path_type(), u8::from(header.path_type()));
    assert_eq!(ours.dst_isd_as().to_u64(), header.dst_ia().to_u64());
    assert_eq!(ours.src_isd_as().to_u64(), header.src_ia().to_u64());
    assert_eq!(ours.dst_isd_as().to_string(), header.dst_ia().to_string());
    assert_same_host(ours.dst_host(), &header.dst_host_addr().unwrap());
    assert_same_host(ours.src_host(), &header.src_host_addr().unwrap());
    assert_eq!(
        ours.src_host_offset(),
        header.src_host_addr_range().containing_byte_range().start
    );
    assert_eq!(ours.path_offset(), header.path_offset());
    match header.path() {
        ScionDpPathViewRef::Standard(path) => assert_same_path(ours.path(), path),
        ScionDpPathViewRef::Empty => assert!(matches!(ours.path(), Path::Empty)),
        _ => assert!(matches!(ours.path(), Path::Other { .. })),
    }
}

/// Asserts that both parsers return the same verdict and fields. [`ScionPacket::parse`] also rejects a truncated
/// payload, because routers drop such packets; sciparse leaves that to its users.
pub fn assert_same_view(bytes: &[u8]) {
    let theirs = sciparse_view(bytes);
    match (ScionPacket::parse_quote(bytes), theirs) {
        (Ok(ours), Some(theirs)) => {
            assert!(!has_forbidden_path(theirs));
            assert_same_fields(&ours, theirs);
            let whole = theirs.payload().len() == usize::from(theirs.header().payload_len());
            assert_eq!(ScionPacket::parse(bytes).is_ok(), whole);
        }
        (Ok(ours), None) => panic!("sciparse rejects {ours:?}"),
        (Err(malformed), Some(theirs)) => {
            assert_eq!(malformed, MalformedPacket::HeaderLength);
            assert!(has_forbidden_path(theirs), "sciparse accepts {theirs:?}");
        }
        (Err(_), None) => {}
    }
}

/// Reason for which only one of the two parsers finds a port.
#[derive(Debug, PartialEq)]
pub enum PortDifference {
    /// sciparse does not skip extension headers. (It expects the hop-by-hop header at 43, the number of the IPv6
    /// routing header; SCION's is 200.)
    Extension,
    /// sciparse does not support TCP.
    Tcp,
    /// sciparse rejects a UDP header whose length field is below 8. That is invalid (RFC 768), but left to the endhost:
    /// routers deliver by the port alone.
    UdpLength,
    /// In the quote of an SCMP error, sciparse reads complete UDP headers only. `scion-packet` also reads headers that
    /// are truncated after the port, extension headers, TCP, and SCMP requests, but rejects quotes with a forbidden
    /// path.
    Quote,
}

/// Returns the reason for which the two parsers may find different ports in a packet.
#[must_use]
pub fn port_difference(packet: &ScionPacket<'_>) -> Option<PortDifference> {
    match (packet.next_header(), packet.payload()) {
        (upper_layer::HOP_BY_HOP | upper_layer::END_TO_END, _) => Some(PortDifference::Extension),
        (upper_layer::TCP, _) => Some(PortDifference::Tcp),
        (upper_layer::UDP, &[_, _, _, _, high, low, ..]) if u16::from_be_bytes([high, low]) < 8 => {
            Some(PortDifference::UdpLength)
        }
        (upper_layer::SCMP, message) => {
            let quote = match message.first()? {
                1 | 2 | 4 => message.get(8..)?,
                5 => message.get(20..)?,
                6 => message.get(28..)?,
                _ => return None,
            };
            let quoted = match ScionPacket::parse_quote(quote) {
                Ok(quoted) => quoted,
                Err(_) => {
                    let forbidden = sciparse_view(quote).is_some_and(has_forbidden_path);
                    return forbidden.then_some(PortDifference::Quote);
                }
            };
            let plain_udp = matches!(
                (quoted.next_header(), quoted.payload()),
                (upper_layer::UDP, &[_, _, _, _, high, low, _, _, ..])
                    if u16::from_be_bytes([high, low]) >= 8
            );
            (!plain_udp).then_some(PortDifference::Quote)
        }
        _ => None,
    }
}

/// Asserts that both parsers find the same port, except for a [`PortDifference`].
pub fn assert_same_port(bytes: &[u8]) {
    let Ok(packet) = ScionPacket::parse(bytes) else {
        return;
    };
    let ours = delivery_port(&packet);
    let classified = sciparse_view(bytes).unwrap().try_classify();
    let theirs = classified
        .as_ref()
        .ok()
        .and_then(|classified| classified.dst_port());
    if ours.ok() != theirs {
        let difference = port_difference(&packet);
        assert!(
            difference.is_some(),
            "port is {ours:?}, sciparse has {theirs:?}: {packet:?}"
        );
        // Except for the path in a quote, `scion-packet` accepts more.
        assert!(theirs.is_none() || ours == Err(NoDeliveryPort::UnusableQuote));
    }
    if let (Host::Ip(ip), Ok(classified), Ok(port), Some(_)) =
        (packet.dst_host(), classified, ours, theirs)
    {
        let theirs = classified.dst_socket_addr().unwrap().socket_addr();
        assert_eq!(theirs, Some(SocketAddr::new(ip, port)));
    }
}

/// The check of snap-dataplane 0.8.6 on a packet from the tunnel of `ip`, rebuilt on the same sciparse calls. The error
/// has code and pointer of the SCMP answer.
fn snap_dataplane_verdict(bytes: &[u8], ip: IpAddr) -> Result<(), (ProblemCode, usize)> {
    let view = sciparse_view(bytes).ok_or((ProblemCode::InvalidCommonHeader, 0))?;
    let header = view.header();
    let source_offset = header.src_host_addr_range().containing_byte_range().start;
    if header.src_host_addr().ok().and_then(|host| host.ip()) != Some(ip) {
        return Err((ProblemCode::InvalidSourceAddress, source_offset));
    }
    match header.path_type() {
        PathType::Scion | PathType::Empty => Ok(()),
        _ => {
            let offset = header.path_type_range().containing_byte_range().start;
            Err((ProblemCode::UnknownPathType, offset))
        }
    }
}

/// Asserts that the policy has the same verdict as snap-dataplane on a packet from the tunnel of `remote`.
pub fn assert_same_policy(bytes: &[u8], remote: SocketAddr) {
    let ours = IncomingPolicy::default().check(bytes, remote).map(|_| ());
    let theirs = snap_dataplane_verdict(bytes, remote.ip());
    let answer = ours.err().and_then(|violation| violation.scmp_error(bytes));
    match (ours, theirs) {
        (Ok(()), theirs) => assert_eq!(theirs, Ok(())),
        // Additional checks of `scion-packet`, before or after the common ones.
        (
            Err(
                PolicyViolation::TruncatedPayload
                | PolicyViolation::ForeignSourceIsdAs
                | PolicyViolation::MalformedExtension
                | PolicyViolation::TruncatedUpperLayer
                | PolicyViolation::ForeignSourcePort
                | PolicyViolation::ForeignQuote
                | PolicyViolation::UnusableQuote,
            ),
            _,
        ) => {}
        // `scion-packet` answers the more specific code 17 instead of 16.
        (Err(PolicyViolation::UnsupportedVersion), theirs) => {
            assert_eq!(theirs, Err((ProblemCode::InvalidCommonHeader, 0)));
        }
        (Err(PolicyViolation::MalformedHeader), theirs) => match theirs {
            Err(theirs) if theirs == (ProblemCode::InvalidCommonHeader, 0) => {
                assert_same_answer(answer, theirs);
            }
            _ => assert!(sciparse_view(bytes).is_some_and(has_forbidden_path)),
        },
        (
            Err(PolicyViolation::ForeignSourceHost | PolicyViolation::UnsupportedPathType),
            theirs,
        ) => assert_same_answer(answer, theirs.unwrap_err()),
    }
}

/// Destination and source (ISD-AS number and host) of a packet quoted in an SCMP error, and the port that sciparse
/// finds.
type Quoted = ((u64, IpAddr), (u64, IpAddr), Option<u16>);

/// Parses the quote of an SCMP error with sciparse; `None` unless it is a packet between hosts with IP addresses.
fn quoted_by_sciparse(message: &[u8]) -> Option<Quoted> {
    let quote = match message.first()? {
        1 | 2 | 4 => message.get(8..)?,
        5 => message.get(20..)?,
        6 => message.get(28..)?,
        _ => return None,
    };
    let view = sciparse_view(quote)?;
    let header = view.header();
    let destination = header.dst_host_addr().ok()?.ip()?;
    let source = header.src_host_addr().ok()?.ip()?;
    let classified = view.try_classify();
    let port = classified.ok().and_then(|classified| classified.dst_port());
    Some((
        (header.dst_ia().to_u64(), destination),
        (header.src_ia().to_u64(), source),
        port,
    ))
}

/// Asserts that the policy accepts an SCMP error from the tunnel of `remote` only if, according to sciparse, it quotes
/// a packet from its destination to `remote`, and rejects it only if it does not or is of a type that only routers
/// send.
pub fn assert_same_quote(bytes: &[u8], remote: SocketAddr) {
    let verdict = IncomingPolicy::default()
        .check(bytes, remote)
        .map(|packet| packet.total_len());
    let Ok(packet) = ScionPacket::parse(bytes) else {
        return;
    };
    let Ok(upper) = packet.upper_layer() else {
        return;
    };
    let is_error = upper.protocol == upper_layer::SCMP
        && upper.bytes.first().is_some_and(|message| *message < 128);
    let quote_verdict = match verdict {
        Ok(_) => Ok(()),
        Err(wrong @ (PolicyViolation::ForeignQuote | PolicyViolation::UnusableQuote)) => Err(wrong),
        Err(_) => return,
    };
    if !is_error {
        assert_eq!(quote_verdict, Ok(()), "no quote in {packet:?}");
        return;
    }
    // Types that only routers send.
    if matches!(upper.bytes.first(), Some(5 | 6)) {
        assert_eq!(quote_verdict, Err(PolicyViolation::ForeignQuote));
        return;
    }
    let theirs = quoted_by_sciparse(upper.bytes);
    let Host::Ip(receiver) = packet.dst_host() else {
        assert!(quote_verdict.is_err(), "no destination host: {packet:?}");
        return;
    };
    let sender = (packet.src_isd_as().to_u64(), remote.ip());
    let receiver = (packet.dst_isd_as().to_u64(), receiver);
    match (quote_verdict, theirs) {
        (Ok(()), Some((destination, source, port))) => {
            assert_eq!((destination, source), (sender, receiver));
            assert!(port.is_none_or(|port| port == remote.port()));
        }
        (Ok(()), None) => panic!("sciparse rejects the quote in {packet:?}"),
        (Err(_), Some((destination, source, Some(port)))) => {
            let is_right = (destination, source, port) == (sender, receiver, remote.port());
            // sciparse accepts forbidden paths, and finds a port in the quote of a quoted error.
            let is_error_about_error = quote_verdict == Err(PolicyViolation::UnusableQuote);
            assert!(!is_right || is_error_about_error, "{packet:?}");
        }
        (Err(_), _) => {}
    }
}

/// Asserts that code and pointer are the same. snap-dataplane also answers SCMP errors, `scion-packet` does not.
fn assert_same_answer(ours: Option<ScmpError>, (code, pointer): (ProblemCode, usize)) {
    if let Some(ours) = ours {
        assert_eq!(
            ours,
            ScmpError::ParameterProblem {
                code,
                pointer: pointer as u16
            }
        );
    }
}

/// Returns the address of the tunnel that the packet claims to come from, and another address.
#[must_use]
pub fn tunnels(bytes: &[u8]) -> [SocketAddr; 2] {
    let other = SocketAddr::from(([192, 0, 2, 1], 40_000));
    let Ok(packet) = ScionPacket::parse_quote(bytes) else {
        return [other; 2];
    };
    let Host::Ip(ip) = packet.src_host() else {
        return [other; 2];
    };
    let port = match packet.upper_layer() {
        // The source port of an error is the destination port of the quoted packet.
        Ok(upper)
            if upper.protocol == upper_layer::SCMP
                && upper.bytes.first().is_some_and(|message| *message < 128) =>
        {
            quoted_by_sciparse(upper.bytes)
                .and_then(|(_, _, port)| port)
                .unwrap_or(other.port())
        }
        Ok(upper) if upper.bytes.len() > 6 && upper.protocol == upper_layer::SCMP => {
            u16::from_be_bytes([upper.bytes[4], upper.bytes[5]])
        }
        Ok(upper) if upper.bytes.len() > 2 => u16::from_be_bytes([upper.bytes[0], upper.bytes[1]]),
        _ => other.port(),
    };
    [SocketAddr::new(ip, port), other]
}
