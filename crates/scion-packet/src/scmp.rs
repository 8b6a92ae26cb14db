//! SCMP errors: answers to packets that cannot be forwarded.

use std::net::IpAddr;

use closed_enum::closed_enum;

use crate::checksum::Checksum;
use crate::host::is_unicast;
use crate::packet::NEXT_HEADER_OFFSET;
use crate::path::{PATH_TYPE_EMPTY, PATH_TYPE_SCION, StandardPath};
use crate::upper_layer::{END_TO_END, HOP_BY_HOP, SCMP, scmp_type};
use crate::write::{Header, MAX_WRITTEN_HEADER_BYTES};
use crate::{Host, Path, ScionAddress, ScionPacket};

/// Maximum length of a packet with an SCMP error, header included: the quote is truncated to fit (SCMP
/// specification, "Processing Rules").
pub const MAX_ERROR_PACKET_BYTES: usize = 1232;

/// Length of the error messages of this module before the quote.
const MESSAGE_HEADER_BYTES: usize = 8;

// There is always room for a quote.
const _: () = assert!(MAX_WRITTEN_HEADER_BYTES + MESSAGE_HEADER_BYTES < MAX_ERROR_PACKET_BYTES);

/// An SCMP error, without the quoted packet.
///
/// ```
/// use scion_packet::build::PacketBuilder;
/// use scion_packet::scmp::UnreachableCode;
/// use scion_packet::{Host, ScionAddress, ScionPacket, ScmpError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let peer = ScionAddress { isd_as: "1-ff00:0:110".parse()?, ip: "192.0.2.9".parse()? };
/// let client = ScionAddress { isd_as: "1-ff00:0:110".parse()?, ip: "192.0.2.1".parse()? };
/// let gateway = ScionAddress { isd_as: "1-ff00:0:110".parse()?, ip: "192.0.2.254".parse()? };
/// let mut offender = Vec::new();
/// PacketBuilder::new(peer, client).append_udp(50_000, 40_000, b"hello", &mut offender)?;
///
/// let error = ScmpError::DestinationUnreachable { code: UnreachableCode::PortUnreachable };
/// let mut answer = Vec::new();
/// error.append_reply(gateway, &ScionPacket::parse(&offender)?, &mut answer)?;
/// assert_eq!(ScionPacket::parse(&answer)?.dst_host(), Host::Ip(peer.ip));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScmpError {
    /// Type 1: a packet cannot be delivered in its destination AS.
    DestinationUnreachable {
        /// Reason.
        code: UnreachableCode,
    },
    /// Type 2: a packet exceeds the MTU of the next hop.
    PacketTooBig {
        /// Maximum length of a SCION packet in bytes, header included.
        mtu: u16,
    },
    /// Type 4: the header of a packet is invalid.
    ParameterProblem {
        /// Problem.
        code: ProblemCode,
        /// Offset of the problem from the start of the packet; can exceed the length of the quote.
        pointer: u16,
    },
}

/// Codes of [`ScmpError::DestinationUnreachable`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum UnreachableCode {
    /// No route to the destination.
    NoRoute = 0,
    /// Communication with the destination is administratively denied.
    AdministrativelyDenied = 1,
    /// Any other reason.
    AddressUnreachable = 3,
    /// The port has no listener.
    PortUnreachable = 4,
}

/// Codes of [`ScmpError::ParameterProblem`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ProblemCode {
    /// The common header is invalid.
    InvalidCommonHeader = 16,
    /// The version is unknown.
    UnknownVersion = 17,
    /// The length of the packet differs from its header.
    InvalidPacketSize = 19,
    /// The path type is unknown.
    UnknownPathType = 20,
    /// The source address is invalid.
    InvalidSourceAddress = 33,
    /// The interface ConsIngress of the hop field is unknown.
    UnknownConsIngress = 49,
    /// The interface ConsEgress of the hop field is unknown.
    UnknownConsEgress = 50,
}

closed_enum! {
    /// Why a packet is not answered with an SCMP error.
    pub enum NoAnswer {
        /// The packet is or may be an SCMP error itself.
        IsScmpError: "is_scmp_error", "an SCMP error is never answered with an SCMP error";
        SourceNotUnique: "source_not_unique", "the source is not the IP address of a single host";
        /// The packet is not at the end of its path, or the path type is unsupported.
        NoReturnPath: "no_return_path", "the path cannot be reversed here";
    }
}

impl ScmpError {
    /// Returns the error for a packet from a tunnel whose [egress interface](crate::egress_interface())
    /// belongs to no known router: code 49 or 50, at the first hop field. Clients react to this error
    /// from their own AS by avoiding paths through that interface. `None` if the packet must not be
    /// answered or has no hop field.
    #[must_use]
    pub fn unknown_egress_interface(packet: &ScionPacket<'_>) -> Option<Self> {
        let Path::Standard(path) = packet.path() else {
            return None;
        };
        let code = if path.info_field(0)?.construction_direction {
            ProblemCode::UnknownConsEgress
        } else {
            ProblemCode::UnknownConsIngress
        };
        let pointer = (packet.path_offset() + path.hop_fields_offset()) as u16;
        is_answerable(packet.as_bytes()).then_some(Self::ParameterProblem { code, pointer })
    }

