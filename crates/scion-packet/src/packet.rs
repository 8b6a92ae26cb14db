//! A SCION packet as a view on its bytes.

use closed_enum::closed_enum;

use crate::host::host_bytes;
use crate::{Host, IsdAs, Path};

const COMMON_HEADER_BYTES: usize = 12;
const ISD_AS_BYTES: usize = 8;
/// Where the host addresses start: after the common header and both ISD-AS numbers. Every SCION
/// header has these bytes, so they are one array.
pub(crate) const HOSTS_OFFSET: usize = COMMON_HEADER_BYTES + 2 * ISD_AS_BYTES;
/// The longest header: HdrLen is one byte and counts units of 4 bytes.
pub const MAX_HEADER_BYTES: usize = 4 * u8::MAX as usize;

/// Offset of the NextHdr field.
pub(crate) const NEXT_HEADER_OFFSET: usize = 4;
/// Offset of the path type field.
pub(crate) const PATH_TYPE_OFFSET: usize = 8;
/// Offset of the source ISD-AS number.
pub(crate) const SOURCE_ISD_AS_OFFSET: usize = COMMON_HEADER_BYTES + ISD_AS_BYTES;

closed_enum! {
    /// Why bytes are no SCION packet.
    pub enum MalformedPacket {
        /// The bytes end before the header does.
        TruncatedHeader: "truncated_header", "the bytes end before the SCION header does";
        /// The version is not 0, the only one there is.
        UnsupportedVersion: "unsupported_version", "the version of the SCION header is not 0";
        /// HdrLen is not the sum of the lengths of common header, address header and path, or the
        /// path has no valid length: more than 64 hop fields, or a segment without any before one
        /// with some.
        HeaderLength: "header_length", "the header length does not fit the addresses and the path";
        /// The bytes end before the PayloadLen that the header promises.
        TruncatedPayload: "truncated_payload", "the bytes end before the promised payload does";
    }
}

/// A SCION packet: header and payload, without anything behind it.
///
/// ```text
///  0 high nibble: version 0 | 4 NextHdr | 5 HdrLen, in units of 4 bytes | 6..8 PayloadLen
///  8 PathType | 9 type and length of destination host (high nibble) and source host (low nibble)
/// 12..20 destination ISD-AS | 20..28 source ISD-AS
/// 28 destination host, then source host, then path, up to 4 * HdrLen, then the payload
/// ```
///
/// Every length is checked in [`parse`](Self::parse); after that each accessor has an answer. The
/// view is made of slices of the packet: to copy it is cheap, and reading allocates nothing.
/// (SCION header specification; draft-dekater-scion-dataplane, SCION header.)
#[derive(Clone, Copy, Debug)]
pub struct ScionPacket<'a> {
    /// Header and payload.
    bytes: &'a [u8],
    fixed: &'a [u8; HOSTS_OFFSET],
    dst_host: &'a [u8],
    src_host: &'a [u8],
    path: Path<'a>,
    payload: &'a [u8],
}

