//! The SCION/UDP packets of a run: how they are written, and read where they arrive.
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
//! A gateway that forwards SCION sends the packet of an echo straight back into the tunnel it came
//! from, and a gateway that echoes does the same, so both give round trips.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::BytesMut;
use scion_packet::build::{BuildError, PacketBuilder, Segment};
use scion_packet::{HopField, InfoField, IsdAs, ScionAddress, ScionPacket};

use crate::identity::split_mix;
use crate::stamp::{STAMP_LEN, Stamp};

/// SCION's number for SCMP in NextHdr.
const SCMP: u8 = 202;

/// Position of NextHdr in the SCION header.
const NEXT_HEADER_OFFSET: usize = 4;

/// Position of the destination host in the SCION header; the source host follows it.
const HOSTS_OFFSET: usize = 28;

const UDP_HEADER_BYTES: usize = 8;

/// SNAPtun peers may pad what they send to a multiple of this (WireGuard whitepaper, section
/// 5.4.6), so a packet may be longer than it was sent.
const PADDING_MULTIPLE: usize = 16;

/// The host of the remote AS: addresses for documentation (RFC 5737, RFC 3849).
const REMOTE_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const REMOTE_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The port of the host of the remote AS.
const REMOTE_PORT: u16 = 30_041;

/// The interface of the last AS of a path, by which a packet enters it.
const LAST_INGRESS: u16 = 1;

/// ExpTime of hop fields: a day, the longest.
const HOP_EXPIRY: u8 = u8::MAX;

/// Which way the packets of a run take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// From a tunnel to itself.
    Echo,
    /// From a tunnel to the remote AS, leaving by this interface.
    Up {
        /// The interface of the first hop field.
        interface: u16,
    },
    /// From the remote AS to a tunnel.
    Down,
}

/// The smallest packet that takes a way between addresses like `ip`.
pub(crate) fn min_bytes(way: Way, ip: IpAddr) -> usize {
    let host_bytes = if ip.is_ipv4() { 4 } else { 16 };
    let path_bytes = match way {
        Way::Echo => 0,
        Way::Up { .. } | Way::Down => 4 + 8 + 2 * 12,
    };
    HOSTS_OFFSET + 2 * host_bytes + path_bytes + UDP_HEADER_BYTES + STAMP_LEN
}

/// What the packets of a run are made of.
#[derive(Clone, Debug)]
pub(crate) struct PacketRecipe {
    /// Random per run: a packet of an earlier run is not taken for one of this run.
    pub(crate) salt: u64,
    pub(crate) way: Way,
    pub(crate) isd_as: IsdAs,
    pub(crate) remote_isd_as: IsdAs,
    /// Whether tunnels have IPv4 addresses.
    pub(crate) ipv4: bool,
}

/// The packets of a thread: one template per size, to which a tunnel's address and a stamp are
/// added.
#[derive(Debug)]
pub(crate) struct PacketForm {
    salt: u64,
    way: Way,
    templates: Vec<Template>,
    /// The UDP payload after the stamp, for the largest size: bytes without a pattern, so that a
    /// shift is noticed.
    filler: Vec<u8>,
}

/// The bytes before the stamp, with zeros for the tunnel's address and port.
#[derive(Debug)]
struct Template {
    packet_bytes: usize,
    header: Vec<u8>,
    /// The one's complement sum over a packet whose tunnel address and stamp are zeros (RFC 1071).
    sum: u32,
}

/// A packet that arrived intact behind its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Recognized {
    pub(crate) stamp: Stamp,
    /// Its size, as a position in the list of sizes.
    pub(crate) size: usize,
}

/// Why what arrived is no packet of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotOurs {
    /// An SCMP message.
    Scmp,
    /// Not what was sent.
    Corrupted,
}

impl PacketForm {
    /// Packets of `sizes` bytes. Each is at least [`min_bytes`].
    ///
    /// # Errors
    /// When a packet of such a size cannot be written.
    pub(crate) fn new(recipe: &PacketRecipe, sizes: &[usize]) -> Result<Self, BuildError> {
        let mut state = recipe.salt;
        let filler = std::iter::repeat_with(|| {
            state = split_mix(state);
            state as u8
        })
        .take(sizes.iter().copied().max().unwrap_or_default())
        .collect();
        let mut form = Self {
            salt: recipe.salt,
            way: recipe.way,
            templates: Vec::new(),
            filler,
        };
        for &packet_bytes in sizes {
            let template = form.template(recipe, packet_bytes)?;
            form.templates.push(template);
        }
        Ok(form)
    }

