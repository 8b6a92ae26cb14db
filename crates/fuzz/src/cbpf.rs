//! The programs of socket groups, compared with userspace.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Instant;

use arbitrary::{Result, Unstructured};
use libc::sock_filter;
use scion_packet::{Host, ScionPacket, delivery_port};
use snaptun::{DropReason, Endpoint, ShardConfig, Via};
use udp_shards::{DispatchKey, programs};

use crate::cbpf_machine::{self, Datagram};
use testkit::oracle::destination::destination_of;
use testkit::shard::{In, Shard};

const UDP: u8 = 17;
const UDP_HEADER_BYTES: usize = 8;

/// Sends a datagram to a group of sockets, both encoded in `data`.
pub fn run(data: &[u8]) {
    // An input too short to decode is skipped.
    let _too_short = send(&mut Unstructured::new(data));
}

fn send(input: &mut Unstructured<'_>) -> Result<()> {
    let kind: u8 = input.arbitrary()?;
    let group = Group {
        key: DispatchKey::from_words(input.arbitrary()?),
        workers: input.arbitrary::<u8>()?.max(1),
    };
    if kind.is_multiple_of(2) {
        group.check_upstream(rest(input));
        return Ok(());
    }
    let ipv6 = kind & 2 != 0;
    let mut header = if ipv6 {
        ipv6_header(input)?
    } else {
        ipv4_header(input)?
    };
    let udp_header = header.packet.len();
    let port: u16 = input.arbitrary()?;
    header.packet.extend_from_slice(&port.to_be_bytes());
    header.packet.resize(udp_header + UDP_HEADER_BYTES, 0);
    let payload = rest(input);
    header.packet.extend_from_slice(payload);
    let from = SocketAddr::new(header.source, port);
    group.check_tunnel(&header.packet, udp_header, from, header.is_readable);
    check_filter(&header.packet, udp_header);
    Ok(())
}

fn rest<'a>(input: &mut Unstructured<'a>) -> &'a [u8] {
    input.bytes(input.len()).unwrap_or_default()
}

/// An IP header, its source, and the expected result.
struct IpHeader {
    packet: Vec<u8>,
    source: IpAddr,
    /// True if the program finds the UDP header.
    is_readable: bool,
}

/// Decodes an IPv4 header with up to ten words of options.
fn ipv4_header(input: &mut Unstructured<'_>) -> Result<IpHeader> {
    let words: u8 = 5 + input.arbitrary::<u8>()? % 11;
    let source: [u8; 4] = input.arbitrary()?;
    let mut packet = vec![0xee; 4 * usize::from(words)];
    packet[0] = 0x40 | words;
    packet[12..16].copy_from_slice(&source);
    Ok(IpHeader {
        packet,
        source: Ipv4Addr::from(source).into(),
        is_readable: true,
    })
}

/// Decodes an IPv6 header with up to seven extension headers, of which the program skips five.
fn ipv6_header(input: &mut Unstructured<'_>) -> Result<IpHeader> {
    /// Hop-by-hop options, routing, fragment, destination options (RFC 8200, section 4), and
    /// authentication (RFC 4302), which the program does not know.
    const EXTENSIONS: [u8; 5] = [0, 43, FRAGMENT, 60, AUTHENTICATION];
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const SKIPPED_MAX: u8 = 5;

    let extensions = input.arbitrary::<u8>()? % 8;
    let source: [u8; 16] = input.arbitrary()?;
    let mut packet = vec![0xee; 40];
    packet[0] = 0x60;
    packet[8..24].copy_from_slice(&source);
    let mut is_readable = extensions <= SKIPPED_MAX;
    let mut next_header = 6;
    for _ in 0..extensions {
        let choice: u8 = input.arbitrary()?;
        let extension = EXTENSIONS[usize::from(choice) % EXTENSIONS.len()];
        is_readable &= extension != AUTHENTICATION;
        packet[next_header] = extension;
        next_header = packet.len();
        // The second byte is the length in units of 8 bytes, excluding the first 8; it is reserved in
        // fragment headers.
        let more = choice >> 5;
        let bytes = if extension == FRAGMENT {
            8
        } else {
            8 * (1 + usize::from(more))
        };
        packet.resize(next_header + bytes, 0xee);
        packet[next_header + 1] = more;
    }
    packet[next_header] = UDP;
    Ok(IpHeader {
        packet,
        source: Ipv6Addr::from(source).into(),
        is_readable,
    })
}

