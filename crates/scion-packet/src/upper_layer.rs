//! The upper layer of a packet: UDP, TCP, SCMP and their port numbers, and the protocol numbers of SCION.

use std::fmt;

use crate::ScionPacket;

/// NextHdr of TCP.
pub const TCP: u8 = 6;
/// NextHdr of UDP.
pub const UDP: u8 = 17;
/// NextHdr of the hop-by-hop options header.
pub const HOP_BY_HOP: u8 = 200;
/// NextHdr of the end-to-end options header.
pub const END_TO_END: u8 = 201;
/// NextHdr of SCMP.
pub const SCMP: u8 = 202;

/// Length of the UDP header (RFC 768).
pub(crate) const UDP_HEADER_BYTES: usize = 8;
/// Length of the TCP header without options (RFC 9293).
pub(crate) const TCP_HEADER_BYTES: usize = 20;
/// Offset of the destination port in UDP and TCP.
const DESTINATION_PORT_OFFSET: usize = 2;
/// Offset of the identifier in the SCMP messages that have one.
pub(crate) const IDENTIFIER_OFFSET: usize = 4;

/// SCMP message types (SCMP specification, "Types").
pub(crate) mod scmp_type {
    pub(crate) const DESTINATION_UNREACHABLE: u8 = 1;
    pub(crate) const PACKET_TOO_BIG: u8 = 2;
    pub(crate) const PARAMETER_PROBLEM: u8 = 4;
    pub(crate) const EXTERNAL_INTERFACE_DOWN: u8 = 5;
    pub(crate) const INTERNAL_CONNECTIVITY_DOWN: u8 = 6;
    /// First informational type; lower types are errors.
    pub(crate) const FIRST_INFORMATIONAL: u8 = 128;
    pub(crate) const ECHO_REQUEST: u8 = 128;
    pub(crate) const ECHO_REPLY: u8 = 129;
    pub(crate) const TRACEROUTE_REQUEST: u8 = 130;
    pub(crate) const TRACEROUTE_REPLY: u8 = 131;

    const _: () = assert!(TRACEROUTE_REPLY - ECHO_REQUEST == 3);
}

/// Returns the length of an SCMP message before its quote or data, by its type. An echo has identifier
/// and sequence number; a traceroute also has ISD-AS and interface.
pub(crate) const fn scmp_header_bytes(message_type: u8) -> usize {
    match message_type {
        scmp_type::DESTINATION_UNREACHABLE
        | scmp_type::PACKET_TOO_BIG
        | scmp_type::PARAMETER_PROBLEM
        | scmp_type::ECHO_REQUEST
        | scmp_type::ECHO_REPLY => 8,
        scmp_type::EXTERNAL_INTERFACE_DOWN => 20,
        scmp_type::TRACEROUTE_REQUEST | scmp_type::TRACEROUTE_REPLY => 24,
        scmp_type::INTERNAL_CONNECTIVITY_DOWN => 28,
        _ => 4,
    }
}

/// The upper layer: the first header after the extension headers, and its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpperLayer<'a> {
    /// Protocol: NextHdr of the previous header.
    pub protocol: u8,
    /// Offset from the start of the packet.
    pub offset: usize,
    /// Header of the protocol and its payload.
    pub bytes: &'a [u8],
}

/// Error for extension headers that are truncated, repeated or in the wrong order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MalformedExtension;

impl fmt::Display for MalformedExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the extension headers are truncated, repeated or in the wrong order")
    }
}

impl std::error::Error for MalformedExtension {}

impl<'a> ScionPacket<'a> {
    /// Returns the upper layer after the extension headers: at most one hop-by-hop options header (200),
    /// then at most one end-to-end options header (201). Both start with NextHdr and ExtLen and are
    /// `4 * (ExtLen + 1)` bytes long (SCION extension header specification). Their options are for
    /// routers and endhosts and are not parsed.
    ///
    /// # Errors
    ///
    /// [`MalformedExtension`] if they are truncated, repeated or in the wrong order.
    #[inline]
    pub fn upper_layer(&self) -> Result<UpperLayer<'a>, MalformedExtension> {
        let mut upper = UpperLayer {
            protocol: self.next_header(),
            offset: self.header_len(),
            bytes: self.payload(),
        };
        for extension in [HOP_BY_HOP, END_TO_END] {
            if upper.protocol == extension {
                upper = upper.behind_extension().ok_or(MalformedExtension)?;
            }
        }
        match upper.protocol {
            HOP_BY_HOP | END_TO_END => Err(MalformedExtension),
            _ => Ok(upper),
        }
    }
}

