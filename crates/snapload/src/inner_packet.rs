//! The packets inside the tunnels: SCION/UDP from a tunnel's own address to itself.
//!
//! A gateway that forwards SCION sends such a packet straight back into the tunnel it came from,
//! and a gateway that echoes does the same, so both give round trips. The path is empty.
//!
//! ```text
//! SCION header (36 bytes over IPv4, 60 over IPv6) | UDP header (8) | stamp (20) | filler
//! ```

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use scion_packet::build::PacketBuilder;
use scion_packet::{IsdAs, ScionAddress};

use crate::identity::split_mix;
use crate::stamp::{STAMP_LEN, Stamp};

/// SCION's number for SCMP in NextHdr.
const SCMP: u8 = 202;

/// Position of NextHdr in the SCION header.
const NEXT_HEADER_OFFSET: usize = 4;

const UDP_HEADER_BYTES: usize = 8;

/// How far before the UDP payload the checksum is.
const CHECKSUM_BEFORE_PAYLOAD: usize = 2;

/// SNAPtun peers may pad what they send to a multiple of this (WireGuard whitepaper, section
/// 5.4.6), so a reply may be longer than its packet was.
const PADDING_MULTIPLE: usize = 16;

/// The smallest packet between two addresses like `ip`.
pub(crate) fn min_bytes(ip: IpAddr) -> usize {
    let host_bytes = if ip.is_ipv4() { 4 } else { 16 };
    12 + 16 + 2 * host_bytes + UDP_HEADER_BYTES + STAMP_LEN
}

/// What all packets of a run have in common.
#[derive(Debug)]
pub(crate) struct PacketForm {
    salt: u64,
    isd_as: IsdAs,
    /// The UDP payload after the stamp: bytes without a pattern, so that a shift is noticed.
    filler: Vec<u8>,
}

/// What all packets of one tunnel have in common: the bytes before the stamp.
#[derive(Debug, Default)]
pub(crate) struct TunnelHeaders {
    address: Option<SocketAddr>,
    bytes: Vec<u8>,
    /// The one's complement sum over a packet whose stamp is zeros (RFC 1071).
    sum: u32,
}

/// Why a packet that came out of a tunnel is no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoReply {
    /// An SCMP message.
    Scmp,
    /// Not what was sent.
    Corrupted,
}

impl PacketForm {
    /// Packets of `size` bytes, which is at least [`min_bytes`] of the gateway's address.
    pub(crate) fn new(salt: u64, isd_as: IsdAs, size: usize, gateway: IpAddr) -> Self {
        let mut state = salt;
        let filler = std::iter::repeat_with(|| {
            state = split_mix(state);
            state as u8
        })
        .take(size.saturating_sub(min_bytes(gateway)))
        .collect();
        Self {
            salt,
            isd_as,
            filler,
        }
    }

    /// The headers for a tunnel whose own address is `address`.
    pub(crate) fn headers(&self, address: SocketAddr) -> TunnelHeaders {
        let scion_address = ScionAddress {
            isd_as: self.isd_as,
            ip: address.ip(),
        };
        let mut payload = vec![0; STAMP_LEN];
        payload.extend_from_slice(&self.filler);
        let mut bytes = Vec::new();
        let built = PacketBuilder::new(scion_address, scion_address).append_udp(
            address.port(),
            address.port(),
            &payload,
            &mut bytes,
        );
        debug_assert_eq!(
            built,
            Ok(()),
            "the configured size fits into a UDP datagram"
        );
        bytes.truncate(bytes.len().saturating_sub(payload.len()));
        let checksum = bytes
            .last_chunk()
            .map_or(0, |checksum| u16::from_be_bytes(*checksum));
        TunnelHeaders {
            address: Some(address),
            bytes,
            sum: u32::from(!checksum),
        }
    }

    /// Appends a packet to `out`.
    pub(crate) fn write(&self, headers: &TunnelHeaders, stamp: Stamp, out: &mut BytesMut) {
        let stamp = stamp.to_bytes(self.salt);
        out.reserve(headers.bytes.len() + STAMP_LEN + self.filler.len());
        let (before_checksum, _) = headers
            .bytes
            .split_at(headers.bytes.len().saturating_sub(CHECKSUM_BEFORE_PAYLOAD));
        out.extend_from_slice(before_checksum);
        out.extend_from_slice(&headers.checksum(&stamp).to_be_bytes());
        out.extend_from_slice(&stamp);
        out.extend_from_slice(&self.filler);
    }

    /// Reads what came out of a tunnel.
    pub(crate) fn read(&self, headers: &TunnelHeaders, packet: &[u8]) -> Result<Stamp, NoReply> {
        self.read_reply(headers, packet).ok_or_else(|| {
            if packet.get(NEXT_HEADER_OFFSET) == Some(&SCMP) {
                NoReply::Scmp
            } else {
                NoReply::Corrupted
            }
        })
    }

    /// The stamp of an intact reply. Only the payload is compared: gateways and responders may
    /// change the headers.
    fn read_reply(&self, headers: &TunnelHeaders, packet: &[u8]) -> Option<Stamp> {
        let (_, payload) = packet.split_at_checked(headers.bytes.len())?;
        let (stamp, rest) = payload.split_first_chunk()?;
        let stamp = Stamp::from_bytes(self.salt, stamp)?;
        let (filler, padding) = rest.split_at_checked(self.filler.len())?;
        let intact = filler == self.filler
            && padding.len() < PADDING_MULTIPLE
            && padding.iter().all(|&byte| byte == 0);
        intact.then_some(stamp)
    }
}

