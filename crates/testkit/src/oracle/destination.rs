//! The reader that is the oracle for the program of the upstream group.

use std::net::{IpAddr, SocketAddr};

/// The protocol number of TCP.
pub const TCP: u8 = 6;
/// The protocol number of UDP.
pub const UDP: u8 = 17;
/// That of SCION's hop-by-hop options.
pub const HOP_BY_HOP: u8 = 200;
/// That of SCION's end-to-end options.
pub const END_TO_END: u8 = 201;
/// That of SCMP.
pub const SCMP: u8 = 202;

/// The worker's address in a packet: destination host and port.
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
    // At least the shortest source host follows.
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

/// The port of the sender of a quoted packet.
fn quoted_port(quoted: &[u8]) -> Option<u16> {
    let (number, upper) = upper_layer(quoted)?;
    match number {
        UDP | TCP => half(upper, 0),
        SCMP if matches!(upper.first()?, 128 | 130) => half(upper, 4),
        _ => None,
    }
}

/// Number and bytes of what follows the header and its extensions.
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
