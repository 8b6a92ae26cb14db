//! Paths.

/// Path type of a packet that stays in its AS.
pub(crate) const PATH_TYPE_EMPTY: u8 = 0;
/// Path type of a path made of segments.
pub(crate) const PATH_TYPE_SCION: u8 = 1;
/// Path type of a beacon's path to the neighbouring AS.
const PATH_TYPE_ONE_HOP: u8 = 2;

/// Length of the path meta header.
const META_BYTES: usize = 4;
/// Length of an info field.
const INFO_FIELD_BYTES: usize = 8;
/// Length of a hop field.
const HOP_FIELD_BYTES: usize = 12;
/// Length of a one-hop path: one info field and two hop fields, without a meta header.
const ONE_HOP_BYTES: usize = INFO_FIELD_BYTES + 2 * HOP_FIELD_BYTES;
/// Maximum number of hop fields: CurrHF has six bits. The header has room for 81, and the segment
/// lengths could add up to 189.
pub(crate) const MAX_HOP_FIELDS: usize = 64;
/// Maximum number of segments of a path.
pub(crate) const MAX_SEGMENTS: usize = 3;
/// Length of the longest path.
pub(crate) const MAX_PATH_BYTES: usize =
    META_BYTES + MAX_SEGMENTS * INFO_FIELD_BYTES + MAX_HOP_FIELDS * HOP_FIELD_BYTES;

/// The path of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Path<'a> {
    /// Path type 0: the packet stays in its AS.
    Empty,
    /// Path type 1: up to three segments. A path without segments is equivalent to the empty path.
    Standard(StandardPath<'a>),
    /// Any other path type: one-hop (2), EPIC (3), COLIBRI (4), unknown.
    Other {
        /// PathType field.
        path_type: u8,
    },
}

impl<'a> Path<'a> {
    /// Parses `bytes`, which are the bytes from the address header to the end of the header. `None` if
    /// their length does not match the path type.
    #[inline]
    pub(crate) fn parse(path_type: u8, bytes: &'a [u8]) -> Option<Self> {
        match path_type {
            PATH_TYPE_EMPTY if bytes.is_empty() => Some(Self::Empty),
            PATH_TYPE_EMPTY => None,
            PATH_TYPE_SCION => StandardPath::parse(bytes).map(Self::Standard),
            PATH_TYPE_ONE_HOP if bytes.len() != ONE_HOP_BYTES => None,
            _ => Some(Self::Other { path_type }),
        }
    }
}

/// A path of path type SCION (1): meta header, info fields, hop fields (SCION header
/// specification, "Path Type: SCION").
///
/// ```text
/// meta header, 4 bytes: CurrINF 2 bits | CurrHF 6 | RSV 6 | Seg0Len 6 | Seg1Len 6 | Seg2Len 6
/// one info field of 8 bytes for each segment with hop fields
/// all hop fields, 12 bytes each, Seg0Len + Seg1Len + Seg2Len of them, at most 64
/// ```
#[derive(Clone, Copy, Debug)]
pub struct StandardPath<'a> {
    meta: u32,
    info_fields: &'a [[u8; INFO_FIELD_BYTES]],
    hop_fields: &'a [[u8; HOP_FIELD_BYTES]],
}

impl<'a> StandardPath<'a> {
    #[inline]
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (meta, fields) = bytes.split_first_chunk::<META_BYTES>()?;
        let meta = u32::from_be_bytes(*meta);
        let [first, second, third] = segment_lengths(meta);
        // By the specification, a segment after an empty one is an error.
        if (first == 0 && second > 0) || (second == 0 && third > 0) {
            return None;
        }
        let info_count = usize::from(first > 0) + usize::from(second > 0) + usize::from(third > 0);
        let hop_count = usize::from(first) + usize::from(second) + usize::from(third);
        if hop_count > MAX_HOP_FIELDS {
            return None;
        }
        let (info_fields, hop_fields) = fields.split_at_checked(info_count * INFO_FIELD_BYTES)?;
        if hop_fields.len() != hop_count * HOP_FIELD_BYTES {
            return None;
        }
        Some(Self {
            meta,
            info_fields: info_fields.as_chunks().0,
            hop_fields: hop_fields.as_chunks().0,
        })
    }

    /// Returns CurrINF: the index of the current info field, which need not exist.
    #[inline]
    #[must_use]
    pub const fn current_info_field(&self) -> usize {
        (self.meta >> 30) as usize
    }

    /// Returns CurrHF: the index of the current hop field, which need not exist.
    #[inline]
    #[must_use]
    pub const fn current_hop_field(&self) -> usize {
        (self.meta >> 24 & 0x3f) as usize
    }

    /// Returns the number of hop fields of each segment; 0 for absent segments.
    #[inline]
    #[must_use]
    pub const fn segment_lengths(&self) -> [u8; 3] {
        segment_lengths(self.meta)
    }

    /// Returns the number of info fields, which is the number of segments: 0 to 3.
    #[inline]
    #[must_use]
    pub const fn info_field_count(&self) -> usize {
        self.info_fields.len()
    }

    /// Returns the number of hop fields of all segments: 0 to 64.
    #[inline]
    #[must_use]
    pub const fn hop_field_count(&self) -> usize {
        self.hop_fields.len()
    }

    /// Returns the info field of segment `index`, counted from 0.
    #[inline]
    #[must_use]
    pub fn info_field(&self, index: usize) -> Option<InfoField> {
        self.info_fields.get(index).map(InfoField::from_wire)
    }

    /// Returns hop field `index`, counted from 0 over all segments.
    #[inline]
    #[must_use]
    pub fn hop_field(&self, index: usize) -> Option<HopField> {
        self.hop_fields.get(index).map(HopField::from_wire)
    }

    /// Returns true if the current hop field is the last one: the packet is in its destination AS.
    #[inline]
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.current_info_field() + 1 == self.info_field_count()
            && self.current_hop_field() + 1 == self.hop_field_count()
    }

    /// Appends the reversed path to `out`: segments and hop fields in reverse order, the construction
    /// direction of each segment inverted, both indexes 0. It is valid for a packet that
    /// [arrived](Self::is_at_end). The SegIDs are unchanged: their values after the last router are
    /// those that the first router expects on the way back.
    pub(crate) fn append_reversed(&self, out: &mut Vec<u8>) {
        let [first, second, third] = self.segment_lengths();
        let reversed = match self.info_field_count() {
            1 => [first, 0, 0],
            2 => [second, first, 0],
            _ => [third, second, first],
        };
        out.extend_from_slice(&meta_header(reversed));
        for [flags, rest @ ..] in self.info_fields.iter().rev() {
            out.push(flags ^ FLAG_CONSTRUCTION_DIRECTION);
            out.extend_from_slice(rest);
        }
        for hop_field in self.hop_fields.iter().rev() {
            out.extend_from_slice(hop_field);
        }
    }

    /// Returns the length in bytes.
    #[inline]
    pub(crate) const fn byte_count(&self) -> usize {
        META_BYTES + self.info_fields.as_flattened().len() + self.hop_fields.as_flattened().len()
    }

    /// Returns the offset of the first hop field from the start of the path.
    #[inline]
    pub(crate) const fn hop_fields_offset(&self) -> usize {
        META_BYTES + self.info_fields.as_flattened().len()
    }
}

