//! SCION/UDP packets of a run: building them, and recognizing them where they arrive.
//!
//! ```text
//! SCION header, UDP header (8) | stamp (20) | filler
//!
//! header        echo                   up                       down
//! source        the tunnel's address   the tunnel's address     a host of the remote AS
//! destination   the tunnel's address   a host of the remote AS  the tunnel's address
//! path          empty                  two hops, at the first   two hops, at the last
//! over IPv4     36 bytes               72                       72
//! over IPv6     60 bytes               96                       96
//! ```
//!
//! A gateway that forwards SCION sends the packet of an echo back into the tunnel it came from, as a gateway in echo
//! mode does, so both give round trips.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::BytesMut;
use scion_packet::build::{BuildError, PacketBuilder, Segment};
use scion_packet::{HopField, InfoField, IsdAs, ScionAddress, ScionPacket};

use crate::config::{Direction, DirectionKind};
use crate::identity::split_mix;
use crate::stamp::{STAMP_LEN, Stamp};

/// SCION's NextHdr value for SCMP.
const SCMP: u8 = 202;

/// Offset of NextHdr in the SCION header.
const NEXT_HEADER_OFFSET: usize = 4;

/// Offset of the destination host in the SCION header; the source host follows it.
const HOSTS_OFFSET: usize = 28;

const UDP_HEADER_BYTES: usize = 8;

/// SNAPtun peers may pad packets to a multiple of this (WireGuard whitepaper, section 5.4.6), so a packet may arrive
/// longer than it was sent.
const PADDING_MULTIPLE: usize = 16;

/// Hosts of the remote AS: addresses for documentation (RFC 5737, RFC 3849).
const REMOTE_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const REMOTE_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// UDP port of the host of the remote AS.
const REMOTE_PORT: u16 = 30_041;

/// Interface through which a packet enters the last AS of a path.
const LAST_INGRESS: u16 = 1;

/// ExpTime of hop fields: one day, the maximum.
const HOP_EXPIRY: u8 = u8::MAX;

impl Direction {
    /// Returns the size in bytes of the smallest packet for tunnels with addresses like `ip`: SCION and UDP headers plus
    /// the stamp. For an echo 64 over IPv4 and 88 over IPv6; 100 and 124 with a path.
    #[must_use]
    pub fn min_packet_bytes(self, ip: IpAddr) -> usize {
        min_bytes(self.kind(), ip)
    }
}

fn min_bytes(direction: DirectionKind, ip: IpAddr) -> usize {
    let host_bytes = if ip.is_ipv4() { 4 } else { 16 };
    let path_bytes = match direction {
        DirectionKind::Echo => 0,
        DirectionKind::Up | DirectionKind::Down => 4 + 8 + 2 * 12,
    };
    HOSTS_OFFSET + 2 * host_bytes + path_bytes + UDP_HEADER_BYTES + STAMP_LEN
}

/// Contents that the packets of a run share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketRecipe {
    /// Random per run, so that a packet of an earlier run is not taken for one of this run.
    pub(crate) salt: u64,
    pub(crate) direction: DirectionKind,
    /// Interface in the first hop field.
    pub(crate) interface: u16,
    pub(crate) isd_as: IsdAs,
    pub(crate) remote_isd_as: IsdAs,
    /// True if tunnels have IPv4 addresses.
    pub(crate) ipv4: bool,
}

/// Packets of a thread: one template per size, completed by a tunnel's address and a stamp.
#[derive(Debug)]
pub(crate) struct PacketForm {
    recipe: PacketRecipe,
    templates: Vec<Template>,
    /// UDP payload after the stamp, for the largest size. The bytes have no pattern, so a shift is noticed.
    filler: Vec<u8>,
}

/// Bytes before the stamp, with zeros for the tunnel's address and port.
#[derive(Debug)]
struct Template {
    packet_bytes: usize,
    header: Vec<u8>,
    /// One's complement sum over a packet whose tunnel address and stamp are zeros (RFC 1071).
    sum: u32,
}

/// A packet that arrived with an intact payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Recognized {
    pub(crate) stamp: Stamp,
    /// Size, as an index into the list of sizes.
    pub(crate) size: usize,
}

/// Why received bytes are not a packet of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unrecognized {
    /// SCMP message.
    Scmp,
    /// Differs from every packet sent.
    Corrupted,
}

