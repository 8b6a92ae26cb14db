//! Writing packets, for load generators and tests.

use closed_enum::closed_enum;

use crate::checksum::Checksum;
use crate::path::{MAX_HOP_FIELDS, MAX_SEGMENTS, PATH_TYPE_EMPTY, PATH_TYPE_SCION, meta_header};
use crate::upper_layer::{SCMP, UDP, UDP_HEADER_BYTES, scmp_header_bytes, scmp_type};
use crate::write::Header;
use crate::{HopField, InfoField, ScionAddress};

/// Maximum number of hop fields of a segment: its length has six bits.
const MAX_SEGMENT_HOP_FIELDS: usize = 63;

/// A segment of a path to write.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Segment {
    /// Info field.
    pub info_field: InfoField,
    /// Hop fields in the order of travel: 1 to 63.
    pub hop_fields: Vec<HopField>,
}

closed_enum! {
    /// Why a packet cannot be written.
    pub enum BuildError {
        /// More than 3 segments, a segment with 0 or more than 63 hop fields, or more than 64 hop
        /// fields in total.
        InvalidPath: "invalid_path", "the path does not fit into a SCION header";
        PayloadTooLong: "payload_too_long", "the payload is longer than 65535 bytes";
    }
}

/// Writes packets from one address to another, on one path.
///
/// Each `append_` method appends a complete packet to a buffer, and does not change the buffer on
/// errors.
///
/// ```
/// use scion_packet::build::{PacketBuilder, Segment};
/// use scion_packet::{HopField, InfoField, ScionAddress, ScionPacket, egress_interface};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let source = ScionAddress { isd_as: "1-ff00:0:110".parse()?, ip: "192.0.2.1".parse()? };
/// let destination = ScionAddress { isd_as: "1-ff00:0:111".parse()?, ip: "2001:db8::2".parse()? };
/// let segment = Segment {
///     info_field: InfoField { construction_direction: true, ..InfoField::default() },
///     hop_fields: vec![
///         HopField { cons_egress: 7, ..HopField::default() },
///         HopField { cons_ingress: 3, ..HopField::default() },
///     ],
/// };
/// let builder = PacketBuilder::new(source, destination).with_path(&[segment])?;
/// let mut bytes = Vec::new();
/// builder.append_udp(40_000, 50_000, b"hello", &mut bytes)?;
///
/// let packet = ScionPacket::parse(&bytes)?;
/// assert_eq!(egress_interface(&packet), Ok(7));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PacketBuilder {
    source: ScionAddress,
    destination: ScionAddress,
    path_type: u8,
    path: Vec<u8>,
}

impl PacketBuilder {
    /// Creates a builder of packets with the empty path.
    #[must_use]
    pub const fn new(source: ScionAddress, destination: ScionAddress) -> Self {
        Self {
            source,
            destination,
            path_type: PATH_TYPE_EMPTY,
            path: Vec::new(),
        }
    }

    /// Sets a path of type SCION (1) at its first hop. Message authentication codes are used as given.
    ///
    /// # Errors
    ///
    /// [`BuildError::InvalidPath`].
    pub fn with_path(mut self, segments: &[Segment]) -> Result<Self, BuildError> {
        if segments.len() > MAX_SEGMENTS {
            return Err(BuildError::InvalidPath);
        }
        let mut lengths = [0; MAX_SEGMENTS];
        let mut hop_field_count = 0;
        for (length, segment) in lengths.iter_mut().zip(segments) {
            let hop_fields = segment.hop_fields.len();
            if !(1..=MAX_SEGMENT_HOP_FIELDS).contains(&hop_fields) {
                return Err(BuildError::InvalidPath);
            }
            *length = hop_fields as u8;
            hop_field_count += hop_fields;
        }
        if hop_field_count > MAX_HOP_FIELDS {
            return Err(BuildError::InvalidPath);
        }
        self.path_type = PATH_TYPE_SCION;
        self.path.clear();
        self.path.extend_from_slice(&meta_header(lengths));
        for segment in segments {
            self.path.extend_from_slice(&segment.info_field.to_wire());
        }
        for hop_field in segments.iter().flat_map(|segment| &segment.hop_fields) {
            self.path.extend_from_slice(&hop_field.to_wire());
        }
        Ok(self)
    }

