//! Control messages (cmsg(3)): metadata of a datagram.
//!
//! A control message is a header (length with header, level, type) and data, padded to a machine word.

use std::net::IpAddr;

/// Buffer for the control messages of one train, aligned for their headers: a segment size (24
/// bytes) and a local address (40 bytes for IPv6).
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control {
    bytes: [u8; CONTROL_BYTES],
}

const CONTROL_BYTES: usize = 64;
const HEADER_BYTES: usize = size_of::<libc::cmsghdr>();

const _: () = assert!(
    space(size_of::<libc::c_int>()) + space(size_of::<libc::in6_pktinfo>()) <= CONTROL_BYTES,
    "a train's segment size and local address fit",
);
const _: () = assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());

/// CMSG_SPACE(3)
const fn space(data_bytes: usize) -> usize {
    (HEADER_BYTES + data_bytes).next_multiple_of(size_of::<usize>())
}

/// Metadata of a received train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ancillary {
    pub(super) segment_size: Option<usize>,
    pub(super) local_ip: Option<IpAddr>,
}

impl Control {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; CONTROL_BYTES],
    };
    pub(super) const CAPACITY: usize = CONTROL_BYTES;

    /// Writes the segment size and source address of a train, and returns the number of bytes used.
    pub(super) fn write(&mut self, segment_size: Option<u16>, from_ip: Option<IpAddr>) -> usize {
        let mut used = 0;
        if let Some(size) = segment_size {
            used += self.append(used, libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
        }
        match from_ip {
            None => {}
            Some(IpAddr::V4(ip)) => {
                // in_pktinfo: interface index (0: chosen by the routes), local address, unused.
                let mut info = [0; size_of::<libc::in_pktinfo>()];
                info[4..8].copy_from_slice(&ip.octets());
                used += self.append(used, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(IpAddr::V6(ip)) => {
                // in6_pktinfo: local address, interface index.
                let mut info = [0; size_of::<libc::in6_pktinfo>()];
                info[..16].copy_from_slice(&ip.octets());
                used += self.append(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
        used
    }

    /// Parses the messages in the first `length` bytes.
    pub(super) fn read(&self, length: usize) -> Ancillary {
        let mut ancillary = Ancillary::default();
        let mut rest = self.bytes.get(..length).unwrap_or_default();
        while let Some((level, kind, data, next)) = split_message(rest) {
            match (level, kind) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    ancillary.segment_size = data
                        .first_chunk()
                        .and_then(|size| usize::try_from(libc::c_int::from_ne_bytes(*size)).ok());
                }
                // The local address, which is the one to answer from, precedes the destination of
                // the header, which may be a broadcast address.
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    ancillary.local_ip = data
                        .get(4..8)
                        .and_then(<[u8]>::first_chunk::<4>)
                        .map(|ip| (*ip).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    ancillary.local_ip = data.first_chunk::<16>().map(|ip| (*ip).into());
                }
                _ => {}
            }
            rest = next;
        }
        ancillary
    }

    /// Appends a message at `at`, and returns its padded size in bytes.
    fn append(&mut self, at: usize, level: libc::c_int, kind: libc::c_int, data: &[u8]) -> usize {
        let length = HEADER_BYTES + data.len();
        let message = &mut self.bytes[at..at + space(data.len())];
        message.fill(0);
        message[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
        message[HEADER_BYTES - 8..HEADER_BYTES - 4].copy_from_slice(&level.to_ne_bytes());
        message[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER_BYTES..length].copy_from_slice(data);
        space(data.len())
    }
}

/// Returns level, type and data of the first message, and the messages after it.
fn split_message(bytes: &[u8]) -> Option<(libc::c_int, libc::c_int, &[u8], &[u8])> {
    let length = usize::from_ne_bytes(*bytes.first_chunk()?);
    let level = libc::c_int::from_ne_bytes(*bytes.get(HEADER_BYTES - 8..)?.first_chunk()?);
    let kind = libc::c_int::from_ne_bytes(*bytes.get(HEADER_BYTES - 4..)?.first_chunk()?);
    let data = bytes.get(HEADER_BYTES..length)?;
    let next = bytes.get(space(data.len())..).unwrap_or_default();
    Some((level, kind, data, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_address_is_read_as_written() {
        for from_ip in ["192.0.2.7", "2001:db8::7"] {
            let from_ip: IpAddr = from_ip.parse().unwrap();
            let mut control = Control::EMPTY;
            let used = control.write(None, Some(from_ip));
            assert_eq!(
                control.read(used),
                Ancillary {
                    segment_size: None,
                    local_ip: Some(from_ip)
                }
            );
        }
    }

    #[test]
    fn a_segment_size_is_a_four_byte_number_on_receive() {
        let mut control = Control::EMPTY;
        let used = control.append(0, libc::SOL_UDP, libc::UDP_GRO, &70_000_i32.to_ne_bytes());
        assert_eq!(control.read(used).segment_size, Some(70_000));
    }

    #[test]
    fn unknown_and_truncated_messages_are_skipped() {
        let mut control = Control::EMPTY;
        let mut used = control.append(0, libc::SOL_SOCKET, libc::SO_TIMESTAMP, &[1; 3]);
        used += control.append(used, libc::SOL_UDP, libc::UDP_GRO, &1400_i32.to_ne_bytes());
        assert_eq!(control.read(used).segment_size, Some(1400));
        for length in 0..used {
            let _ = control.read(length);
        }
        let mut short = Control::EMPTY;
        let used = short.append(0, libc::SOL_UDP, libc::UDP_GRO, &[1, 2]);
        assert_eq!(short.read(used), Ancillary::default());
    }
}
