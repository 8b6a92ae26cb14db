//! Messages of the RPCs.
//!
//! Field numbers are those of `underlay_service.proto` and `segments_service.proto` (crate `endhost-api-protobuf`) and
//! of `anapaya/snap/v1/control_service.proto` (crate `snap-control`), versions 0.8.6.

use bytes::Bytes;
use prost::Message;

/// Request of `UnderlayService/ListUnderlays`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ListUnderlaysRequest {
    /// 0 means all.
    #[prost(uint64, optional, tag = "1")]
    pub(super) isd_as: Option<u64>,
}

/// Answer of `UnderlayService/ListUnderlays`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ListUnderlaysResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) udp: Option<UdpUnderlay>,
    #[prost(message, optional, tag = "2")]
    pub(super) snap: Option<SnapUnderlay>,
}

/// The UDP underlay. Its field 1, a list of routers, is always empty here: clients of a SNAP that learn of routers
/// prefer them to the SNAP.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct UdpUnderlay {}

/// The SNAP underlay.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SnapUnderlay {
    #[prost(message, repeated, tag = "1")]
    pub(super) snaps: Vec<Snap>,
}

/// A SNAP.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Snap {
    /// URL of its control plane.
    #[prost(string, tag = "1")]
    pub(super) address: String,
    #[prost(uint64, repeated, tag = "2")]
    pub(super) isd_ases: Vec<u64>,
}

/// Request of `SegmentsService/ListSegments` and of `PathService/ListPaths`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ListSegmentsRequest {
    #[prost(uint64, tag = "1")]
    pub(super) src_isd_as: u64,
    #[prost(uint64, tag = "2")]
    pub(super) dst_isd_as: u64,
    #[prost(int32, tag = "3")]
    pub(super) page_size: i32,
    #[prost(string, tag = "4")]
    pub(super) page_token: String,
}

/// Answer of `SegmentsService/ListSegments` and of `PathService/ListPaths`. Segments are messages, which are passed on
/// without a look into them.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ListSegmentsResponse {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) up_segments: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(super) down_segments: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(super) core_segments: Vec<Bytes>,
    #[prost(string, tag = "4")]
    pub(super) next_page_token: String,
}

/// Request of `SnapControl/GetSnapDataPlaneAddress`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct GetSnapDataPlaneAddressRequest {}

/// Answer of `SnapControl/GetSnapDataPlaneAddress`. Clients need all fields.
#[derive(Clone, PartialEq, Message)]
pub(super) struct GetSnapDataPlaneAddressResponse {
    /// `IP:port` of the data plane.
    #[prost(string, tag = "1")]
    pub(super) address: String,
    /// URL for registrations.
    #[prost(string, optional, tag = "2")]
    pub(super) snap_tun_control_address: Option<String>,
    /// Static key of the data plane.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(super) snap_static_x25519: Option<Bytes>,
}

/// Request of `SnapControl/RegisterSnapTunIdentity`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RegisterSnapTunIdentityRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) initiator_static_x25519: Bytes,
    /// 32 zero bytes mean none.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) psk_share: Bytes,
}

/// Answer of `SnapControl/RegisterSnapTunIdentity`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RegisterSnapTunIdentityResponse {
    /// 32 zero bytes mean none. Clients refuse an answer without it.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) psk_share: Bytes,
}
