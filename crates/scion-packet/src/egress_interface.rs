//! The interface by which a packet leaves its first AS.

use closed_enum::closed_enum;

use crate::{Path, ScionPacket};

closed_enum! {
    /// Why a packet from a tunnel leaves the AS by no interface.
    pub enum NoEgressInterface {
        /// Path type 0: the packet is for this AS.
        EmptyPath: "empty_path", "the path is empty";
        /// A path type other than 0 and 1.
        UnsupportedPathType: "unsupported_path_type", "the path is of an unsupported type";
        /// A path of type 1 without segments.
        NoSegments: "no_segments", "the path has no segments";
        /// CurrINF or CurrHF is not 0. A packet that enters SCION stands at its first hop; routers
        /// refuse one that claims to come from this AS and does not.
        NotAtStart: "not_at_start", "the path does not stand at its first hop";
        /// The first hop field leaves by interface 0, which is none: the segment ends here.
        EndsHere: "ends_here", "the first hop of the path leaves by no interface";
    }
}

/// The interface by which `packet`, which comes from a tunnel, leaves this AS: it names the router.
///
/// That is ConsEgress of the first hop field if the first info field has C set (the segment is
/// walked as it was made), else ConsIngress. The peering flag changes nothing about it: a peering
/// hop field holds the interface of the peering link in the same place. It only matters to the
/// routers, for their message authentication codes.
///
/// # Errors
///
/// [`NoEgressInterface`]; of these, [`EmptyPath`](NoEgressInterface::EmptyPath) is no fault of the
/// packet.
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