impl<'a> UpperLayer<'a> {
    #[inline]
    fn behind_extension(self) -> Option<Self> {
        let &[next_header, length, ..] = self.bytes else {
            return None;
        };
        let extension_bytes = 4 * (usize::from(length) + 1);
        Some(Self {
            protocol: next_header,
            offset: self.offset + extension_bytes,
            bytes: self.bytes.get(extension_bytes..)?,
        })
    }

    /// Returns the SCMP message type, if this is a non-empty SCMP message.
    #[inline]
    pub(crate) fn scmp_type(&self) -> Option<u8> {
        if self.protocol == SCMP {
            self.bytes.first().copied()
        } else {
            None
        }
    }

    /// Returns the offset of the port to which answers are delivered: the source port of UDP and TCP,
    /// the identifier of an SCMP request. `None` if the protocol or message has none.
    #[inline]
    pub(crate) fn source_port_offset(&self) -> Option<usize> {
        match (self.protocol, self.scmp_type()) {
            (UDP | TCP, _) => Some(0),
            (_, Some(scmp_type::ECHO_REQUEST | scmp_type::TRACEROUTE_REQUEST)) => {
                Some(IDENTIFIER_OFFSET)
            }
            _ => None,
        }
    }

    /// Returns the offset of the port that the packet is delivered to: the destination port of UDP and
    /// TCP, the identifier of SCMP echo and traceroute messages (types 128 to 131). `None` if the
    /// protocol or message has none.
    #[inline]
    pub(crate) fn destination_port_offset(&self) -> Option<usize> {
        match (self.protocol, self.scmp_type()) {
            (UDP | TCP, _) => Some(DESTINATION_PORT_OFFSET),
            (_, Some(scmp_type::ECHO_REQUEST..=scmp_type::TRACEROUTE_REPLY)) => {
                Some(IDENTIFIER_OFFSET)
            }
            _ => None,
        }
    }

    /// Returns true if this is an SCMP error: a message of a type below 128, known or not.
    #[inline]
    pub(crate) fn is_scmp_error(&self) -> bool {
        self.scmp_type()
            .is_some_and(|message_type| message_type < scmp_type::FIRST_INFORMATIONAL)
    }

    /// Returns the packet quoted by an SCMP error, possibly truncated. `None` if this is not an SCMP
    /// error of a known type, which determines the offset of the quote, or ends before the quote.
    #[inline]
    pub(crate) fn quote(&self) -> Option<&'a [u8]> {
        match self.scmp_type()? {
            message_type @ (scmp_type::DESTINATION_UNREACHABLE
            | scmp_type::PACKET_TOO_BIG
            | scmp_type::PARAMETER_PROBLEM
            | scmp_type::EXTERNAL_INTERFACE_DOWN
            | scmp_type::INTERNAL_CONNECTIVITY_DOWN) => {
                self.bytes.get(scmp_header_bytes(message_type)..)
            }
            _ => None,
        }
    }

    /// Returns true if the header is complete, or the protocol or message type is unknown. An empty
    /// SCMP message is incomplete.
    #[inline]
    pub(crate) fn has_whole_header(&self) -> bool {
        let header_bytes = match self.protocol {
            UDP => UDP_HEADER_BYTES,
            TCP => TCP_HEADER_BYTES,
            SCMP => scmp_header_bytes(self.bytes.first().copied().unwrap_or_default()),
            _ => 0,
        };
        self.bytes.len() >= header_bytes
    }

    #[inline]
    pub(crate) fn u16_at(&self, offset: usize) -> Option<u16> {
        self.bytes
            .get(offset..)?
            .first_chunk()
            .map(|&bytes| u16::from_be_bytes(bytes))
    }
}