impl PacketForm {
    /// Prepares packets of `sizes` bytes, each at least [`min_bytes`].
    ///
    /// # Errors
    /// Fails if a packet of such a size cannot be built.
    pub(crate) fn new(recipe: PacketRecipe, sizes: &[usize]) -> Result<Self, BuildError> {
        let mut state = recipe.salt;
        let filler = std::iter::repeat_with(|| {
            state = split_mix(state);
            state as u8
        })
        .take(sizes.iter().copied().max().unwrap_or_default())
        .collect();
        let mut form = Self {
            recipe,
            templates: Vec::new(),
            filler,
        };
        for &packet_bytes in sizes {
            let template = form.template(packet_bytes)?;
            form.templates.push(template);
        }
        Ok(form)
    }

    fn template(&self, packet_bytes: usize) -> Result<Template, BuildError> {
        let recipe = &self.recipe;
        let (no_ip, remote_ip) = if recipe.ipv4 {
            (Ipv4Addr::UNSPECIFIED.into(), REMOTE_IPV4.into())
        } else {
            (Ipv6Addr::UNSPECIFIED.into(), REMOTE_IPV6.into())
        };
        let tunnel = ScionAddress {
            isd_as: recipe.isd_as,
            ip: no_ip,
        };
        let remote = ScionAddress {
            isd_as: recipe.remote_isd_as,
            ip: remote_ip,
        };
        let path = [path_between(recipe.interface, LAST_INGRESS)];
        let (builder, source_port, destination_port) = match recipe.direction {
            DirectionKind::Echo => (PacketBuilder::new(tunnel, tunnel), 0, 0),
            DirectionKind::Up => {
                let builder = PacketBuilder::new(tunnel, remote).with_path(&path)?;
                (builder, 0, REMOTE_PORT)
            }
            DirectionKind::Down => {
                let builder = PacketBuilder::new(remote, tunnel).with_path(&path)?;
                (builder, REMOTE_PORT, 0)
            }
        };
        let filler_bytes = packet_bytes.saturating_sub(min_bytes(recipe.direction, no_ip));
        let mut payload = vec![0; STAMP_LEN];
        payload.extend_from_slice(&self.filler[..filler_bytes]);
        let mut header = Vec::new();
        builder.append_udp(source_port, destination_port, &payload, &mut header)?;
        header.truncate(header.len().saturating_sub(payload.len()));
        if recipe.direction == DirectionKind::Down {
            move_to_last_hop(&mut header, no_ip);
        }
        let checksum = header
            .last_chunk()
            .map_or(0, |checksum| u16::from_be_bytes(*checksum));
        Ok(Template {
            packet_bytes,
            header,
            sum: u32::from(!checksum),
        })
    }

    /// Returns the size in bytes at this index of the list of sizes.
    pub(crate) fn packet_bytes(&self, size: usize) -> usize {
        self.templates[size].packet_bytes
    }

    /// Returns true if packets can be written for a tunnel with this address.
    pub(crate) fn suits(&self, address: SocketAddr) -> bool {
        self.templates.iter().all(|template| {
            min_bytes(self.recipe.direction, address.ip()) == template.header.len() + STAMP_LEN
        })
    }

    /// Appends a packet of the tunnel with this address to `out`.
    pub(crate) fn write(&self, size: usize, address: SocketAddr, stamp: Stamp, out: &mut BytesMut) {
        let template = &self.templates[size];
        out.reserve(template.packet_bytes);
        let start = out.len();
        out.extend_from_slice(&template.header);
        let stamp = stamp.to_bytes(self.recipe.salt);
        self.complete(template, address, &stamp, &mut out[start..]);
        out.extend_from_slice(&stamp);
        out.extend_from_slice(self.filler_of(template));
    }

    /// Writes the address and the checksum into a copy of a template's header.
    fn complete(
        &self,
        template: &Template,
        address: SocketAddr,
        stamp: &[u8; STAMP_LEN],
        header: &mut [u8],
    ) {
        let (octets4, octets6);
        let ip: &[u8] = match address.ip() {
            IpAddr::V4(ip) => {
                octets4 = ip.octets();
                &octets4
            }
            IpAddr::V6(ip) => {
                octets6 = ip.octets();
                &octets6
            }
        };
        let port = address.port().to_be_bytes();
        let udp = header.len() - UDP_HEADER_BYTES;
        let (destination, source) = (HOSTS_OFFSET, HOSTS_OFFSET + ip.len());
        let mut sum = template.sum + sum_of_words(stamp);
        if self.recipe.direction != DirectionKind::Down {
            header[source..source + ip.len()].copy_from_slice(ip);
            header[udp..udp + 2].copy_from_slice(&port);
            sum += sum_of_words(ip) + sum_of_words(&port);
        }
        if self.recipe.direction != DirectionKind::Up {
            header[destination..destination + ip.len()].copy_from_slice(ip);
            header[udp + 2..udp + 4].copy_from_slice(&port);
            sum += sum_of_words(ip) + sum_of_words(&port);
        }
        header[udp + 6..].copy_from_slice(&checksum(sum).to_be_bytes());
    }