impl<'a> ScionPacket<'a> {
    /// Views `bytes` as a SCION packet. What follows the payload is left out of the view: clients
    /// may pad the packets in a tunnel, and routers refuse a packet that is longer than it says.
    ///
    /// # Errors
    ///
    /// [`MalformedPacket`] says which length or field is wrong. Reserved fields, unknown address
    /// types and unknown path types are not errors.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MalformedPacket> {
        let packet = Self::parse_quote(bytes)?;
        if packet.payload.len() < usize::from(packet.payload_len()) {
            return Err(MalformedPacket::TruncatedPayload);
        }
        Ok(packet)
    }

    /// Like [`parse`](Self::parse), but the payload may be cut short, as it is in the quote of an
    /// SCMP error.
    ///
    /// # Errors
    ///
    /// All of [`MalformedPacket`] except [`TruncatedPayload`](MalformedPacket::TruncatedPayload).
    #[inline]
    pub fn parse_quote(bytes: &'a [u8]) -> Result<Self, MalformedPacket> {
        let fixed = bytes
            .first_chunk()
            .ok_or(MalformedPacket::TruncatedHeader)?;
        if fixed[0] >> 4 != 0 {
            return Err(MalformedPacket::UnsupportedVersion);
        }
        let (header, payload) = bytes
            .split_at_checked(header_bytes(fixed))
            .ok_or(MalformedPacket::TruncatedHeader)?;
        let (dst_host, src_host, path) =
            split_header(fixed, header).ok_or(MalformedPacket::HeaderLength)?;
        let payload = payload
            .get(..usize::from(payload_bytes(fixed)))
            .unwrap_or(payload);
        let bytes = bytes.get(..header.len() + payload.len()).unwrap_or(bytes);
        Ok(Self {
            bytes,
            fixed,
            dst_host,
            src_host,
            path,
            payload,
        })
    }

    /// Header and payload: the bytes to forward.
    #[inline]
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Length of [`as_bytes`](Self::as_bytes).
    #[inline]
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.bytes.len()
    }

    /// NextHdr: what the payload starts with; see [`upper_layer`](Self::upper_layer).
    #[inline]
    #[must_use]
    pub const fn next_header(&self) -> u8 {
        self.fixed[NEXT_HEADER_OFFSET]
    }

    /// Length of the header in bytes: HdrLen times 4, at most [`MAX_HEADER_BYTES`].
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        header_bytes(self.fixed)
    }

    /// PayloadLen: length in bytes of the payload, extension headers included, that the header
    /// promises. [`payload`](Self::payload) has this length, unless the view is that of a quote.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> u16 {
        payload_bytes(self.fixed)
    }

    /// PathType, as it stands.
    #[inline]
    #[must_use]
    pub const fn path_type(&self) -> u8 {
        self.fixed[PATH_TYPE_OFFSET]
    }

    /// The AS that the packet goes to.
    #[inline]
    #[must_use]
    pub const fn dst_isd_as(&self) -> IsdAs {
        let [.., a, b, c, d, e, f, g, h, _, _, _, _, _, _, _, _] = *self.fixed;
        IsdAs::from_u64(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The AS that the packet says it comes from.
    #[inline]
    #[must_use]
    pub const fn src_isd_as(&self) -> IsdAs {
        let [.., a, b, c, d, e, f, g, h] = *self.fixed;
        IsdAs::from_u64(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The host that the packet goes to.
    #[inline]
    #[must_use]
    pub fn dst_host(&self) -> Host {
        Host::from_wire(dst_host_kind(self.fixed), self.dst_host)
    }

    /// The host that the packet says it comes from.
    #[inline]
    #[must_use]
    pub fn src_host(&self) -> Host {
        Host::from_wire(src_host_kind(self.fixed), self.src_host)
    }

    /// Offset of the source host address.
    #[inline]
    #[must_use]
    pub const fn src_host_offset(&self) -> usize {
        HOSTS_OFFSET + self.dst_host.len()
    }

    /// Offset of the path.
    #[inline]
    #[must_use]
    pub const fn path_offset(&self) -> usize {
        self.src_host_offset() + self.src_host.len()
    }

    /// The path that the packet takes.
    #[inline]
    #[must_use]
    pub const fn path(&self) -> Path<'a> {
        self.path
    }

    /// Everything behind the header: extension headers, then the upper layer.
    #[inline]
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Destination host, source host and path. `None` when they do not fill the header exactly.
#[inline]
fn split_header<'a>(
    fixed: &[u8; HOSTS_OFFSET],
    header: &'a [u8],
) -> Option<(&'a [u8], &'a [u8], Path<'a>)> {
    let hosts = header.get(HOSTS_OFFSET..)?;
    let (dst_host, hosts) = hosts.split_at_checked(host_bytes(dst_host_kind(fixed)))?;
    let (src_host, path) = hosts.split_at_checked(host_bytes(src_host_kind(fixed)))?;
    Some((
        dst_host,
        src_host,
        Path::parse(fixed[PATH_TYPE_OFFSET], path)?,
    ))
}

#[inline]
const fn header_bytes(fixed: &[u8; HOSTS_OFFSET]) -> usize {
    4 * fixed[5] as usize
}

#[inline]
const fn payload_bytes(fixed: &[u8; HOSTS_OFFSET]) -> u16 {
    u16::from_be_bytes([fixed[6], fixed[7]])
}

#[inline]
const fn dst_host_kind(fixed: &[u8; HOSTS_OFFSET]) -> u8 {
    fixed[9] >> 4
}

#[inline]
const fn src_host_kind(fixed: &[u8; HOSTS_OFFSET]) -> u8 {
    fixed[9] & 0x0f
}
