//! The port that, with the destination host, names the tunnel that a packet is for.

use closed_enum::closed_enum;

use crate::upper_layer::{SCMP, UpperLayer};
use crate::{MalformedExtension, ScionPacket};

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

/// The port from which the packet was sent that an SCMP error quotes. Replies and errors have none:
/// nobody waits for an answer to them.
fn quoted_source_port(quote: &[u8]) -> Option<u16> {
    let quoted: UpperLayer<'_> = ScionPacket::parse_quote(quote).ok()?.upper_layer().ok()?;
    quoted.u16_at(quoted.source_port_offset()?)
}
