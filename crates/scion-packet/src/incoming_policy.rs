//! The policy for packets from endhosts: from a tunnel, or from a host of the AS.

use std::net::{IpAddr, SocketAddr};

use closed_enum::closed_enum;

use crate::packet::{HOSTS_OFFSET, PATH_TYPE_OFFSET, SOURCE_ISD_AS_OFFSET};
use crate::scmp::{self, ProblemCode};
use crate::upper_layer::scmp_type;
use crate::{
    Host, IsdAs, MalformedExtension, MalformedPacket, Path, ScionAddress, ScionPacket, ScmpError,
    UpperLayer,
};

/// The policy for packets from a tunnel: a client sends from its own address only.
///
/// The client's SCION address is the remote socket address of its tunnel as seen by the gateway, and
/// packets to that address are delivered to this tunnel. So the policy accepts no other source.
///
/// ```
/// use scion_packet::build::PacketBuilder;
/// use scion_packet::{IncomingPolicy, PolicyViolation, ScionAddress};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let policy = IncomingPolicy { local_isd_as: vec!["1-ff00:0:110".parse()?] };
/// let client = ScionAddress { isd_as: "1-ff00:0:110".parse()?, ip: "192.0.2.1".parse()? };
/// let peer = ScionAddress { isd_as: "1-ff00:0:111".parse()?, ip: "192.0.2.9".parse()? };
/// let mut bytes = Vec::new();
/// PacketBuilder::new(client, peer).append_udp(40_000, 50_000, b"hello", &mut bytes)?;
///
/// assert!(policy.check(&bytes, "192.0.2.1:40000".parse()?).is_ok());
/// let violation = policy.check(&bytes, "192.0.2.1:40001".parse()?).unwrap_err();
/// assert_eq!(violation, PolicyViolation::ForeignSourcePort);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct IncomingPolicy {
    /// Accepted source ASes. Empty: any.
    pub local_isd_as: Vec<IsdAs>,
}

closed_enum! {
    /// Why a packet from a tunnel may not enter SCION.
    pub enum PolicyViolation {
        MalformedHeader: "malformed_header", "the SCION header is malformed";
        UnsupportedVersion: "unsupported_version", "the version of the SCION header is not 0";
        TruncatedPayload: "truncated_payload", "the packet is shorter than its header says";
        ForeignSourceHost: "foreign_source_host", "the source host is not that of the tunnel";
        UnsupportedPathType: "unsupported_path_type", "the path type is neither 0 nor 1";
        ForeignSourceIsdAs: "foreign_source_isd_as", "the source ISD-AS is not a local one";
        /// The extension headers are truncated, repeated or in the wrong order.
        MalformedExtension: "malformed_extension", "the extension headers are malformed";
        TruncatedUpperLayer: "truncated_upper_layer",
            "the packet ends inside the header of its upper layer";
        ForeignSourcePort: "foreign_source_port", "the source port is not that of the tunnel";
        /// An SCMP error about a packet that was not sent by the receiver of the error to its sender.
        /// Also every error of types 5 and 6, which only routers report.
        ForeignQuote: "foreign_quote", "the SCMP error quotes a packet between other hosts";
        /// An SCMP error without a readable destination of the quoted packet: the type is unknown, or
        /// the quote is truncated before the port, has no port, or is an SCMP error itself.
        UnusableQuote: "unusable_quote", "the SCMP error quotes a packet without a readable destination";
    }
}

impl From<MalformedPacket> for PolicyViolation {
    #[inline]
    fn from(malformed: MalformedPacket) -> Self {
        match malformed {
            MalformedPacket::TruncatedHeader | MalformedPacket::HeaderLength => {
                Self::MalformedHeader
            }
            MalformedPacket::UnsupportedVersion => Self::UnsupportedVersion,
            MalformedPacket::TruncatedPayload => Self::TruncatedPayload,
        }
    }
}

impl From<MalformedExtension> for PolicyViolation {
    #[inline]
    fn from(MalformedExtension: MalformedExtension) -> Self {
        Self::MalformedExtension
    }
}

