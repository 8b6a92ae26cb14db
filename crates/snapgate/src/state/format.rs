//! Format of the state file.
//!
//! ```text
//! file   = "snapgate" (8) | version (4) | the gateway's public key (32)
//!        | boot (16) | boot time (8) | latest stamp (8) | record* | check (16)
//! record = 4 | IPv4 address (4) | port (2) | identity (32) | heard at (8)
//!        | 6 | IPv6 address (16) | port (2) | flow information (4) | scope (4) | identity (32) | heard at (8)
//! ```
//!
//! Numbers are little-endian, times are nanoseconds. The check is the 16-byte BLAKE2s hash of everything before it, so
//! a truncated or changed file is rejected as a whole.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::{Blake2s, Digest};

use crate::state::clock::Moment;

const MAGIC: [u8; 8] = *b"snapgate";
const VERSION: u32 = 2;

const CHECK_BYTES: usize = 16;

/// Maximum size of a record: that of an IPv6 tunnel.
const RECORD_BYTES_MAX: usize = 1 + 16 + 2 + 4 + 4 + 32 + 8;

/// A tunnel in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) identity: [u8; 32],
    /// Time since the boot of the file's moment.
    pub(crate) heard_at: Duration,
}

/// Content of a file.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Content {
    pub(crate) moment: Moment,
    pub(crate) records: Vec<(SocketAddr, Record)>,
}

/// Reason why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("not a snapgate state file")]
    NotAStateFile,
    #[error("format {0}, expected format {VERSION}")]
    Version(u32),
    #[error("belongs to a different private key")]
    AnotherGateway,
    #[error("damaged")]
    Damaged,
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    Blake2s::<U16>::digest(bytes).into()
}

/// Returns a file with these records.
pub(crate) fn write<'a>(
    public_key: &[u8; 32],
    moment: &Moment,
    records: impl ExactSizeIterator<Item = (&'a SocketAddr, &'a Record)>,
) -> Vec<u8> {
    let mut file = Vec::with_capacity(100 + records.len() * RECORD_BYTES_MAX);
    file.extend(MAGIC);
    file.extend(VERSION.to_le_bytes());
    file.extend(public_key);
    file.extend(moment.boot);
    file.extend(nanoseconds(moment.boottime));
    file.extend(nanoseconds(moment.latest_stamp));
    for (remote, record) in records {
        match remote {
            SocketAddr::V4(remote) => {
                file.push(4);
                file.extend(remote.ip().octets());
                file.extend(remote.port().to_le_bytes());
            }
            SocketAddr::V6(remote) => {
                file.push(6);
                file.extend(remote.ip().octets());
                file.extend(remote.port().to_le_bytes());
                file.extend(remote.flowinfo().to_le_bytes());
                file.extend(remote.scope_id().to_le_bytes());
            }
        }
        file.extend(record.identity);
        file.extend(nanoseconds(record.heard_at));
    }
    file.extend(check(&file));
    file
}

/// Encodes a time; 64 bits are enough for 584 years.
fn nanoseconds(time: Duration) -> [u8; 8] {
    u64::try_from(time.as_nanos())
        .unwrap_or(u64::MAX)
        .to_le_bytes()
}

/// Parses a file.
pub(crate) fn read(file: &[u8], public_key: &[u8; 32]) -> Result<Content, Unreadable> {
    let mut rest = file;
    if take(&mut rest) != Some(MAGIC) {
        return Err(Unreadable::NotAStateFile);
    }
    match take(&mut rest).map(u32::from_le_bytes) {
        Some(VERSION) => {}
        Some(other) => return Err(Unreadable::Version(other)),
        None => return Err(Unreadable::Damaged),
    }
    let (mut body, found) = rest.split_last_chunk().ok_or(Unreadable::Damaged)?;
    if check(&file[..file.len() - CHECK_BYTES]) != *found {
        return Err(Unreadable::Damaged);
    }
    let key: [u8; 32] = take(&mut body).ok_or(Unreadable::Damaged)?;
    if key != *public_key {
        return Err(Unreadable::AnotherGateway);
    }
    read_content(body).ok_or(Unreadable::Damaged)
}

fn read_content(mut body: &[u8]) -> Option<Content> {
    let body = &mut body;
    let moment = Moment {
        boot: take(body)?,
        boottime: take_time(body)?,
        latest_stamp: take_time(body)?,
    };
    let mut records = Vec::with_capacity(body.len() / RECORD_BYTES_MAX);
    while !body.is_empty() {
        records.push(read_record(body)?);
    }
    Some(Content { moment, records })
}

fn read_record(body: &mut &[u8]) -> Option<(SocketAddr, Record)> {
    let remote = match take(body)? {
        [4] => {
            let ip = Ipv4Addr::from(take::<4>(body)?);
            SocketAddrV4::new(ip, u16::from_le_bytes(take(body)?)).into()
        }
        [6] => {
            let ip = Ipv6Addr::from(take::<16>(body)?);
            let port = u16::from_le_bytes(take(body)?);
            let flow = u32::from_le_bytes(take(body)?);
            SocketAddrV6::new(ip, port, flow, u32::from_le_bytes(take(body)?)).into()
        }
        _ => return None,
    };
    let record = Record {
        identity: take(body)?,
        heard_at: take_time(body)?,
    };
    Some((remote, record))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    bytes.split_off(..N)?.try_into().ok()
}

fn take_time(bytes: &mut &[u8]) -> Option<Duration> {
    take(bytes)
        .map(u64::from_le_bytes)
        .map(Duration::from_nanos)
}

#[cfg(test)]
mod tests;