#[inline]
const fn segment_lengths(meta: u32) -> [u8; 3] {
    [
        (meta >> 12 & 0x3f) as u8,
        (meta >> 6 & 0x3f) as u8,
        (meta & 0x3f) as u8,
    ]
}

/// Returns the meta header of a path at its first hop: both indexes are 0. Lengths are below 64.
pub(crate) fn meta_header(segment_lengths: [u8; 3]) -> [u8; META_BYTES] {
    let [first, second, third] = segment_lengths.map(u32::from);
    (first << 12 | second << 6 | third).to_be_bytes()
}

/// The info field of a segment: what its hop fields have in common.
///
/// ```text
/// 0 flags: P = 0x02, C = 0x01 | 1 RSV | 2..4 SegID | 4..8 timestamp
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct InfoField {
    /// P flag: the segment starts or ends with a peering link.
    pub peering: bool,
    /// C flag: the hop fields are in construction order, that of beaconing.
    pub construction_direction: bool,
    /// SegID: chains the message authentication codes of the hop fields.
    pub segment_id: u16,
    /// Creation time of the segment: Unix time in seconds.
    pub timestamp: u32,
}

const FLAG_CONSTRUCTION_DIRECTION: u8 = 0x01;
const FLAG_PEERING: u8 = 0x02;

impl InfoField {
    #[inline]
    fn from_wire(bytes: &[u8; INFO_FIELD_BYTES]) -> Self {
        let &[flags, _, id0, id1, time0, time1, time2, time3] = bytes;
        Self {
            peering: flags & FLAG_PEERING != 0,
            construction_direction: flags & FLAG_CONSTRUCTION_DIRECTION != 0,
            segment_id: u16::from_be_bytes([id0, id1]),
            timestamp: u32::from_be_bytes([time0, time1, time2, time3]),
        }
    }

    pub(crate) fn to_wire(self) -> [u8; INFO_FIELD_BYTES] {
        let mut flags = 0;
        if self.peering {
            flags |= FLAG_PEERING;
        }
        if self.construction_direction {
            flags |= FLAG_CONSTRUCTION_DIRECTION;
        }
        let [id0, id1] = self.segment_id.to_be_bytes();
        let [time0, time1, time2, time3] = self.timestamp.to_be_bytes();
        [flags, 0, id0, id1, time0, time1, time2, time3]
    }
}

/// A hop field: how the packet crosses one AS.
///
/// ```text
/// 0 flags: I = 0x02, E = 0x01 | 1 ExpTime | 2..4 ConsIngress | 4..6 ConsEgress | 6..12 MAC
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HopField {
    /// I and E flags: router alerts of the two interfaces.
    pub flags: u8,
    /// Validity after the timestamp of the segment, in units of 337.5 s, minus one unit.
    pub expiry: u8,
    /// Interface at which a beacon enters the AS; 0 at the start of a segment.
    pub cons_ingress: u16,
    /// Interface at which a beacon leaves the AS; 0 at the end of a segment.
    pub cons_egress: u16,
    /// Message authentication code of the AS.
    pub mac: [u8; 6],
}

impl HopField {
    #[inline]
    fn from_wire(bytes: &[u8; HOP_FIELD_BYTES]) -> Self {
        let &[
            flags,
            expiry,
            ingress0,
            ingress1,
            egress0,
            egress1,
            ref mac @ ..,
        ] = bytes;
        Self {
            flags,
            expiry,
            cons_ingress: u16::from_be_bytes([ingress0, ingress1]),
            cons_egress: u16::from_be_bytes([egress0, egress1]),
            mac: *mac,
        }
    }

    pub(crate) fn to_wire(self) -> [u8; HOP_FIELD_BYTES] {
        let [ingress0, ingress1] = self.cons_ingress.to_be_bytes();
        let [egress0, egress1] = self.cons_egress.to_be_bytes();
        let [mac0, mac1, mac2, mac3, mac4, mac5] = self.mac;
        [
            self.flags,
            self.expiry,
            ingress0,
            ingress1,
            egress0,
            egress1,
            mac0,
            mac1,
            mac2,
            mac3,
            mac4,
            mac5,
        ]
    }
}
