//! What a packet from a tunnel must be like to enter SCION.

use std::net::{IpAddr, SocketAddr};

use crate::closed_enum::closed_enum;
use crate::packet::{HOSTS_OFFSET, PATH_TYPE_OFFSET, SOURCE_ISD_AS_OFFSET};
use crate::scmp::{self, ProblemCode};
use crate::{
    Host, IsdAs, MalformedExtension, MalformedPacket, Path, ScionAddress, ScionPacket, ScmpError,
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
    ///    of the other side, and errors and other protocols have none; they pass.
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
        if !self.local_isd_as.is_empty() && !self.local_isd_as.contains(&packet.src_isd_as()) {
            return Err(PolicyViolation::ForeignSourceIsdAs);
        }
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
        Ok(packet)
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
    /// with malformed extension headers, behind which there might be an SCMP error.
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
            Self::MalformedExtension => return None,
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
