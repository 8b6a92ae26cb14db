//! UDP datagrams in IP packets with chosen headers, and a raw socket that sends them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Default TTL and hop limit of Linux.
pub const DEFAULT_HOP_LIMIT: u8 = 64;

/// Protocol of raw sockets that send whole IP packets (raw(7)).
const IPPROTO_RAW: i32 = 255;
const UDP: u8 = 17;
const UDP_HEADER_BYTES: usize = 8;

/// An IPv6 extension header with eight bytes of padding options (RFC 8200, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options; must come first.
    HopByHop,
    /// Destination options.
    DestinationOptions,
}

impl Extension {
    const fn next_header(self) -> u8 {
        match self {
            Self::HopByHop => 0,
            Self::DestinationOptions => 60,
        }
    }
}

/// A UDP datagram and the IP headers below it. UDP checksum and lengths are correct.
#[derive(Clone, Debug)]
pub struct Datagram<'a> {
    /// Source address, which may be forged. Of the same IP version as `to`.
    pub from: SocketAddr,
    /// Destination address.
    pub to: SocketAddr,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// TOS or traffic class.
    pub traffic_class: u8,
    /// Extension headers, in this order; IPv6 only.
    pub extensions: &'a [Extension],
    /// UDP payload.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Creates a datagram with the headers of an ordinary socket at `from`.
    #[must_use]
    pub const fn new(from: SocketAddr, to: SocketAddr, payload: &'a [u8]) -> Self {
        Self {
            from,
            to,
            hop_limit: DEFAULT_HOP_LIMIT,
            traffic_class: 0,
            extensions: &[],
            payload,
        }
    }

    /// Returns the whole IP packet: with DF and ID 0 over IPv4, as from an unconnected socket, and with flow label 0
    /// over IPv6.
    ///
    /// # Panics
    ///
    /// If the addresses have two IP versions, an IPv4 packet has extensions, or the payload does not fit.
    #[must_use]
    pub fn to_ip_packet(&self) -> Vec<u8> {
        match (self.from, self.to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => self.to_ipv4(from, to),
            (SocketAddr::V6(from), SocketAddr::V6(to)) => self.to_ipv6(from, to),
            mixed => panic!("addresses of two IP versions: {mixed:?}"),
        }
    }

    fn to_ipv4(&self, from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
        assert!(self.extensions.is_empty(), "IPv4 has no extension headers");
        let udp = self.udp();
        let mut packet = vec![0x45, self.traffic_class];
        packet.extend_from_slice(&length(20 + udp.len()));
        // ID; don't fragment.
        packet.extend_from_slice(&[0, 0, 0x40, 0]);
        // The kernel writes the header checksum (raw(7)).
        packet.extend_from_slice(&[self.hop_limit, UDP, 0, 0]);
        packet.extend_from_slice(&from.ip().octets());
        packet.extend_from_slice(&to.ip().octets());
        packet.extend_from_slice(&udp);
        packet
    }

    fn to_ipv6(&self, from: SocketAddrV6, to: SocketAddrV6) -> Vec<u8> {
        let udp = self.udp();
        let next_headers: Vec<u8> = self
            .extensions
            .iter()
            .map(|extension| extension.next_header())
            .chain([UDP])
            .collect();
        // Version, traffic class, flow label.
        let first_word = 6 << 28 | u32::from(self.traffic_class) << 20;
        let mut packet = first_word.to_be_bytes().to_vec();
        packet.extend_from_slice(&length(8 * self.extensions.len() + udp.len()));
        packet.extend_from_slice(&[next_headers[0], self.hop_limit]);
        packet.extend_from_slice(&from.ip().octets());
        packet.extend_from_slice(&to.ip().octets());
        for next_header in &next_headers[1..] {
            // Length after the first 8 bytes; then PadN of 4 bytes.
            packet.extend_from_slice(&[*next_header, 0, 1, 4, 0, 0, 0, 0]);
        }
        packet.extend_from_slice(&udp);
        packet
    }

    /// Returns the UDP header and the payload.
    fn udp(&self) -> Vec<u8> {
        let bytes = length(UDP_HEADER_BYTES + self.payload.len());
        let mut udp = Vec::with_capacity(UDP_HEADER_BYTES + self.payload.len());
        udp.extend_from_slice(&self.from.port().to_be_bytes());
        udp.extend_from_slice(&self.to.port().to_be_bytes());
        udp.extend_from_slice(&bytes);
        udp.extend_from_slice(&[0, 0]);
        udp.extend_from_slice(self.payload);
        let checksum = self.checksum(&udp).to_be_bytes();
        udp[6..8].copy_from_slice(&checksum);
        udp
    }

    /// UDP checksum: RFC 768, and RFC 8200, section 8.1.
    fn checksum(&self, udp: &[u8]) -> u16 {
        let mut sum = udp.len() as u64 + u64::from(UDP);
        for ip in [self.from.ip(), self.to.ip()] {
            sum += match ip {
                IpAddr::V4(ip) => sum_of_words(&ip.octets()),
                IpAddr::V6(ip) => sum_of_words(&ip.octets()),
            };
        }
        sum += sum_of_words(udp);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        // 0 means "no checksum".
        match !(sum as u16) {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

fn sum_of_words(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|word| u64::from(word[0]) << 8 | u64::from(word.get(1).copied().unwrap_or(0)))
        .sum()
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes)
        .expect("packet shorter than 64 KiB")
        .to_be_bytes()
}

/// Raw sockets for whole IP packets of both versions, in the network namespace of the creating thread.
#[derive(Debug)]
pub struct RawSender {
    ipv4: Socket,
    ipv6: Socket,
}

impl RawSender {
    /// Opens the sockets.
    ///
    /// # Panics
    ///
    /// If the process lacks CAP_NET_RAW.
    #[must_use]
    pub fn new() -> Self {
        let [ipv4, ipv6] = [Domain::IPV4, Domain::IPV6].map(|domain| {
            let protocol = Protocol::from(IPPROTO_RAW);
            Socket::new(domain, Type::RAW, Some(protocol))
                .expect("raw sockets need CAP_NET_RAW: run as root")
        });
        Self { ipv4, ipv6 }
    }

    /// Sends a datagram.
    pub fn send(&self, datagram: &Datagram<'_>) {
        self.send_ip_packet(&datagram.to_ip_packet());
    }

    /// Sends an IP packet made by [`Datagram::to_ip_packet`]. The packet is lost if the kernel's buffers are full.
    ///
    /// # Panics
    ///
    /// If the kernel rejects it for another reason.
    pub fn send_ip_packet(&self, packet: &[u8]) {
        let (socket, to) = match packet[0] >> 4 {
            4 => {
                let octets: [u8; 4] = packet[16..20].try_into().expect("4 bytes");
                (&self.ipv4, IpAddr::from(Ipv4Addr::from(octets)))
            }
            _ => {
                let octets: [u8; 16] = packet[24..40].try_into().expect("16 bytes");
                (&self.ipv6, IpAddr::from(Ipv6Addr::from(octets)))
            }
        };
        // The port is in the packet; a raw IPv6 socket accepts only 0 here.
        let to = SockAddr::from(SocketAddr::new(to, 0));
        match socket.send_to(packet, &to) {
            Ok(sent) => assert_eq!(sent, packet.len()),
            Err(error) if is_full(&error) => {}
            Err(error) => panic!("send an IP packet: {error}"),
        }
    }
}

impl Default for RawSender {
    fn default() -> Self {
        Self::new()
    }
}

fn is_full(error: &io::Error) -> bool {
    // ENOBUFS
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(105)
}