    fn filler_of(&self, template: &Template) -> &[u8] {
        &self.filler[..template.packet_bytes - template.header.len() - STAMP_LEN]
    }

    /// Recognizes a received packet.
    pub(crate) fn read(&self, packet: &[u8]) -> Result<Recognized, Unrecognized> {
        self.recognize(packet).ok_or_else(|| {
            if packet.get(NEXT_HEADER_OFFSET) == Some(&SCMP) {
                Unrecognized::Scmp
            } else {
                Unrecognized::Corrupted
            }
        })
    }

    /// Returns the stamp and size of a packet whose payload is intact.
    fn recognize(&self, packet: &[u8]) -> Option<Recognized> {
        let packet_bytes = ScionPacket::parse(packet).ok()?.total_len();
        let size = self
            .templates
            .iter()
            .position(|template| template.packet_bytes == packet_bytes)?;
        let template = &self.templates[size];
        let (_, payload) = packet.split_at_checked(template.header.len())?;
        let (stamp, rest) = payload.split_first_chunk()?;
        let stamp = Stamp::from_bytes(self.recipe.salt, stamp)?;
        let filler = self.filler_of(template);
        let (arrived, padding) = rest.split_at_checked(filler.len())?;
        let intact = arrived == filler
            && padding.len() < PADDING_MULTIPLE
            && padding.iter().all(|&byte| byte == 0);
        intact.then_some(Recognized { stamp, size })
    }

    /// Returns true if a recognized packet has exactly the header it was sent with. Not checked for an echo, since an
    /// echoing gateway may change the header.
    pub(crate) fn has_intact_header(
        &self,
        recognized: Recognized,
        address: SocketAddr,
        packet: &[u8],
    ) -> bool {
        if self.recipe.direction == DirectionKind::Echo {
            return true;
        }
        let template = &self.templates[recognized.size];
        let stamp = recognized.stamp.to_bytes(self.recipe.salt);
        // Longest header: two IPv6 hosts, two hops, UDP.
        let mut expected = [0; 128];
        let expected = &mut expected[..template.header.len()];
        expected.copy_from_slice(&template.header);
        self.complete(template, address, &stamp, expected);
        packet.get(..expected.len()) == Some(expected)
    }
}

const _: () = assert!(HOSTS_OFFSET + 2 * 16 + 36 + UDP_HEADER_BYTES <= 128);

const _: () = assert!(STAMP_LEN.is_multiple_of(2), "the sum is of 16-bit words");

/// Returns a path segment of two ASes, out of the first through `egress` and into the second through `ingress`.
fn path_between(egress: u16, ingress: u16) -> Segment {
    let first = HopField {
        expiry: HOP_EXPIRY,
        cons_egress: egress,
        ..HopField::default()
    };
    let last = HopField {
        expiry: HOP_EXPIRY,
        cons_ingress: ingress,
        ..HopField::default()
    };
    Segment {
        info_field: InfoField {
            construction_direction: true,
            ..InfoField::default()
        },
        hop_fields: vec![first, last],
    }
}

/// Sets CurrHF, the low 6 bits of the path's first byte, to the second hop, as in the destination AS.
fn move_to_last_hop(header: &mut [u8], ip: IpAddr) {
    let host_bytes = if ip.is_ipv4() { 4 } else { 16 };
    if let Some(indexes) = header.get_mut(HOSTS_OFFSET + 2 * host_bytes) {
        *indexes = 1;
    }
}

fn sum_of_words(bytes: &[u8]) -> u32 {
    let (words, _) = bytes.as_chunks::<2>();
    words
        .iter()
        .map(|&word| u32::from(u16::from_be_bytes(word)))
        .sum()
}