impl IncomingPolicy {
    /// Checks `packet`, which came from the tunnel of `remote`, and returns it without trailing bytes.
    /// The checks, in this order:
    ///
    /// 1. It is a SCION packet of version 0, not shorter than its header says.
    /// 2. The source host is the IP address of `remote`, in the same form: `::ffff:192.0.2.1` differs from `192.0.2.1`,
    ///    because the handshake reported the address to the client in the form of `remote`, and packets to the other
    ///    form are not delivered to it.
    /// 3. The path type is empty (0) or SCION (1).
    /// 4. The source ISD-AS is in [`local_isd_as`](Self::local_isd_as), unless that is empty.
    /// 5. The extension headers are well-formed.
    /// 6. The source port of UDP and TCP is the port of `remote`, and so is the identifier of SCMP
    ///    echo and traceroute requests, to which replies are delivered. SCMP replies, which carry the
    ///    identifier of the peer, and other protocols pass.
    /// 7. An SCMP error is about a packet that was sent to the client: the quoted destination is the
    ///    source of the error, with the port of `remote`, and the quoted source is the destination of
    ///    the error. Errors of types 5 (external interface down) and 6 (internal connectivity down)
    ///    are refused, because only routers report packets that were not sent to them.
    ///
    /// # Errors
    ///
    /// [`PolicyViolation`] names the first failed check.
    #[inline]
    pub fn check<'a>(
        &self,
        packet: &'a [u8],
        remote: SocketAddr,
    ) -> Result<ScionPacket<'a>, PolicyViolation> {
        let packet = ScionPacket::parse(packet)?;
        if packet.src_host() != Host::Ip(remote.ip()) {
            return Err(PolicyViolation::ForeignSourceHost);
        }
        if matches!(packet.path(), Path::Other { .. }) {
            return Err(PolicyViolation::UnsupportedPathType);
        }
        self.check_source_isd_as(&packet)?;
        let upper = packet.upper_layer()?;
        if !upper.has_whole_header() {
            return Err(PolicyViolation::TruncatedUpperLayer);
        }
        let source_port = upper
            .source_port_offset()
            .and_then(|offset| upper.u16_at(offset));
        if source_port.is_some_and(|port| port != remote.port()) {
            return Err(PolicyViolation::ForeignSourcePort);
        }
        if upper.is_scmp_error() {
            check_quote(&packet, &upper, Some(remote.port()))?;
        }
        Ok(packet)
    }

    /// Checks `packet`, which came by UDP from `host`, without a tunnel or a router: the source is that
    /// host in a local AS, and an SCMP error is about a packet that was sent to that host. Ports are
    /// not checked, because the host owns all of them.
    ///
    /// # Errors
    ///
    /// [`PolicyViolation`] names the first failed check: [`ForeignSourceHost`],
    /// [`ForeignSourceIsdAs`], [`MalformedExtension`], [`ForeignQuote`] or [`UnusableQuote`].
    ///
    /// [`ForeignSourceHost`]: PolicyViolation::ForeignSourceHost
    /// [`ForeignSourceIsdAs`]: PolicyViolation::ForeignSourceIsdAs
    /// [`MalformedExtension`]: PolicyViolation::MalformedExtension
    /// [`ForeignQuote`]: PolicyViolation::ForeignQuote
    /// [`UnusableQuote`]: PolicyViolation::UnusableQuote
    #[inline]
    pub fn check_host(
        &self,
        packet: &ScionPacket<'_>,
        host: IpAddr,
    ) -> Result<(), PolicyViolation> {
        if packet.src_host() != Host::Ip(host) {
            return Err(PolicyViolation::ForeignSourceHost);
        }
        self.check_source_isd_as(packet)?;
        let upper = packet.upper_layer()?;
        if upper.is_scmp_error() {
            check_quote(packet, &upper, None)?;
        }
        Ok(())
    }

    #[inline]
    fn check_source_isd_as(&self, packet: &ScionPacket<'_>) -> Result<(), PolicyViolation> {
        if self.local_isd_as.is_empty() || self.local_isd_as.contains(&packet.src_isd_as()) {
            Ok(())
        } else {
            Err(PolicyViolation::ForeignSourceIsdAs)
        }
    }
}

/// Checks that `error`, an SCMP error from a verified source, quotes a packet from its destination to
/// its source, and to `port` if its sender has a single port.
///
/// The sender of the error received the quoted packet, so the packet must have a destination port. An
/// error about an error is refused: it must not be sent (RFC 4443, 2.4(e); SCMP specification,
/// "Processing Rules"). An error of an unknown type is refused because the offset of its quote is
/// unknown.
///
/// Types 5 and 6 report that a router could not forward the quoted packet, so its receiver never sends
/// them. A client that could send them could make its peers avoid any interface of any AS.
///
/// Not inlined, because errors are rare and inlining slows down the check of all other packets.
#[cold]
#[inline(never)]
fn check_quote(
    error: &ScionPacket<'_>,
    upper: &UpperLayer<'_>,
    port: Option<u16>,
) -> Result<(), PolicyViolation> {
    let unusable = PolicyViolation::UnusableQuote;
    let quote = match upper.scmp_type() {
        Some(scmp_type::EXTERNAL_INTERFACE_DOWN | scmp_type::INTERNAL_CONNECTIVITY_DOWN) => {
            return Err(PolicyViolation::ForeignQuote);
        }
        _ => upper.quote().ok_or(unusable)?,
    };
    let quoted = ScionPacket::parse_quote(quote).map_err(|_| unusable)?;
    let quoted_upper = quoted.upper_layer().map_err(|_| unusable)?;
    let quoted_port = quoted_upper
        .destination_port_offset()
        .and_then(|offset| quoted_upper.u16_at(offset))
        .ok_or(unusable)?;
    let is_between_both = quoted.dst_host() == error.src_host()
        && quoted.dst_isd_as() == error.src_isd_as()
        && quoted.src_host() == error.dst_host()
        && quoted.src_isd_as() == error.dst_isd_as()
        // A service address sends no packets, and for unknown kinds of hosts only the kind was
        // compared.
        && matches!(error.dst_host(), Host::Ip(_));
    if is_between_both && port.is_none_or(|port| port == quoted_port) {
        Ok(())
    } else {
        Err(PolicyViolation::ForeignQuote)
    }
}