    /// Appends to `out` a packet with this error, from `source` to `destination` in the same AS, so with
    /// the empty path. It quotes `offender` from the start, as far as it fits.
    ///
    /// The caller must check first that `offender` [is answerable](is_answerable). Clients accept only
    /// packets to their own ISD-AS and host.
    pub fn append(
        self,
        source: ScionAddress,
        destination: ScionAddress,
        offender: &[u8],
        out: &mut Vec<u8>,
    ) {
        self.append_packet(source, destination, None, offender, out);
    }

    /// Appends to `out` a packet with this error, from `source` to the sender of `offender`, a packet
    /// that arrived in this AS: on its reversed path, or on the empty path if the sender is in this AS.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if the sender must not or cannot be answered; `out` is unchanged.
    pub fn append_reply(
        self,
        source: ScionAddress,
        offender: &ScionPacket<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), NoAnswer> {
        if !is_answerable(offender.as_bytes()) {
            return Err(NoAnswer::IsScmpError);
        }
        let ip = unicast(offender.src_host()).ok_or(NoAnswer::SourceNotUnique)?;
        let path = match offender.path() {
            Path::Empty => None,
            Path::Standard(path) if path.info_field_count() == 0 => None,
            Path::Standard(path) if path.is_at_end() => Some(path),
            Path::Standard(_) | Path::Other { .. } => return Err(NoAnswer::NoReturnPath),
        };
        let destination = ScionAddress {
            isd_as: offender.src_isd_as(),
            ip,
        };
        self.append_packet(source, destination, path, offender.as_bytes(), out);
        Ok(())
    }

    fn append_packet(
        self,
        source: ScionAddress,
        destination: ScionAddress,
        reversed_path: Option<StandardPath<'_>>,
        offender: &[u8],
        out: &mut Vec<u8>,
    ) {
        let mut header = Header {
            source,
            destination,
            path_type: reversed_path.map_or(PATH_TYPE_EMPTY, |_| PATH_TYPE_SCION),
            path_bytes: reversed_path.map_or(0, |path| path.byte_count()),
            next_header: SCMP,
            payload_bytes: 0,
        };
        let space = MAX_ERROR_PACKET_BYTES - header.byte_count() - MESSAGE_HEADER_BYTES;
        let quote = offender.get(..space).unwrap_or(offender);
        header.payload_bytes = (MESSAGE_HEADER_BYTES + quote.len()) as u16;

        let (message_type, code, value) = self.fields();
        let [value0, value1] = value.to_be_bytes();
        let mut checksum = Checksum::new(source, destination, SCMP, header.payload_bytes);
        checksum.add(&[message_type, code, 0, 0, 0, 0, value0, value1]);
        checksum.add(quote);
        let [checksum0, checksum1] = checksum.finish().to_be_bytes();

        header.append(out);
        if let Some(path) = reversed_path {
            path.append_reversed(out);
        }
        out.extend_from_slice(&[
            message_type,
            code,
            checksum0,
            checksum1,
            0,
            0,
            value0,
            value1,
        ]);
        out.extend_from_slice(quote);
    }

    /// Returns type, code, and the value in the last two bytes before the quote.
    const fn fields(self) -> (u8, u8, u16) {
        match self {
            Self::DestinationUnreachable { code } => {
                (scmp_type::DESTINATION_UNREACHABLE, code as u8, 0)
            }
            Self::PacketTooBig { mtu } => (scmp_type::PACKET_TOO_BIG, 0, mtu),
            Self::ParameterProblem { code, pointer } => {
                (scmp_type::PARAMETER_PROBLEM, code as u8, pointer)
            }
        }
    }
}

/// Returns true if `packet`, which may be malformed, may be answered with an SCMP error. False if it is
/// an SCMP error itself, of a known type or not, or may be one: its NextHdr is SCMP or an extension
/// header, and its message type is unreadable.
#[must_use]
pub fn is_answerable(packet: &[u8]) -> bool {
    if !matches!(
        packet.get(NEXT_HEADER_OFFSET),
        Some(&(SCMP | HOP_BY_HOP | END_TO_END))
    ) {
        return true;
    }
    let Ok(packet) = ScionPacket::parse_quote(packet) else {
        return false;
    };
    let Ok(upper) = packet.upper_layer() else {
        return false;
    };
    // An empty message has no type.
    upper.protocol != SCMP || (upper.scmp_type().is_some() && !upper.is_scmp_error())
}

/// Returns the IP address of a host, if it denotes a single host.
fn unicast(host: Host) -> Option<IpAddr> {
    let Host::Ip(ip) = host else { return None };
    is_unicast(ip).then_some(ip)
}