struct Group {
    key: DispatchKey,
    workers: u8,
}

impl Group {
    fn worker_of(&self, address: SocketAddr) -> u32 {
        let workers = NonZeroUsize::new(self.workers.into()).expect("at least one");
        self.key.worker_of(address, workers) as u32
    }

    /// Asserts that trains that cannot hold a message go to the last socket, and all others to the socket for their
    /// kind of the worker that owns the sender.
    fn check_tunnel(&self, packet: &[u8], udp_header: usize, from: SocketAddr, is_readable: bool) {
        let program = programs::tunnel_dispatch(&self.key, self.workers, from.is_ipv6());
        let start = udp_header + UDP_HEADER_BYTES;
        let socket = run_program(&program, packet, start);
        let owner = self.worker_of(from);
        let workers = u32::from(self.workers);
        let payload = &packet[start..];
        let expected = match Train::of(payload) {
            Train::Garbage => 3 * workers,
            _ if !is_readable => 3 * workers,
            Train::Data => owner,
            Train::Handshake => workers + owner,
            Train::Mixed => 2 * workers + owner,
        };
        assert_eq!(socket, expected, "a datagram from {from}");
        if Train::of(payload) == Train::Garbage {
            assert_holds_no_message(payload, from);
        }
    }

    /// Asserts that a packet goes to the worker that owns its destination as `scion-packet` reads it, or to any worker.
    fn check_upstream(&self, packet: &[u8]) {
        let program = programs::upstream_dispatch(&self.key, self.workers);
        let socket = run_program(&program, packet, 0);
        match destination_of(packet) {
            Some(to) => assert_eq!(socket, self.worker_of(to)),
            None => assert!(socket < u32::from(self.workers), "a socket of a worker"),
        }
        let Ok(view) = ScionPacket::parse(packet) else {
            return;
        };
        if let (Host::Ip(ip), Ok(port)) = (view.dst_host(), delivery_port(&view)) {
            let owner = self.worker_of(SocketAddr::new(ip, port));
            assert_eq!(socket, owner, "the packet arrives at the wrong worker");
        }
    }
}

/// Asserts that a train that the kernel drops holds no message, for all ways to split it into datagrams.
fn assert_holds_no_message(train: &[u8], from: SocketAddr) {
    for segment_size in 1..=train.len().max(1) {
        for datagram in train.chunks(segment_size) {
            assert_is_malformed(datagram, from);
        }
    }
}

fn assert_is_malformed(payload: &[u8], from: SocketAddr) {
    thread_local! {
        static SHARD: RefCell<Shard> =
            RefCell::new(Shard::new(Instant::now(), ShardConfig::default()));
    }
    let from = Endpoint {
        remote: from,
        via: Via::default(),
    };
    let fate = SHARD.with_borrow_mut(|shard| shard.incoming(payload, from));
    assert_eq!(fate, In::Dropped(DropReason::Malformed));
}

/// Asserts that the filter for userspace dispatch keeps the trains that the dispatch program keeps.
fn check_filter(packet: &[u8], udp_header: usize) {
    let kept = run_program(&programs::garbage_filter(), packet, udp_header);
    let payload = &packet[udp_header + UDP_HEADER_BYTES..];
    let expected = match Train::of(payload) {
        Train::Garbage => 0,
        Train::Data | Train::Handshake | Train::Mixed => u32::MAX,
    };
    assert_eq!(kept, expected);
}

/// Kind of a train or single datagram, judged by its length and first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Train {
    /// Begins with a data message.
    Data,
    /// Is one handshake message.
    Handshake,
    /// Begins with anything else, and may hold messages.
    Mixed,
    /// Holds no message.
    Garbage,
}

impl Train {
    fn of(train: &[u8]) -> Self {
        match (train.first_chunk(), train.len()) {
            (_, ..32) => Self::Garbage,
            (Some([4, 0, 0, 0]), _) => Self::Data,
            (Some([1, 0, 0, 0]), 148) | (Some([2, 0, 0, 0]), 112) | (Some([3, 0, 0, 0]), 64) => {
                Self::Handshake
            }
            (_, ..64) => Self::Garbage,
            _ => Self::Mixed,
        }
    }
}

fn run_program(program: &[sock_filter], packet: &[u8], start: usize) -> u32 {
    cbpf_machine::run(program, &Datagram { packet, start })
}
