//! The port that, with the destination host, names the tunnel that a packet is for.

use crate::closed_enum::closed_enum;
use crate::upper_layer::{
    IDENTIFIER_OFFSET, SCMP, TCP, UDP, UpperLayer, scmp_header_bytes, scmp_type,
};
use crate::{MalformedExtension, ScionPacket};

/// Offset of the destination port in UDP and TCP.
const DESTINATION_PORT_OFFSET: usize = 2;

closed_enum! {
    /// Why no port can be read out of a packet from SCION.
    pub enum NoDeliveryPort {
        /// The extension headers are cut short, repeated or in the wrong order.
        MalformedExtension: "malformed_extension", "the extension headers are malformed";
        /// The packet ends inside the header of its upper layer.
        TruncatedUpperLayer: "truncated_upper_layer",
            "the packet ends inside the header of its upper layer";
        /// The upper layer is none of UDP, TCP and SCMP.
        UnsupportedProtocol: "unsupported_protocol", "the upper layer has no ports";
        /// An SCMP message of a type that names no port.
        UnsupportedScmpType: "unsupported_scmp_type", "the type of SCMP message names no port";
        /// An SCMP error whose quote does not show the port that the quoted packet came from: it is
        /// no SCION packet, is cut off too early, or carries something without a source port.
        UnusableQuote: "unusable_quote", "the quoted packet shows no source port";
    }
}

impl From<MalformedExtension> for NoDeliveryPort {
    #[inline]
    fn from(MalformedExtension: MalformedExtension) -> Self {
        Self::MalformedExtension
    }
}

/// The port of the tunnel that `packet`, which came from SCION, is for.
///
/// | packet | port |
/// | --- | --- |
/// | UDP, TCP | destination port |
/// | SCMP echo and traceroute, requests and replies (types 128 to 131) | identifier |
/// | SCMP errors (types 1, 2, 4, 5, 6) that quote UDP or TCP | quoted source port |
/// | SCMP errors that quote an echo or traceroute request | quoted identifier |
///
/// These are the ports by which SCION routers deliver to endhosts without a dispatcher, except that
/// they send SCMP requests to port 30041 of the host: behind a SNAP there is only the tunnel.
/// The quote may be cut off behind the port. Checksums are left to the endhost.
///
/// # Errors
///
/// [`NoDeliveryPort`] when the packet names no port: no tunnel can be its destination.
#[inline]
pub fn delivery_port(packet: &ScionPacket<'_>) -> Result<u16, NoDeliveryPort> {
    let upper = packet.upper_layer()?;
    if !upper.has_whole_header() {
        return Err(NoDeliveryPort::TruncatedUpperLayer);
    }
    let offset = match upper.protocol {
        UDP | TCP => DESTINATION_PORT_OFFSET,
        SCMP => match upper.scmp_type() {
            Some(scmp_type::ECHO_REQUEST..=scmp_type::TRACEROUTE_REPLY) => IDENTIFIER_OFFSET,
            Some(
                message_type @ (scmp_type::DESTINATION_UNREACHABLE
                | scmp_type::PACKET_TOO_BIG
                | scmp_type::PARAMETER_PROBLEM
                | scmp_type::EXTERNAL_INTERFACE_DOWN
                | scmp_type::INTERNAL_CONNECTIVITY_DOWN),
            ) => {
                let quote = upper.bytes.get(scmp_header_bytes(message_type)..);
                return quote
                    .and_then(quoted_source_port)
                    .ok_or(NoDeliveryPort::UnusableQuote);
            }
            _ => return Err(NoDeliveryPort::UnsupportedScmpType),
        },
        _ => return Err(NoDeliveryPort::UnsupportedProtocol),
    };
    upper
        .u16_at(offset)
        .ok_or(NoDeliveryPort::TruncatedUpperLayer)
}

const _: () = assert!(scmp_type::TRACEROUTE_REPLY - scmp_type::ECHO_REQUEST == 3);

/// The port from which the packet was sent that an SCMP error quotes. Replies and errors have none:
/// nobody waits for an answer to them.
fn quoted_source_port(quote: &[u8]) -> Option<u16> {
    let quoted: UpperLayer<'_> = ScionPacket::parse_quote(quote).ok()?.upper_layer().ok()?;
    quoted.u16_at(quoted.source_port_offset()?)
}