/// Returns the UDP checksum for the sum of all words.
fn checksum(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    match !(sum as u16) {
        // 0 means "no checksum" (RFC 768).
        0 => u16::MAX,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use scion_packet::{Path, delivery_port, egress_interface};

    use super::*;
    use crate::config::{DEFAULT_ISD_AS, DEFAULT_REMOTE_ISD_AS};

    const STAMP: Stamp = Stamp {
        tunnel: 3,
        sequence: 70_000,
        time: 1_234_567_890,
    };

    const DIRECTIONS: [DirectionKind; 3] =
        [DirectionKind::Echo, DirectionKind::Up, DirectionKind::Down];

    fn recipe(direction: DirectionKind, ip: IpAddr) -> PacketRecipe {
        PacketRecipe {
            salt: 99,
            direction,
            interface: 7,
            isd_as: DEFAULT_ISD_AS,
            remote_isd_as: DEFAULT_REMOTE_ISD_AS,
            ipv4: ip.is_ipv4(),
        }
    }

    fn form(direction: DirectionKind, size: usize, address: &str) -> (PacketForm, SocketAddr) {
        let address: SocketAddr = address.parse().unwrap();
        let form = PacketForm::new(recipe(direction, address.ip()), &[size]).unwrap();
        (form, address)
    }

    fn packet(
        direction: DirectionKind,
        size: usize,
        address: &str,
    ) -> (PacketForm, SocketAddr, BytesMut) {
        let (form, address) = form(direction, size, address);
        let mut packet = BytesMut::new();
        form.write(0, address, STAMP, &mut packet);
        (form, address, packet)
    }

    #[test]
    fn packets_have_the_requested_size_down_to_the_minimum() {
        for (direction, min4, min6) in [
            (DirectionKind::Echo, 64, 88),
            (DirectionKind::Up, 100, 124),
            (DirectionKind::Down, 100, 124),
        ] {
            for (address, min) in [("127.0.0.1:5", min4), ("[::1]:5", min6)] {
                let ip = address.parse::<SocketAddr>().unwrap().ip();
                assert_eq!(min_bytes(direction, ip), min);
                for size in [min, 1400, 65_475] {
                    assert_eq!(packet(direction, size, address).2.len(), size);
                }
            }
        }
    }

    /// Builds the same packet with the packet builder alone.
    fn rebuilt(direction: DirectionKind, address: SocketAddr, packet: &[u8]) -> Vec<u8> {
        let view = ScionPacket::parse(packet).unwrap();
        let tunnel = ScionAddress {
            isd_as: DEFAULT_ISD_AS,
            ip: address.ip(),
        };
        let remote = ScionAddress {
            isd_as: DEFAULT_REMOTE_ISD_AS,
            ip: REMOTE_IPV4.into(),
        };
        let payload = &view.payload()[UDP_HEADER_BYTES..];
        let port = address.port();
        let mut rebuilt = Vec::new();
        match direction {
            DirectionKind::Echo => {
                PacketBuilder::new(tunnel, tunnel).append_udp(port, port, payload, &mut rebuilt)
            }
            DirectionKind::Up => PacketBuilder::new(tunnel, remote)
                .with_path(&[path_between(7, LAST_INGRESS)])
                .unwrap()
                .append_udp(port, REMOTE_PORT, payload, &mut rebuilt),
            DirectionKind::Down => PacketBuilder::new(remote, tunnel)
                .with_path(&[path_between(7, LAST_INGRESS)])
                .unwrap()
                .append_udp(REMOTE_PORT, port, payload, &mut rebuilt),
        }
        .unwrap();
        if direction == DirectionKind::Down {
            move_to_last_hop(&mut rebuilt, address.ip());
        }
        rebuilt
    }

    proptest! {
        #[test]
        fn address_and_checksum_are_correct_for_every_stamp_and_tunnel(
            tunnel: u32, sequence in 0_u64..1 << 48, time in 0_u64..1 << 48,
            ip: u32, port: u16, size in 100_usize..200, direction in 0_usize..3,
        ) {
            let direction = DIRECTIONS[direction];
            let address = SocketAddr::new(Ipv4Addr::from_bits(ip).into(), port);
            let form = PacketForm::new(recipe(direction, address.ip()), &[size]).unwrap();
            let stamp = Stamp { tunnel, sequence, time };
            let mut packet = BytesMut::new();
            form.write(0, address, stamp, &mut packet);
            prop_assert_eq!(&packet[..], &rebuilt(direction, address, &packet)[..]);
            let recognized = form.read(&packet).unwrap();
            prop_assert_eq!(recognized, Recognized { stamp, size: 0 });
            prop_assert!(form.has_intact_header(recognized, address, &packet));
        }
    }

    #[test]
    fn packets_echoed_or_sent_down_are_addressed_to_the_tunnel() {
        for direction in [DirectionKind::Echo, DirectionKind::Down] {
            let (_, _, packet) = packet(direction, 100, "127.0.0.1:4000");
            let view = ScionPacket::parse(&packet).unwrap();
            assert_eq!(delivery_port(&view), Ok(4000));
            assert_eq!(view.dst_isd_as(), DEFAULT_ISD_AS);
        }
    }

    #[test]
    fn path_leaves_through_the_interface_up_and_is_at_its_end_down() {
        let (_, _, up) = packet(DirectionKind::Up, 100, "127.0.0.1:4000");
        let view = ScionPacket::parse(&up).unwrap();
        assert_eq!(egress_interface(&view), Ok(7));
        assert_eq!(view.dst_isd_as(), DEFAULT_REMOTE_ISD_AS);
        let (_, _, down) = packet(DirectionKind::Down, 100, "127.0.0.1:4000");
        let Path::Standard(path) = ScionPacket::parse(&down).unwrap().path() else {
            panic!("no path");
        };
        assert!(path.is_at_end());
    }

    #[test]
    fn padded_packet_is_recognized() {
        let (form, _, mut packet) = packet(DirectionKind::Echo, 100, "127.0.0.1:4000");
        let recognized = Recognized {
            stamp: STAMP,
            size: 0,
        };
        assert_eq!(form.read(&packet), Ok(recognized));
        packet.resize(112, 0);
        assert_eq!(form.read(&packet), Ok(recognized));
    }

    #[test]
    fn any_change_of_the_payload_is_detected() {
        let (form, _, packet) = packet(DirectionKind::Echo, 100, "127.0.0.1:4000");
        for changed in min_bytes(DirectionKind::Echo, IpAddr::from([127, 0, 0, 1])) - STAMP_LEN..100
        {
            let mut packet = packet.clone();
            packet[changed] ^= 0x10;
            assert_eq!(
                form.read(&packet),
                Err(Unrecognized::Corrupted),
                "byte {changed}"
            );
        }
        assert_eq!(form.read(&packet[..99]), Err(Unrecognized::Corrupted));
        let longer = [&packet[..], &[1]].concat();
        assert_eq!(form.read(&longer), Err(Unrecognized::Corrupted));
    }

    #[test]
    fn any_change_of_the_header_of_a_forwarded_packet_is_detected() {
        for direction in [DirectionKind::Up, DirectionKind::Down] {
            let (form, address, packet) = packet(direction, 120, "127.0.0.1:4000");
            for changed in 0..min_bytes(direction, address.ip()) - STAMP_LEN {
                let mut packet = packet.clone();
                packet[changed] ^= 1;
                let intact = form
                    .read(&packet)
                    .is_ok_and(|recognized| form.has_intact_header(recognized, address, &packet));
                assert!(!intact, "{direction:?}, byte {changed}");
            }
        }
    }

    #[test]
    fn size_of_a_packet_is_recognized() {
        let address: SocketAddr = "[::1]:4000".parse().unwrap();
        let sizes = [124, 570, 1518];
        let form = PacketForm::new(recipe(DirectionKind::Up, address.ip()), &sizes).unwrap();
        for (index, bytes) in sizes.into_iter().enumerate() {
            let mut packet = BytesMut::new();
            form.write(index, address, STAMP, &mut packet);
            assert_eq!(packet.len(), bytes);
            assert_eq!(form.read(&packet).map(|packet| packet.size), Ok(index));
        }
    }

    #[test]
    fn address_of_the_other_ip_version_does_not_suit() {
        let (form, address) = form(DirectionKind::Echo, 100, "127.0.0.1:1");
        assert!(form.suits(address));
        assert!(!form.suits("[::1]:1".parse().unwrap()));
    }

    #[test]
    fn scmp_message_is_distinguished_from_corruption() {
        let (form, _) = form(DirectionKind::Echo, 100, "127.0.0.1:4000");
        let address = ScionAddress {
            isd_as: DEFAULT_ISD_AS,
            ip: "127.0.0.1".parse().unwrap(),
        };
        let mut scmp = Vec::new();
        PacketBuilder::new(address, address)
            .append_echo_reply(1, 2, b"x", &mut scmp)
            .unwrap();
        assert_eq!(form.read(&scmp), Err(Unrecognized::Scmp));
    }
}
