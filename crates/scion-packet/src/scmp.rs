//! SCMP errors: the answer to a packet that goes nowhere.

use std::net::IpAddr;

use closed_enum::closed_enum;

use crate::checksum::Checksum;
use crate::host::is_unicast;
use crate::packet::NEXT_HEADER_OFFSET;
use crate::path::{PATH_TYPE_EMPTY, PATH_TYPE_SCION, StandardPath};
use crate::upper_layer::{END_TO_END, HOP_BY_HOP, SCMP, scmp_type};
use crate::write::{Header, MAX_WRITTEN_HEADER_BYTES};
use crate::{Host, Path, ScionAddress, ScionPacket};

/// Longest packet that carries an SCMP error, header included: the quote is cut to fit (SCMP
/// specification, "Processing Rules").
pub const MAX_ERROR_PACKET_BYTES: usize = 1232;

/// Bytes of each of our error messages before the quote.
const MESSAGE_HEADER_BYTES: usize = 8;

// There is always room for a quote.
const _: () = assert!(MAX_WRITTEN_HEADER_BYTES + MESSAGE_HEADER_BYTES < MAX_ERROR_PACKET_BYTES);

/// An SCMP error, without the packet that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScmpError {
    /// Type 1: a packet cannot be delivered in this, its destination AS.
    DestinationUnreachable {
        /// Why.
        code: UnreachableCode,
    },
    /// Type 2: a packet does not fit on the way to its destination.
    PacketTooBig {
        /// The longest SCION packet in bytes, header included, that does.
        mtu: u16,
    },
    /// Type 4: the header of a packet is wrong.
    ParameterProblem {
        /// What is wrong with it.
        code: ProblemCode,
        /// Offset of what is wrong from the start of the packet; possibly behind the quote.
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
    /// Nothing listens on the port.
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
    /// The packet is not as long as its header says.
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
    /// Why no SCMP error goes back to the sender of a packet.
    pub enum NoAnswer {
        /// The packet is an SCMP error itself, or it cannot be ruled out.
        IsScmpError: "is_scmp_error", "an SCMP error is never answered with an SCMP error";
        /// The source host is no IP address of one host.
        SourceNotUnique: "source_not_unique", "the source is not the address of one host";
        /// There is no way back: the packet did not arrive at the end of its path, or the path is
        /// of an unsupported type.
        NoReturnPath: "no_return_path", "the path cannot be turned around here";
    }
}

impl ScmpError {
    /// The error for a packet from a tunnel whose [egress interface](crate::egress_interface())
    /// belongs to no router that is known: code 49 or 50, at the first hop field. Clients take the
    /// report of their own AS as a reason to leave the paths through that interface. `None` when
    /// the packet may not be answered or has no hop field.
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

    /// Appends to `out` a packet with this error, from `source` to `destination`, which are in the
    /// same AS: its path is empty. It quotes as much of `offender` as fits, from the start.
    ///
    /// Whether `offender` may be answered at all is the caller's question to [`is_answerable`].
    /// Clients take only packets for their own ISD-AS and host.
    pub fn append(
        self,
        source: ScionAddress,
        destination: ScionAddress,
        offender: &[u8],
        out: &mut Vec<u8>,
    ) {
        self.append_packet(source, destination, None, offender, out);
    }

    /// Appends to `out` a packet with this error, from `source` back to the sender of `offender`,
    /// a packet that arrived in this AS: on its path turned around, or on the empty path if the
    /// sender is in this AS too.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] when the sender must not or cannot be answered; `out` is as it was.
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
        turned_path: Option<StandardPath<'_>>,
        offender: &[u8],
        out: &mut Vec<u8>,
    ) {
        let mut header = Header {
            source,
            destination,
            path_type: turned_path.map_or(PATH_TYPE_EMPTY, |_| PATH_TYPE_SCION),
            path_bytes: turned_path.map_or(0, |path| path.byte_count()),
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
        if let Some(path) = turned_path {
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

    /// Type, code, and the value in the last two bytes before the quote.
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

/// Whether `packet`, which need not be well-formed, may be answered with an SCMP error. It may not
/// when it is an SCMP error itself, known type or not, and neither when that cannot be ruled out:
/// its NextHdr says SCMP or an extension header, and the message type cannot be reached.
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

/// The IP address of a host, unless it may stand for several hosts or for none.
fn unicast(host: Host) -> Option<IpAddr> {
    let Host::Ip(ip) = host else { return None };
    is_unicast(ip).then_some(ip)
}
