//! The interface at which a packet leaves its first AS.

use closed_enum::closed_enum;

use crate::{Path, ScionPacket};

closed_enum! {
    /// Why a packet from a tunnel has no egress interface.
    pub enum NoEgressInterface {
        /// Path type 0: the destination is in this AS.
        EmptyPath: "empty_path", "the path is empty";
        UnsupportedPathType: "unsupported_path_type", "the path type is neither 0 nor 1";
        NoSegments: "no_segments", "the path has no segments";
        /// CurrINF or CurrHF is not 0. A packet that enters SCION is at its first hop; routers refuse
        /// one from this AS that is at a later hop.
        NotAtStart: "not_at_start", "the path is not at its first hop";
        /// The egress interface of the first hop field is 0: the segment ends in this AS.
        EndsHere: "ends_here", "the egress interface of the first hop is 0";
    }
}

/// Returns the interface at which `packet`, which comes from a tunnel, leaves this AS. It identifies the
/// router to send the packet to.
///
/// It is ConsEgress of the first hop field if the first info field has the C flag (the packet travels
/// in construction direction), otherwise ConsIngress. The peering flag does not matter: a peering hop
/// field holds the interface of the peering link in the same place.
///
/// # Errors
///
/// [`NoEgressInterface`]. [`EmptyPath`](NoEgressInterface::EmptyPath) means that the destination is in
/// this AS; the packet is valid.
#[inline]
pub fn egress_interface(packet: &ScionPacket<'_>) -> Result<u16, NoEgressInterface> {
    let path = match packet.path() {
        Path::Standard(path) => path,
        Path::Empty => return Err(NoEgressInterface::EmptyPath),
        Path::Other { .. } => return Err(NoEgressInterface::UnsupportedPathType),
    };
    let (Some(info_field), Some(hop_field)) = (path.info_field(0), path.hop_field(0)) else {
        return Err(NoEgressInterface::NoSegments);
    };
    if path.current_info_field() != 0 || path.current_hop_field() != 0 {
        return Err(NoEgressInterface::NotAtStart);
    }
    let interface = if info_field.construction_direction {
        hop_field.cons_egress
    } else {
        hop_field.cons_ingress
    };
    if interface == 0 {
        Err(NoEgressInterface::EndsHere)
    } else {
        Ok(interface)
    }
}