impl PolicyViolation {
    /// Returns the SCMP error that answers `packet`, which violates the policy in this way.
    ///
    /// | violation | code | pointer to |
    /// | --- | --- | --- |
    /// | malformed header | 16 invalid common header | 0 |
    /// | unsupported version | 17 unknown version | 0 |
    /// | truncated payload or upper layer | 19 invalid packet size | 0 |
    /// | unsupported path type | 20 unknown path type | the path type, 8 |
    /// | foreign source host | 33 invalid source address | the source host |
    /// | foreign source ISD-AS | 33 invalid source address | the source ISD-AS, 20 |
    /// | foreign source port | 33 invalid source address | the port or identifier |
    ///
    /// `None` if `packet` must not be answered, see [`scmp::is_answerable`]. This always holds for
    /// malformed extension headers, which can hide an SCMP error, and for wrong quotes, which occur in
    /// SCMP errors only.
    #[must_use]
    pub fn scmp_error(self, packet: &[u8]) -> Option<ScmpError> {
        if !scmp::is_answerable(packet) {
            return None;
        }
        let (code, pointer) = match self {
            Self::MalformedHeader => (ProblemCode::InvalidCommonHeader, 0),
            Self::UnsupportedVersion => (ProblemCode::UnknownVersion, 0),
            Self::TruncatedPayload | Self::TruncatedUpperLayer => {
                (ProblemCode::InvalidPacketSize, 0)
            }
            Self::UnsupportedPathType => (ProblemCode::UnknownPathType, PATH_TYPE_OFFSET),
            Self::ForeignSourceHost => {
                let packet = ScionPacket::parse(packet).ok()?;
                (ProblemCode::InvalidSourceAddress, packet.src_host_offset())
            }
            Self::ForeignSourceIsdAs => (ProblemCode::InvalidSourceAddress, SOURCE_ISD_AS_OFFSET),
            Self::ForeignSourcePort => {
                let upper = ScionPacket::parse(packet).ok()?.upper_layer().ok()?;
                let port_offset = upper.offset + upper.source_port_offset()?;
                (ProblemCode::InvalidSourceAddress, port_offset)
            }
            // The last two are violations of SCMP errors, which are not answerable.
            Self::MalformedExtension | Self::ForeignQuote | Self::UnusableQuote => return None,
        };
        Some(ScmpError::ParameterProblem {
            code,
            pointer: pointer as u16,
        })
    }

    /// Appends to `out` the packet that answers `packet` into the tunnel of `remote`, from the host
    /// `gateway`. Returns false and does not change `out` if `packet` must not be answered.
    ///
    /// The answer is addressed to the host of `remote` in the source AS of `packet`: clients accept only
    /// packets to their own ISD-AS and host. If the source AS is unreadable, the answer goes from and
    /// to `0-0`; no client accepts it, but it is visible in a capture.
    pub fn append_answer(
        self,
        packet: &[u8],
        remote: IpAddr,
        gateway: IpAddr,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(error) = self.scmp_error(packet) else {
            return false;
        };
        let isd_as = source_isd_as(packet).unwrap_or(IsdAs::WILDCARD);
        let source = ScionAddress {
            isd_as,
            ip: gateway,
        };
        let destination = ScionAddress { isd_as, ip: remote };
        error.append(source, destination, packet, out);
        true
    }
}

/// Returns the source ISD-AS of a packet that may be malformed after that field.
fn source_isd_as(packet: &[u8]) -> Option<IsdAs> {
    let fixed = packet.first_chunk::<HOSTS_OFFSET>()?;
    if fixed[0] >> 4 != 0 {
        return None;
    }
    fixed
        .last_chunk()
        .map(|&bytes| IsdAs::from_u64(u64::from_be_bytes(bytes)))
}
