//! The view of a SCION packet.

use closed_enum::closed_enum;

use crate::host::host_bytes;
use crate::{Host, IsdAs, Path};

const COMMON_HEADER_BYTES: usize = 12;
const ISD_AS_BYTES: usize = 8;
/// Offset of the host addresses: after the common header and both ISD-AS numbers. Every SCION header
/// has these bytes, so they are one array.
pub(crate) const HOSTS_OFFSET: usize = COMMON_HEADER_BYTES + 2 * ISD_AS_BYTES;
/// Longest header: HdrLen is one byte and counts units of 4 bytes.
pub(crate) const MAX_HEADER_BYTES: usize = 4 * u8::MAX as usize;

/// Offset of the NextHdr field.
pub(crate) const NEXT_HEADER_OFFSET: usize = 4;
/// Offset of the path type field.
pub(crate) const PATH_TYPE_OFFSET: usize = 8;
/// Offset of the source ISD-AS number.
pub(crate) const SOURCE_ISD_AS_OFFSET: usize = COMMON_HEADER_BYTES + ISD_AS_BYTES;

closed_enum! {
    /// Why bytes are not a SCION packet.
    pub enum MalformedPacket {
        TruncatedHeader: "truncated_header", "the bytes end before the SCION header does";
        /// Version 0 is the only one.
        UnsupportedVersion: "unsupported_version", "the version of the SCION header is not 0";
        /// HdrLen differs from the sum of common header, address header and path, or the path is
        /// invalid: more than 64 hop fields, or an empty segment before one with hop fields.
        HeaderLength: "header_length", "the header length does not match the addresses and the path";
        /// Fewer bytes than PayloadLen follow the header.
        TruncatedPayload: "truncated_payload", "the bytes end before the SCION payload does";
    }
}

/// A view of a SCION packet: header and payload, without trailing bytes.
///
/// ```text
///  0 high nibble: version 0 | 4 NextHdr | 5 HdrLen, in units of 4 bytes | 6..8 PayloadLen
///  8 PathType | 9 type and length of destination host (high nibble) and source host (low nibble)
/// 12..20 destination ISD-AS | 20..28 source ISD-AS
/// 28 destination host, then source host, then path, up to 4 * HdrLen, then the payload
/// ```
///
/// [`parse`](Self::parse) checks every length, so the accessors cannot fail. The view consists of slices
/// of the packet: it is cheap to copy and does not allocate. (SCION header specification;
/// draft-dekater-scion-dataplane, SCION header.)
///
/// ```
/// use scion_packet::{Host, MalformedPacket, ScionPacket};
///
/// let bytes: [u8; 44] = [
///     0, 0, 0, 1, 17, 9, 0, 8, 0, 0, 0, 0, // NextHdr UDP, HdrLen 9 * 4, PayloadLen 8, IPv4, empty path
///     0, 1, 0xff, 0, 0, 0, 1, 0x10, 0, 1, 0xff, 0, 0, 0, 1, 0x10, // to and from 1-ff00:0:110
///     192, 0, 2, 1, 198, 51, 100, 1, // destination and source host
///     0x9c, 0x40, 0x9c, 0x41, 0, 8, 0, 0, // UDP header
/// ];
/// let packet = ScionPacket::parse(&bytes)?;
/// assert_eq!(packet.dst_isd_as().to_string(), "1-ff00:0:110");
/// assert_eq!(packet.dst_host(), Host::Ip([192, 0, 2, 1].into()));
/// assert_eq!(packet.payload(), &bytes[36..]);
/// assert_eq!(ScionPacket::parse(&bytes[..43]).unwrap_err(), MalformedPacket::TruncatedPayload);
/// # Ok::<(), MalformedPacket>(())
/// ```
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
    /// Parses `bytes` as a SCION packet. The view excludes bytes after the payload: clients may pad the
    /// packets in a tunnel, and routers refuse packets longer than their header says.
    ///
    /// # Errors
    ///
    /// [`MalformedPacket`] names the wrong length or field. Reserved fields, unknown address types and
    /// unknown path types are accepted.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MalformedPacket> {
        let packet = Self::parse_quote(bytes)?;
        if packet.payload.len() < usize::from(packet.payload_len()) {
            return Err(MalformedPacket::TruncatedPayload);
        }
        Ok(packet)
    }

    /// Parses a packet like [`parse`](Self::parse), but accepts a truncated payload, as in the quote of
    /// an SCMP error.
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

    /// Returns header and payload: the bytes to forward.
    #[inline]
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the length of [`as_bytes`](Self::as_bytes).
    #[inline]
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns NextHdr: the protocol at the start of the payload, see [`upper_layer`](Self::upper_layer).
    #[inline]
    #[must_use]
    pub const fn next_header(&self) -> u8 {
        self.fixed[NEXT_HEADER_OFFSET]
    }

    /// Returns the length of the header in bytes: HdrLen times 4, at most 1020.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        header_bytes(self.fixed)
    }

    /// Returns PayloadLen: the length of the payload in bytes, extension headers included.
    /// [`payload`](Self::payload) has this length, except in a truncated quote.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> u16 {
        payload_bytes(self.fixed)
    }

    /// Returns the PathType field.
    #[inline]
    #[must_use]
    pub const fn path_type(&self) -> u8 {
        self.fixed[PATH_TYPE_OFFSET]
    }

    /// Returns the destination AS.
    #[inline]
    #[must_use]
    pub const fn dst_isd_as(&self) -> IsdAs {
        let [.., a, b, c, d, e, f, g, h, _, _, _, _, _, _, _, _] = *self.fixed;
        IsdAs::from_u64(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Returns the source AS, which is not authenticated.
    #[inline]
    #[must_use]
    pub const fn src_isd_as(&self) -> IsdAs {
        let [.., a, b, c, d, e, f, g, h] = *self.fixed;
        IsdAs::from_u64(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Returns the destination host.
    #[inline]
    #[must_use]
    pub fn dst_host(&self) -> Host {
        Host::from_wire(dst_host_kind(self.fixed), self.dst_host)
    }

    /// Returns the source host, which is not authenticated.
    #[inline]
    #[must_use]
    pub fn src_host(&self) -> Host {
        Host::from_wire(src_host_kind(self.fixed), self.src_host)
    }

    /// Returns the offset of the source host address.
    #[inline]
    #[must_use]
    pub const fn src_host_offset(&self) -> usize {
        HOSTS_OFFSET + self.dst_host.len()
    }

    /// Returns the offset of the path.
    #[inline]
    #[must_use]
    pub const fn path_offset(&self) -> usize {
        self.src_host_offset() + self.src_host.len()
    }

    /// Returns the path.
    #[inline]
    #[must_use]
    pub const fn path(&self) -> Path<'a> {
        self.path
    }

    /// Returns the bytes after the header: extension headers, then the upper layer.
    #[inline]
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Returns destination host, source host and path, or `None` if they do not fill the header exactly.
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
