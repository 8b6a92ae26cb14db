//! The port that, with the destination host, identifies the tunnel of a packet from SCION.

use closed_enum::closed_enum;

use crate::upper_layer::{SCMP, UpperLayer};
use crate::{MalformedExtension, ScionPacket};

closed_enum! {
    /// Why a packet from SCION has no delivery port.
    pub enum NoDeliveryPort {
        /// The extension headers are truncated, repeated or in the wrong order.
        MalformedExtension: "malformed_extension", "the extension headers are malformed";
        TruncatedUpperLayer: "truncated_upper_layer",
            "the packet ends inside the header of its upper layer";
        /// The upper layer is not UDP, TCP or SCMP.
        UnsupportedProtocol: "unsupported_protocol", "the upper layer has no ports";
        UnsupportedScmpType: "unsupported_scmp_type", "the SCMP message type has no port";
        /// An SCMP error whose quote is not a SCION packet, is truncated before the source port, or has
        /// no source port.
        UnusableQuote: "unusable_quote", "the quoted packet has no readable source port";
    }
}

impl From<MalformedExtension> for NoDeliveryPort {
    #[inline]
    fn from(MalformedExtension: MalformedExtension) -> Self {
        Self::MalformedExtension
    }
}

/// Returns the port of the tunnel that `packet`, which came from SCION, is delivered to.
///
/// | packet | port |
/// | --- | --- |
/// | UDP, TCP | destination port |
/// | SCMP echo and traceroute, requests and replies (types 128 to 131) | identifier |
/// | SCMP errors (types 1, 2, 4, 5, 6) that quote UDP or TCP | quoted source port |
/// | SCMP errors that quote an echo or traceroute request | quoted identifier |
///
/// SCION routers deliver to the same ports on endhosts without a dispatcher, except that they send SCMP requests to
/// port 30041 of the host; a tunnel has only its own port. The quote may be truncated after the port. The endhost
/// verifies the checksums.
///
/// # Errors
///
/// [`NoDeliveryPort`] if the packet has no port, so that no tunnel can be its destination.
///
/// # Examples
///
/// ```
/// use scion_packet::build::PacketBuilder;
/// use scion_packet::{ScionAddress, ScionPacket, delivery_port};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let peer = ScionAddress { isd_as: "1-ff00:0:111".parse()?, ip: "192.0.2.9".parse()? };
/// let client = ScionAddress { isd_as: "1-ff00:0:110".parse()?, ip: "192.0.2.1".parse()? };
/// let mut bytes = Vec::new();
/// PacketBuilder::new(peer, client).append_udp(50_000, 40_000, b"hello", &mut bytes)?;
/// assert_eq!(delivery_port(&ScionPacket::parse(&bytes)?), Ok(40_000));
/// # Ok(())
/// # }
/// ```
#[inline]
pub fn delivery_port(packet: &ScionPacket<'_>) -> Result<u16, NoDeliveryPort> {
    let upper = packet.upper_layer()?;
    if !upper.has_whole_header() {
        return Err(NoDeliveryPort::TruncatedUpperLayer);
    }
    if let Some(offset) = upper.destination_port_offset() {
        return upper
            .u16_at(offset)
            .ok_or(NoDeliveryPort::TruncatedUpperLayer);
    }
    if upper.protocol != SCMP {
        return Err(NoDeliveryPort::UnsupportedProtocol);
    }
    let quote = upper.quote().ok_or(NoDeliveryPort::UnsupportedScmpType)?;
    quoted_source_port(quote).ok_or(NoDeliveryPort::UnusableQuote)
}

/// Returns the source port of the packet quoted by an SCMP error. Replies and errors have none, because
/// they are never answered.
fn quoted_source_port(quote: &[u8]) -> Option<u16> {
    let quoted: UpperLayer<'_> = ScionPacket::parse_quote(quote).ok()?.upper_layer().ok()?;
    quoted.u16_at(quoted.source_port_offset()?)
}
