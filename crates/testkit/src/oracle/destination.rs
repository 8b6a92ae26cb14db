//! Parser for the destination of a SCION packet: the oracle for the BPF program of the upstream group.

use std::net::{IpAddr, SocketAddr};

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of SCION's hop-by-hop options.
pub const HOP_BY_HOP: u8 = 200;
/// Protocol number of SCION's end-to-end options.
pub const END_TO_END: u8 = 201;
/// Protocol number of SCMP.
pub const SCMP: u8 = 202;

/// Returns destination host and port of a packet, which select the worker.
#[must_use]
pub fn destination_of(packet: &[u8]) -> Option<SocketAddr> {
    if packet.len() < 36 || packet[0] >> 4 != 0 {
        return None;
    }
    let (dst_end, ip): (usize, IpAddr) = match packet[9] >> 4 {
        0 => (32, <[u8; 4]>::try_from(&packet[28..32]).ok()?.into()),
        3 => (44, <[u8; 16]>::try_from(packet.get(28..44)?).ok()?.into()),
        _ => return None,
    };
    // The shortest source host has 4 bytes.
    if usize::from(packet[5]) * 4 < dst_end + 4 {
        return None;
    }
    let (number, upper) = upper_layer(packet)?;
    let port = match number {
        UDP | TCP => half(upper, 2).filter(|_| upper.len() >= 4)?,
        SCMP if upper.len() < 6 => return None,
        SCMP => match upper[0] {
            128..=131 => half(upper, 4)?,
            1 | 2 | 4 => quoted_port(upper.get(8..)?)?,
            5 => quoted_port(upper.get(20..)?)?,
            6 => quoted_port(upper.get(28..)?)?,
            _ => return None,
        },
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Returns the source port of a quoted packet.
fn quoted_port(quoted: &[u8]) -> Option<u16> {
    let (number, upper) = upper_layer(quoted)?;
    match number {
        UDP | TCP => half(upper, 0),
        SCMP if matches!(upper.first()?, 128 | 130) => half(upper, 4),
        _ => None,
    }
}

/// Returns protocol number and bytes of the upper layer, after the extension headers.
fn upper_layer(packet: &[u8]) -> Option<(u8, &[u8])> {
    let mut number = *packet.get(4)?;
    let mut rest = packet.get(usize::from(*packet.get(5)?) * 4..)?;
    for extension in [HOP_BY_HOP, END_TO_END] {
        if number == extension {
            let &[next, length, ..] = rest else {
                return None;
            };
            number = next;
            rest = rest.get((usize::from(length) + 1) * 4..)?;
        }
    }
    Some((number, rest))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