    fn template(&self, recipe: &PacketRecipe, packet_bytes: usize) -> Result<Template, BuildError> {
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
        let (builder, source_port, destination_port) = match recipe.way {
            Way::Echo => (PacketBuilder::new(tunnel, tunnel), 0, 0),
            Way::Up { interface } => {
                let path = path_between(interface, LAST_INGRESS);
                let builder = PacketBuilder::new(tunnel, remote).with_path(&[path])?;
                (builder, 0, REMOTE_PORT)
            }
            Way::Down => {
                let path = path_between(1, LAST_INGRESS);
                let builder = PacketBuilder::new(remote, tunnel).with_path(&[path])?;
                (builder, REMOTE_PORT, 0)
            }
        };
        let filler_bytes = packet_bytes.saturating_sub(min_bytes(recipe.way, no_ip));
        let mut payload = vec![0; STAMP_LEN];
        payload.extend_from_slice(&self.filler[..filler_bytes]);
        let mut header = Vec::new();
        builder.append_udp(source_port, destination_port, &payload, &mut header)?;
        header.truncate(header.len().saturating_sub(payload.len()));
        if let Way::Down = recipe.way {
            arrive(&mut header, no_ip);
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

    /// The size in bytes at this position in the list of sizes.
    pub(crate) fn packet_bytes(&self, size: usize) -> usize {
        self.templates[size].packet_bytes
    }

    /// Whether packets can be written for a tunnel with this address.
    pub(crate) fn suits(&self, address: SocketAddr) -> bool {
        self.templates
            .iter()
            .all(|template| min_bytes(self.way, address.ip()) == template.header.len() + STAMP_LEN)
    }

    /// Appends a packet of the tunnel with this address to `out`.
    pub(crate) fn write(&self, size: usize, address: SocketAddr, stamp: Stamp, out: &mut BytesMut) {
        let template = &self.templates[size];
        out.reserve(template.packet_bytes);
        let start = out.len();
        out.extend_from_slice(&template.header);
        let stamp = stamp.to_bytes(self.salt);
        self.complete(template, address, &stamp, &mut out[start..]);
        out.extend_from_slice(&stamp);
        out.extend_from_slice(self.filler_of(template));
    }

    /// Writes address and checksum into a copy of a template's header.
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
        if !matches!(self.way, Way::Down) {
            header[source..source + ip.len()].copy_from_slice(ip);
            header[udp..udp + 2].copy_from_slice(&port);
            sum += sum_of_words(ip) + sum_of_words(&port);
        }
        if !matches!(self.way, Way::Up { .. }) {
            header[destination..destination + ip.len()].copy_from_slice(ip);
            header[udp + 2..udp + 4].copy_from_slice(&port);
            sum += sum_of_words(ip) + sum_of_words(&port);
        }
        header[udp + 6..].copy_from_slice(&checksum(sum).to_be_bytes());
    }

    fn filler_of(&self, template: &Template) -> &[u8] {
        &self.filler[..template.packet_bytes - template.header.len() - STAMP_LEN]
    }

    /// Reads what arrived.
    pub(crate) fn read(&self, packet: &[u8]) -> Result<Recognized, NotOurs> {
        self.recognize(packet).ok_or_else(|| {
            if packet.get(NEXT_HEADER_OFFSET) == Some(&SCMP) {
                NotOurs::Scmp
            } else {
                NotOurs::Corrupted
            }
        })
    }

    /// The stamp of a packet whose payload is intact.
    fn recognize(&self, packet: &[u8]) -> Option<Recognized> {
        let packet_bytes = ScionPacket::parse(packet).ok()?.total_len();
        let size = self
            .templates
            .iter()
            .position(|template| template.packet_bytes == packet_bytes)?;
        let template = &self.templates[size];
        let (_, payload) = packet.split_at_checked(template.header.len())?;
        let (stamp, rest) = payload.split_first_chunk()?;
        let stamp = Stamp::from_bytes(self.salt, stamp)?;
        let filler = self.filler_of(template);
        let (arrived, padding) = rest.split_at_checked(filler.len())?;
        let intact = arrived == filler
            && padding.len() < PADDING_MULTIPLE
            && padding.iter().all(|&byte| byte == 0);
        intact.then_some(Recognized { stamp, size })
    }

    /// Whether a packet that was recognized has the very header that it was sent with. Who echoes
    /// may change the header, so there it is not looked at.
    pub(crate) fn has_intact_header(
        &self,
        recognized: Recognized,
        address: SocketAddr,
        packet: &[u8],
    ) -> bool {
        if let Way::Echo = self.way {
            return true;
        }
        let template = &self.templates[recognized.size];
        let stamp = recognized.stamp.to_bytes(self.salt);
        // The longest: two IPv6 hosts, two hops, UDP.
        let mut expected = [0; 128];
        let expected = &mut expected[..template.header.len()];
        expected.copy_from_slice(&template.header);
        self.complete(template, address, &stamp, expected);
        packet.get(..expected.len()) == Some(expected)
    }
}

const _: () = assert!(HOSTS_OFFSET + 2 * 16 + 36 + UDP_HEADER_BYTES <= 128);

const _: () = assert!(STAMP_LEN.is_multiple_of(2), "the sum is of 16-bit words");

/// A segment of two ASes: out of the first by `egress`, into the second by `ingress`.
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

/// Sets CurrHF, the low 6 bits of the path's first byte, to the second hop: the packet is in its
/// destination AS.
fn arrive(header: &mut [u8], ip: IpAddr) {
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

/// The UDP checksum that follows from the sum of all words.
fn checksum(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    match !(sum as u16) {
        // 0 stands for "no checksum" (RFC 768).
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

    const UP: Way = Way::Up { interface: 7 };

    const WAYS: [Way; 3] = [Way::Echo, UP, Way::Down];

    fn recipe(way: Way, ip: IpAddr) -> PacketRecipe {
        PacketRecipe {
            salt: 99,
            way,
            isd_as: DEFAULT_ISD_AS,
            remote_isd_as: DEFAULT_REMOTE_ISD_AS,
            ipv4: ip.is_ipv4(),
        }
    }

    fn form(way: Way, size: usize, address: &str) -> (PacketForm, SocketAddr) {
        let address: SocketAddr = address.parse().unwrap();
        let form = PacketForm::new(&recipe(way, address.ip()), &[size]).unwrap();
        (form, address)
    }

    fn packet(way: Way, size: usize, address: &str) -> (PacketForm, SocketAddr, BytesMut) {
        let (form, address) = form(way, size, address);
        let mut packet = BytesMut::new();
        form.write(0, address, STAMP, &mut packet);
        (form, address, packet)
    }

    #[test]
    fn packets_have_the_size_asked_for_down_to_the_smallest() {
        for (way, min4, min6) in [(Way::Echo, 64, 88), (UP, 100, 124), (Way::Down, 100, 124)] {
            for (address, min) in [("127.0.0.1:5", min4), ("[::1]:5", min6)] {
                let ip = address.parse::<SocketAddr>().unwrap().ip();
                assert_eq!(min_bytes(way, ip), min);
                for size in [min, 1400, 65_475] {
                    assert_eq!(packet(way, size, address).2.len(), size);
                }
            }
        }
    }

    /// The same packet, written by the packet builder alone.
    fn rebuilt(way: Way, address: SocketAddr, packet: &[u8]) -> Vec<u8> {
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
        match way {
            Way::Echo => {
                PacketBuilder::new(tunnel, tunnel).append_udp(port, port, payload, &mut rebuilt)
            }
            Way::Up { interface } => PacketBuilder::new(tunnel, remote)
                .with_path(&[path_between(interface, LAST_INGRESS)])
                .unwrap()
                .append_udp(port, REMOTE_PORT, payload, &mut rebuilt),
            Way::Down => PacketBuilder::new(remote, tunnel)
                .with_path(&[path_between(1, LAST_INGRESS)])
                .unwrap()
                .append_udp(REMOTE_PORT, port, payload, &mut rebuilt),
        }
        .unwrap();
        if way == Way::Down {
            arrive(&mut rebuilt, address.ip());
        }
        rebuilt
    }

    proptest! {
        #[test]
        fn address_and_checksum_are_right_for_every_stamp_and_tunnel(
            tunnel: u32, sequence in 0_u64..1 << 48, time in 0_u64..1 << 48,
            ip: u32, port: u16, size in 100_usize..200, way in 0_usize..3,
        ) {
            let way = WAYS[way];
            let address = SocketAddr::new(Ipv4Addr::from_bits(ip).into(), port);
            let form = PacketForm::new(&recipe(way, address.ip()), &[size]).unwrap();
            let stamp = Stamp { tunnel, sequence, time };
            let mut packet = BytesMut::new();
            form.write(0, address, stamp, &mut packet);
            prop_assert_eq!(&packet[..], &rebuilt(way, address, &packet)[..]);
            let recognized = form.read(&packet).unwrap();
            prop_assert_eq!(recognized, Recognized { stamp, size: 0 });
            prop_assert!(form.has_intact_header(recognized, address, &packet));
        }
    }

    #[test]
    fn an_echo_and_a_packet_down_name_the_tunnel_by_their_destination() {
        for way in [Way::Echo, Way::Down] {
            let (_, _, packet) = packet(way, 100, "127.0.0.1:4000");
            let view = ScionPacket::parse(&packet).unwrap();
            assert_eq!(delivery_port(&view), Ok(4000));
            assert_eq!(view.dst_isd_as(), DEFAULT_ISD_AS);
        }
    }

    #[test]
    fn a_packet_up_leaves_by_its_interface_and_one_down_has_arrived() {
        let (_, _, up) = packet(UP, 100, "127.0.0.1:4000");
        let view = ScionPacket::parse(&up).unwrap();
        assert_eq!(egress_interface(&view), Ok(7));
        assert_eq!(view.dst_isd_as(), DEFAULT_REMOTE_ISD_AS);
        let (_, _, down) = packet(Way::Down, 100, "127.0.0.1:4000");
        let Path::Standard(path) = ScionPacket::parse(&down).unwrap().path() else {
            panic!("no path");
        };
        assert!(path.is_at_end());
    }

    #[test]
    fn a_packet_is_read_also_when_it_was_padded() {
        let (form, _, mut packet) = packet(Way::Echo, 100, "127.0.0.1:4000");
        let recognized = Recognized {
            stamp: STAMP,
            size: 0,
        };
        assert_eq!(form.read(&packet), Ok(recognized));
        packet.resize(112, 0);
        assert_eq!(form.read(&packet), Ok(recognized));
    }

    #[test]
    fn any_change_of_the_payload_is_noticed() {
        let (form, _, packet) = packet(Way::Echo, 100, "127.0.0.1:4000");
        for changed in min_bytes(Way::Echo, IpAddr::from([127, 0, 0, 1])) - STAMP_LEN..100 {
            let mut packet = packet.clone();
            packet[changed] ^= 0x10;
            assert_eq!(
                form.read(&packet),
                Err(NotOurs::Corrupted),
                "byte {changed}"
            );
        }
        assert_eq!(form.read(&packet[..99]), Err(NotOurs::Corrupted));
        let longer = [&packet[..], &[1]].concat();
        assert_eq!(form.read(&longer), Err(NotOurs::Corrupted));
    }

    #[test]
    fn any_change_of_the_header_of_a_forwarded_packet_is_noticed() {
        for way in [UP, Way::Down] {
            let (form, address, packet) = packet(way, 120, "127.0.0.1:4000");
            for changed in 0..min_bytes(way, address.ip()) - STAMP_LEN {
                let mut packet = packet.clone();
                packet[changed] ^= 1;
                let intact = form
                    .read(&packet)
                    .is_ok_and(|recognized| form.has_intact_header(recognized, address, &packet));
                assert!(!intact, "{way:?}, byte {changed}");
            }
        }
    }

    #[test]
    fn sizes_are_told_apart() {
        let address: SocketAddr = "[::1]:4000".parse().unwrap();
        let sizes = [124, 570, 1518];
        let form = PacketForm::new(&recipe(UP, address.ip()), &sizes).unwrap();
        for (index, bytes) in sizes.into_iter().enumerate() {
            let mut packet = BytesMut::new();
            form.write(index, address, STAMP, &mut packet);
            assert_eq!(packet.len(), bytes);
            assert_eq!(form.read(&packet).map(|packet| packet.size), Ok(index));
        }
    }

    #[test]
    fn an_address_of_the_other_ip_version_does_not_suit() {
        let (form, address) = form(Way::Echo, 100, "127.0.0.1:1");
        assert!(form.suits(address));
        assert!(!form.suits("[::1]:1".parse().unwrap()));
    }

    #[test]
    fn an_scmp_message_is_told_from_a_packet() {
        let (form, _) = form(Way::Echo, 100, "127.0.0.1:4000");
        let address = ScionAddress {
            isd_as: DEFAULT_ISD_AS,
            ip: "127.0.0.1".parse().unwrap(),
        };
        let mut scmp = Vec::new();
        PacketBuilder::new(address, address)
            .append_echo_reply(1, 2, b"x", &mut scmp)
            .unwrap();
        assert_eq!(form.read(&scmp), Err(NotOurs::Scmp));
    }
}