    /// Appends a UDP datagram with its checksum.
    ///
    /// # Errors
    ///
    /// [`BuildError::PayloadTooLong`].
    pub fn append_udp(
        &self,
        source_port: u16,
        destination_port: u16,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        let length = payload_bytes(UDP_HEADER_BYTES + payload.len())?;
        let [source0, source1] = source_port.to_be_bytes();
        let [destination0, destination1] = destination_port.to_be_bytes();
        let [length0, length1] = length.to_be_bytes();
        let ports = [
            source0,
            source1,
            destination0,
            destination1,
            length0,
            length1,
        ];
        let checksum = match self.checksum(UDP, length, [&ports, payload]) {
            // 0 means "no checksum" (RFC 768).
            0 => u16::MAX,
            checksum => checksum,
        };
        self.append_header(UDP, length, out);
        out.extend_from_slice(&ports);
        out.extend_from_slice(&checksum.to_be_bytes());
        out.extend_from_slice(payload);
        Ok(())
    }

    /// Appends an SCMP echo request with its checksum. Replies go to the port `identifier`.
    ///
    /// # Errors
    ///
    /// [`BuildError::PayloadTooLong`].
    pub fn append_echo_request(
        &self,
        identifier: u16,
        sequence_number: u16,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        self.append_echo(
            scmp_type::ECHO_REQUEST,
            identifier,
            sequence_number,
            data,
            out,
        )
    }

    /// Appends an SCMP echo reply with its checksum. It goes to the port `identifier`.
    ///
    /// # Errors
    ///
    /// [`BuildError::PayloadTooLong`].
    pub fn append_echo_reply(
        &self,
        identifier: u16,
        sequence_number: u16,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        self.append_echo(
            scmp_type::ECHO_REPLY,
            identifier,
            sequence_number,
            data,
            out,
        )
    }

    /// Appends a packet with a given payload, whose first header is of the protocol `next_header`.
    /// Writes no checksum.
    ///
    /// # Errors
    ///
    /// [`BuildError::PayloadTooLong`].
    pub fn append_payload(
        &self,
        next_header: u8,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        self.append_header(next_header, payload_bytes(payload.len())?, out);
        out.extend_from_slice(payload);
        Ok(())
    }

    fn append_echo(
        &self,
        message_type: u8,
        identifier: u16,
        sequence_number: u16,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        let length = payload_bytes(scmp_header_bytes(message_type) + data.len())?;
        let [identifier0, identifier1] = identifier.to_be_bytes();
        let [sequence0, sequence1] = sequence_number.to_be_bytes();
        let type_and_code = [message_type, 0];
        let numbers = [identifier0, identifier1, sequence0, sequence1];
        let checksum = self.checksum(SCMP, length, [&type_and_code, &numbers, data]);
        self.append_header(SCMP, length, out);
        out.extend_from_slice(&type_and_code);
        out.extend_from_slice(&checksum.to_be_bytes());
        out.extend_from_slice(&numbers);
        out.extend_from_slice(data);
        Ok(())
    }

    /// Returns the checksum of a message, given in `parts` without its checksum field; all but the last
    /// have an even length.
    fn checksum<const PARTS: usize>(
        &self,
        protocol: u8,
        length: u16,
        parts: [&[u8]; PARTS],
    ) -> u16 {
        let mut checksum = Checksum::new(self.source, self.destination, protocol, length);
        for part in parts {
            checksum.add(part);
        }
        checksum.finish()
    }

    fn append_header(&self, next_header: u8, payload_bytes: u16, out: &mut Vec<u8>) {
        self.header(next_header, payload_bytes).append(out);
        out.extend_from_slice(&self.path);
    }

    fn header(&self, next_header: u8, payload_bytes: u16) -> Header {
        Header {
            source: self.source,
            destination: self.destination,
            path_type: self.path_type,
            path_bytes: self.path.len(),
            next_header,
            payload_bytes,
        }
    }
}

fn payload_bytes(length: usize) -> Result<u16, BuildError> {
    u16::try_from(length).map_err(|_| BuildError::PayloadTooLong)
}