impl TunnelHeaders {
    /// The tunnel's own address.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The UDP checksum of a packet with this stamp.
    fn checksum(&self, stamp: &[u8; STAMP_LEN]) -> u16 {
        let (words, _) = stamp.as_chunks::<2>();
        let stamp_sum: u32 = words
            .iter()
            .map(|&word| u32::from(u16::from_be_bytes(word)))
            .sum();
        let mut sum = self.sum + stamp_sum;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        match !(sum as u16) {
            // 0 stands for "no checksum" (RFC 768).
            0 => u16::MAX,
            checksum => checksum,
        }
    }
}

const _: () = assert!(STAMP_LEN.is_multiple_of(2), "the sum is of 16-bit words");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use scion_packet::ScionPacket;

    use super::*;
    use crate::config::DEFAULT_ISD_AS;

    const STAMP: Stamp = Stamp {
        tunnel: 3,
        sequence: 70_000,
        scheduled_ns: 1_234_567_890,
    };

    fn form(size: usize, ip: &str) -> PacketForm {
        PacketForm::new(99, DEFAULT_ISD_AS, size, ip.parse().unwrap())
    }

    fn packet(form: &PacketForm, address: &str, stamp: Stamp) -> (TunnelHeaders, BytesMut) {
        let headers = form.headers(address.parse().unwrap());
        let mut packet = BytesMut::new();
        form.write(&headers, stamp, &mut packet);
        (headers, packet)
    }

    /// The same packet, written by the packet builder alone.
    fn rebuilt(form: &PacketForm, address: SocketAddr, stamp: Stamp) -> Vec<u8> {
        let scion_address = ScionAddress {
            isd_as: DEFAULT_ISD_AS,
            ip: address.ip(),
        };
        let mut payload = stamp.to_bytes(form.salt).to_vec();
        payload.extend_from_slice(&form.filler);
        let mut packet = Vec::new();
        PacketBuilder::new(scion_address, scion_address)
            .append_udp(address.port(), address.port(), &payload, &mut packet)
            .unwrap();
        packet
    }

    #[test]
    fn packets_have_the_size_asked_for_down_to_the_smallest() {
        for (size, address) in [(64, "127.0.0.1:5"), (1400, "127.0.0.1:5"), (88, "[::1]:5")] {
            let ip = address.parse::<SocketAddr>().unwrap().ip();
            assert!(size >= min_bytes(ip));
            let (_, packet) = packet(&form(size, &ip.to_string()), address, STAMP);
            assert_eq!(packet.len(), size);
        }
    }

    proptest! {
        #[test]
        fn the_checksum_is_right_for_every_stamp(
            tunnel: u32, sequence in 0_u64..1 << 48, scheduled_ns in 0_u64..1 << 48,
            port: u16, size in 64_usize..200,
        ) {
            let form = form(size, "127.0.0.1");
            let address = SocketAddr::new("127.0.0.9".parse().unwrap(), port);
            let stamp = Stamp { tunnel, sequence, scheduled_ns };
            let (_, packet) = packet(&form, &address.to_string(), stamp);
            prop_assert_eq!(&packet[..], &rebuilt(&form, address, stamp)[..]);
        }
    }

    #[test]
    fn the_packet_is_one_that_a_gateway_accepts() {
        let (_, packet) = packet(&form(100, "127.0.0.1"), "127.0.0.1:4000", STAMP);
        let view = ScionPacket::parse(&packet).unwrap();
        assert_eq!(scion_packet::delivery_port(&view), Ok(4000));
    }

    #[test]
    fn a_reply_is_read_also_when_it_was_padded() {
        let form = form(100, "127.0.0.1");
        let (headers, mut packet) = packet(&form, "127.0.0.1:4000", STAMP);
        assert_eq!(form.read(&headers, &packet), Ok(STAMP));
        packet.resize(112, 0);
        assert_eq!(form.read(&headers, &packet), Ok(STAMP));
    }

    #[test]
    fn any_change_of_the_payload_is_noticed() {
        let form = form(100, "127.0.0.1");
        let (headers, packet) = packet(&form, "127.0.0.1:4000", STAMP);
        for changed in headers.bytes.len()..packet.len() {
            let mut packet = packet.clone();
            packet[changed] ^= 0x10;
            assert_eq!(
                form.read(&headers, &packet),
                Err(NoReply::Corrupted),
                "byte {changed}"
            );
        }
        assert_eq!(form.read(&headers, &packet[..99]), Err(NoReply::Corrupted));
        let longer = [&packet[..], &[1]].concat();
        assert_eq!(form.read(&headers, &longer), Err(NoReply::Corrupted));
    }

    #[test]
    fn an_scmp_message_is_told_from_a_reply() {
        let form = form(100, "127.0.0.1");
        let headers = form.headers("127.0.0.1:4000".parse().unwrap());
        let address = ScionAddress {
            isd_as: DEFAULT_ISD_AS,
            ip: "127.0.0.1".parse().unwrap(),
        };
        let mut scmp = Vec::new();
        PacketBuilder::new(address, address)
            .append_echo_reply(1, 2, b"x", &mut scmp)
            .unwrap();
        assert_eq!(form.read(&headers, &scmp), Err(NoReply::Scmp));
    }
}
