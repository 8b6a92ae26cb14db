//! The programs of socket groups, against what userspace does with the same datagram.

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
use crate::destination::destination_of;
use crate::shard::{In, Shard};

const UDP: u8 = 17;
const UDP_HEADER_BYTES: usize = 8;

/// Sends a datagram to a group of sockets; `data` says of which kind.
pub fn run(data: &[u8]) {
    // An error: the input is too short to say it.
    let _too_short = send(&mut Unstructured::new(data));
}

fn send(input: &mut Unstructured<'_>) -> Result<()> {
    let kind: u8 = input.arbitrary()?;
    let group = Group {
        key: DispatchKey::from_words(input.arbitrary()?),
        workers: input.arbitrary::<u8>()?.max(1),
    };
    if kind.is_multiple_of(2) {
        group.check_upstream(input.take_rest_of());
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
    let payload = input.take_rest_of();
    header.packet.extend_from_slice(payload);
    let from = SocketAddr::new(header.source, if header.hides_port { 0 } else { port });
    group.check_tunnel(&header.packet, udp_header, from);
    check_filter(&header.packet, udp_header);
    Ok(())
}

trait TakeRest<'a> {
    fn take_rest_of(&mut self) -> &'a [u8];
}

impl<'a> TakeRest<'a> for Unstructured<'a> {
    fn take_rest_of(&mut self) -> &'a [u8] {
        self.bytes(self.len()).unwrap_or_default()
    }
}

/// An IP header, and what userspace knows of it.
struct IpHeader {
    packet: Vec<u8>,
    source: IpAddr,
    /// The port is behind extension headers, which the program does not walk over.
    hides_port: bool,
}

/// With up to ten words of options.
fn ipv4_header(input: &mut Unstructured<'_>) -> Result<IpHeader> {
    let words: u8 = 5 + input.arbitrary::<u8>()? % 11;
    let source: [u8; 4] = input.arbitrary()?;
    let mut packet = vec![0xee; 4 * usize::from(words)];
    packet[0] = 0x40 | words;
    packet[12..16].copy_from_slice(&source);
    Ok(IpHeader {
        packet,
        source: Ipv4Addr::from(source).into(),
        hides_port: false,
    })
}

/// With up to three words of two words each as extensions.
fn ipv6_header(input: &mut Unstructured<'_>) -> Result<IpHeader> {
    let extensions = usize::from(input.arbitrary::<u8>()? % 4);
    let source: [u8; 16] = input.arbitrary()?;
    let mut packet = vec![0xee; 40 + 8 * extensions];
    packet[0] = 0x60;
    // 60: destination options (RFC 8200, section 4.6).
    packet[6] = if extensions == 0 { UDP } else { 60 };
    packet[8..24].copy_from_slice(&source);
    Ok(IpHeader {
        packet,
        source: Ipv6Addr::from(source).into(),
        hides_port: extensions > 0,
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

    /// Data goes to the worker that owns its sender, handshakes to the worker's other socket, and what is
    /// no message to the last socket.
    fn check_tunnel(&self, packet: &[u8], udp_header: usize, from: SocketAddr) {
        let program = programs::tunnel_dispatch(&self.key, self.workers, from.is_ipv6());
        let start = udp_header + UDP_HEADER_BYTES;
        let socket = run_program(&program, packet, start);
        let owner = self.worker_of(from);
        let workers = u32::from(self.workers);
        let expected = match message_kind(&packet[start..]) {
            Some(Kind::Data) => owner,
            Some(Kind::Handshake) => workers + owner,
            None => 2 * workers,
        };
        assert_eq!(socket, expected, "a datagram from {from}");
        if expected == 2 * workers {
            assert_is_malformed(&packet[start..], from);
        }
    }

    /// A packet goes to the worker that owns its destination, as the shard and the SCION view name it.
    fn check_upstream(&self, packet: &[u8]) {
        let program = programs::upstream_dispatch(&self.key, self.workers);
        let socket = run_program(&program, packet, 0);
        let expected = destination_of(packet).map_or(u32::MAX, |to| self.worker_of(to));
        assert_eq!(socket, expected);
        let Ok(view) = ScionPacket::parse(packet) else {
            return;
        };
        if let (Host::Ip(ip), Ok(port)) = (view.dst_host(), delivery_port(&view)) {
            let owner = self.worker_of(SocketAddr::new(ip, port));
            assert_eq!(socket, owner, "the packet would be handed over");
        }
    }
}

/// What the kernel drops is no message to a shard either.
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

/// The filter of a socket without a program keeps what the program keeps.
fn check_filter(packet: &[u8], udp_header: usize) {
    let kept = run_program(&programs::garbage_filter(), packet, udp_header);
    let payload = &packet[udp_header + UDP_HEADER_BYTES..];
    let expected = if message_kind(payload).is_some() {
        u32::MAX
    } else {
        0
    };
    assert_eq!(kept, expected);
}

#[derive(Clone, Copy)]
enum Kind {
    Data,
    Handshake,
}

/// The kind of the message that `train` begins with: its length can be that of many.
fn message_kind(train: &[u8]) -> Option<Kind> {
    let (kind, bytes_min) = match train.first_chunk()? {
        [1, 0, 0, 0] => (Kind::Handshake, 148),
        [2, 0, 0, 0] => (Kind::Handshake, 112),
        [3, 0, 0, 0] => (Kind::Handshake, 64),
        [4, 0, 0, 0] => (Kind::Data, 32),
        _ => return None,
    };
    (train.len() >= bytes_min).then_some(kind)
}

fn run_program(program: &[sock_filter], packet: &[u8], start: usize) -> u32 {
    cbpf_machine::run(program, &Datagram { packet, start })
}
