//! Writing the SCION header, for SCMP errors and built packets.

use std::net::IpAddr;

use crate::ScionAddress;
use crate::host::{KIND_IPV4, KIND_IPV6, host_bytes};
use crate::packet::{HOSTS_OFFSET, MAX_HEADER_BYTES};
use crate::path::MAX_PATH_BYTES;

/// Longest header that this crate writes; it fits HdrLen for all kinds of addresses.
pub(crate) const MAX_WRITTEN_HEADER_BYTES: usize =
    HOSTS_OFFSET + 2 * host_bytes(KIND_IPV6) + MAX_PATH_BYTES;

const _: () = assert!(MAX_WRITTEN_HEADER_BYTES <= MAX_HEADER_BYTES);

/// FlowID of the packets that this crate writes. The field is mandatory, so it is not 0; one value is
/// enough because there are no flows to distinguish.
const FLOW_ID: u32 = 1;

/// Fields of a SCION header, without the path.
pub(crate) struct Header {
    pub(crate) source: ScionAddress,
    pub(crate) destination: ScionAddress,
    pub(crate) path_type: u8,
    /// At most `MAX_PATH_BYTES`.
    pub(crate) path_bytes: usize,
    pub(crate) next_header: u8,
    pub(crate) payload_bytes: u16,
}

impl Header {
    /// Returns the length of the header in bytes, including the path.
    pub(crate) fn byte_count(&self) -> usize {
        HOSTS_OFFSET
            + host_bytes(kind(self.destination.ip))
            + host_bytes(kind(self.source.ip))
            + self.path_bytes
    }

    /// Appends the header up to the path, which the caller appends.
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&FLOW_ID.to_be_bytes());
        out.push(self.next_header);
        out.push((self.byte_count() / 4) as u8);
        out.extend_from_slice(&self.payload_bytes.to_be_bytes());
        out.push(self.path_type);
        out.push(kind(self.destination.ip) << 4 | kind(self.source.ip));
        out.extend_from_slice(&[0, 0]);
        for address in [self.destination, self.source] {
            out.extend_from_slice(&address.isd_as.to_u64().to_be_bytes());
        }
        for address in [self.destination, self.source] {
            match address.ip {
                IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
            }
        }
    }
}

const fn kind(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => KIND_IPV4,
        IpAddr::V6(_) => KIND_IPV6,
    }
}
