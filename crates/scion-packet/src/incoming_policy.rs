//! What a packet from an endhost must be like: out of a tunnel, or from a host of the AS.

use std::net::{IpAddr, SocketAddr};

use closed_enum::closed_enum;

use crate::packet::{HOSTS_OFFSET, PATH_TYPE_OFFSET, SOURCE_ISD_AS_OFFSET};
use crate::scmp::{self, ProblemCode};
use crate::upper_layer::scmp_type;
use crate::{
    Host, IsdAs, MalformedExtension, MalformedPacket, Path, ScionAddress, ScionPacket, ScmpError,
    UpperLayer,
};

/// The policy for packets that come out of a tunnel: a client sends from its own address only.
///
/// The client's SCION address is the socket address that its tunnel has on this side, and packets
/// for that address come back to this tunnel; so nothing else may stand as the source.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct IncomingPolicy {
    /// The ASes that clients may say they are in. Empty: any.
    pub local_isd_as: Vec<IsdAs>,
}

closed_enum! {
    /// Why a packet from a tunnel may not enter SCION.
    pub enum PolicyViolation {
        /// It is no SCION packet.
        MalformedHeader: "malformed_header", "the SCION header is malformed";
        /// The version is not 0.
        UnsupportedVersion: "unsupported_version", "the version of the SCION header is not 0";
        /// It is shorter than its header says.
        TruncatedPayload: "truncated_payload", "the packet is shorter than its header says";
        /// The source host is not the IP address of the tunnel.
        ForeignSourceHost: "foreign_source_host", "the source host is not that of the tunnel";
        /// The path type is neither empty (0) nor SCION (1).
        UnsupportedPathType: "unsupported_path_type", "the path type is neither 0 nor 1";
        /// The source ISD-AS is none of the local ones.
        ForeignSourceIsdAs: "foreign_source_isd_as", "the source ISD-AS is not a local one";
        /// The extension headers are cut short, repeated or in the wrong order.
        MalformedExtension: "malformed_extension", "the extension headers are malformed";
        /// The packet ends inside the header of its upper layer.
        TruncatedUpperLayer: "truncated_upper_layer",
            "the packet ends inside the header of its upper layer";
        /// The source port is not that of the tunnel.
        ForeignSourcePort: "foreign_source_port", "the source port is not that of the tunnel";
        /// An SCMP error about a packet that was not sent to the sender of the error, or that did
        /// not come from the receiver of the error. So is every error of types 5 and 6: only a
        /// router that could not forward a packet reports them.
        ForeignQuote: "foreign_quote", "the SCMP error quotes a packet between others";
        /// An SCMP error that does not show to whom the packet that it quotes was sent: its type is
        /// unknown, or the quote is cut off before the port, has none, or is an SCMP error itself.
        UnusableQuote: "unusable_quote", "the SCMP error does not show what packet it is about";
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
    /// Checks `packet`, which came out of the tunnel of `remote`, and returns it without what
    /// follows its payload. In this order:
    ///
    /// 1. It is a SCION packet of version 0 and not shorter than it says.
    /// 2. The source host is the IP address of `remote`, in the same form: `::ffff:192.0.2.1` is
    ///    not `192.0.2.1`, because the client was told the address of `remote` as it stands here,
    ///    and packets come back for that form only.
    /// 3. The path type is empty (0) or SCION (1).
    /// 4. The source ISD-AS is one of [`local_isd_as`](Self::local_isd_as), if there are any.
    /// 5. The extension headers are well-formed.
    /// 6. The source port of UDP and TCP is the port of `remote`, and so is the identifier of SCMP
    ///    echo and traceroute requests: replies come back to it. SCMP replies carry the identifier
    ///    of the other side, and other protocols have none; they pass.
    /// 7. An SCMP error is about a packet that was sent to the client: the quoted destination is
    ///    the source of the error, with the port of `remote`, and the quoted source is the
    ///    destination of the error. Only routers may report packets that were not sent to them, so
    ///    errors of types 5 (external interface down) and 6 (internal connectivity down) are refused.
    ///
    /// # Errors
    ///
    /// [`PolicyViolation`] names the first check that failed.
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

    /// Checks `packet`, which came by UDP from `host`, without a tunnel or a router: the source is
    /// that host in a local AS, and an SCMP error is about a packet that was sent to that host.
    /// Its ports are not looked at: all of them are the host's.
    ///
    /// # Errors
    ///
    /// [`PolicyViolation`] names the first check that failed: [`ForeignSourceHost`],
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

/// Checks that `error`, an SCMP error whose source is known to be right, quotes a packet from its
/// destination to its source, and to `port` if its sender has one port only.
///
/// The quoted packet is the one that its receiver saw, so it must have a port by which it was
/// delivered. An error about an error is refused: it must not be sent (RFC 4443, 2.4(e); SCMP
/// specification, "Processing Rules"). So is an error of an unknown type: where its quote starts
/// is unknown too.
///
/// Types 5 and 6 say that a router could not forward the quoted packet, so its receiver has nothing
/// to report. A client that could send them would make its peers leave any interface of any AS.
///
/// Errors are rare: inlined, this would make the check of all other packets slower.
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
        // Service addresses send nothing, and of other kinds only the kind was compared.
        && matches!(error.dst_host(), Host::Ip(_));
    if is_between_both && port.is_none_or(|port| port == quoted_port) {
        Ok(())
    } else {
        Err(PolicyViolation::ForeignQuote)
    }
}

impl PolicyViolation {
    /// The SCMP error that answers `packet`, which violates the policy in this way.
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
    /// `None` when `packet` may not be answered: see [`scmp::is_answerable`]. That is always so
    /// with malformed extension headers, behind which there might be an SCMP error, and with wrong
    /// quotes, which SCMP errors alone have.
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
            // The last two are about SCMP errors, which are not answerable.
            Self::MalformedExtension | Self::ForeignQuote | Self::UnusableQuote => return None,
        };
        Some(ScmpError::ParameterProblem {
            code,
            pointer: pointer as u16,
        })
    }

    /// Appends to `out` the packet that answers `packet` into the tunnel of `remote`, from the host
    /// `gateway`. `false`, and `out` is as it was, when it may not be answered.
    ///
    /// It is addressed to the host of `remote`, whatever `packet` says, in the AS that `packet`
    /// says it comes from: clients take only packets for their own ISD-AS and host. A packet that
    /// does not get so far is answered from and to `0-0`, which no client takes for its own, but
    /// which shows in a capture.
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

/// The source ISD-AS of a packet that may be malformed behind it.
fn source_isd_as(packet: &[u8]) -> Option<IsdAs> {
    let fixed = packet.first_chunk::<HOSTS_OFFSET>()?;
    if fixed[0] >> 4 != 0 {
        return None;
    }
    fixed
        .last_chunk()
        .map(|&bytes| IsdAs::from_u64(u64::from_be_bytes(bytes)))
}
