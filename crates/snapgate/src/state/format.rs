//! The bytes of the state file.
//!
//! ```text
//! file   = header frame*
//! header = "snapgate" (8) | version (4) | the gateway's public key (32) | check (16)
//! frame  = length of the body (4) | body | check (16)
//! body   = boot (16) | boot time (8) | latest stamp (8) | change*
//! change = 1 | address | identity (32) | heard at (8)      seen, IPv4
//!        | 2 | address | identity (32) | heard at (8)      seen, IPv6
//!        | 3 | address                                     gone, IPv4
//!        | 4 | address                                     gone, IPv6
//! address = IP address (4 or 16) | port (2), for IPv6 also | flow information (4) | scope (4)
//! ```
//!
//! Numbers are little-endian, times are nanoseconds. A check is 16 bytes of BLAKE2s over the check before it
//! and all that it follows, so that a frame is worth something only behind those that it was written behind:
//! what is cut off, overwritten or put together from several files ends where it stops making sense, and
//! everything before that is what the file once was.

use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::{Blake2s, Digest};

use crate::state::clock::{BootId, Moment};

const MAGIC: [u8; 8] = *b"snapgate";
const VERSION: u32 = 1;

/// A frame of more changes is several.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The longest change: an IPv6 tunnel that was seen.
pub(crate) const CHANGE_BYTES_MAX: usize = 1 + 16 + 2 + 4 + 4 + 32 + 8;

/// A tunnel as the file has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) identity: [u8; 32],
    /// By the clock since the boot of the frame.
    pub(crate) heard_at: Duration,
}

/// One entry of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Seen { remote: SocketAddr, record: Record },
    Gone { remote: SocketAddr },
}

/// What stops the reader of a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it is no state file of snapgate")]
    NotAStateFile,
    #[error("it has the format {0}, and this version of snapgate writes the format {VERSION}")]
    Version(u32),
    #[error("it is that of a gateway with another private key")]
    AnotherGateway,
    /// A write that was not finished leaves this.
    #[error("it is cut off after {0} bytes")]
    CutOff(u64),
    #[error("it is damaged after {0} bytes")]
    Damaged(u64),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The check behind what was written or read last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Check([u8; 16]);

impl Check {
    fn of(before: &[u8], parts: [&[u8]; 2]) -> Self {
        let mut hash = Blake2s::<U16>::new();
        hash.update(before);
        for part in parts {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

/// The beginning of a file, and its check.
pub(crate) fn write_header(public_key: &[u8; 32]) -> (Vec<u8>, Check) {
    let mut header = Vec::from(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend(public_key);
    let check = Check::of(&[], [&header, &[]]);
    header.extend(check.0);
    (header, check)
}

/// Appends changes to `out` that follow what `check` is of: one frame at least, for the moment itself.
pub(crate) fn write_frames(
    check: &mut Check,
    moment: &Moment,
    changes: impl IntoIterator<Item = Change>,
    out: &mut Vec<u8>,
) {
    let mut changes = changes.into_iter().peekable();
    loop {
        let length_at = out.len();
        out.extend([0; 4]);
        let body_at = out.len();
        out.extend(moment.boot);
        out.extend(nanoseconds(moment.boottime));
        out.extend(nanoseconds(moment.latest_stamp));
        while out.len() - body_at <= BODY_BYTES_MAX - CHANGE_BYTES_MAX
            && let Some(change) = changes.next()
        {
            write_change(&change, out);
        }
        let length = u32::try_from(out.len() - body_at).unwrap_or(u32::MAX);
        out[length_at..body_at].copy_from_slice(&length.to_le_bytes());
        *check = Check::of(&check.0, [&out[length_at..], &[]]);
        out.extend(check.0);
        if changes.peek().is_none() {
            return;
        }
    }
}

fn write_change(change: &Change, out: &mut Vec<u8>) {
    let (kind, remote, record) = match change {
        Change::Seen { remote, record } => (1, remote, Some(record)),
        Change::Gone { remote } => (3, remote, None),
    };
    match remote {
        SocketAddr::V4(remote) => {
            out.push(kind);
            out.extend(remote.ip().octets());
            out.extend(remote.port().to_le_bytes());
        }
        SocketAddr::V6(remote) => {
            out.push(kind + 1);
            out.extend(remote.ip().octets());
            out.extend(remote.port().to_le_bytes());
            out.extend(remote.flowinfo().to_le_bytes());
            out.extend(remote.scope_id().to_le_bytes());
        }
    }
    if let Some(record) = record {
        out.extend(record.identity);
        out.extend(nanoseconds(record.heard_at));
    }
}

/// Wide enough for 584 years.
fn nanoseconds(time: Duration) -> [u8; 8] {
    u64::try_from(time.as_nanos())
        .unwrap_or(u64::MAX)
        .to_le_bytes()
}

/// Reads a file, frame by frame, up to its end or what stops the reader.
pub(crate) struct FrameReader<R> {
    source: R,
    check: Check,
    bytes_read: u64,
}

/// A frame that is whole.
pub(crate) struct Frame {
    pub(crate) moment: Moment,
    pub(crate) changes: Vec<Change>,
}

impl<R: Read> FrameReader<R> {
    /// Reads the header.
    pub(crate) fn new(mut source: R, public_key: &[u8; 32]) -> Result<Self, Unreadable> {
        let (expected, check) = write_header(public_key);
        let mut header = vec![0; expected.len()];
        let read = read_up_to(&mut source, &mut header)?;
        let mut rest = &header[..read];
        if take(&mut rest) != Some(MAGIC) {
            return Err(Unreadable::NotAStateFile);
        }
        match take(&mut rest).map(u32::from_le_bytes) {
            Some(VERSION) => {}
            Some(other) => return Err(Unreadable::Version(other)),
            None => return Err(Unreadable::Damaged(0)),
        }
        let key: Option<[u8; 32]> = take(&mut rest);
        if header == expected {
            return Ok(Self {
                source,
                check,
                bytes_read: read as u64,
            });
        }
        match key {
            Some(key) if write_header(&key).0 == header => Err(Unreadable::AnotherGateway),
            _ => Err(Unreadable::Damaged(0)),
        }
    }

    /// The next frame; `None` at the end of the file.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, Unreadable> {
        let mut length = [0; 4];
        match read_up_to(&mut self.source, &mut length)? {
            0 => return Ok(None),
            4 => {}
            _ => return Err(Unreadable::CutOff(self.bytes_read)),
        }
        let body_bytes = u32::from_le_bytes(length) as usize;
        if body_bytes > BODY_BYTES_MAX {
            return Err(Unreadable::Damaged(self.bytes_read));
        }
        let mut body = vec![0; body_bytes];
        let mut found = [0; 16];
        let read =
            read_up_to(&mut self.source, &mut body)? + read_up_to(&mut self.source, &mut found)?;
        if read < body_bytes + found.len() {
            return Err(Unreadable::CutOff(self.bytes_read));
        }
        let check = Check::of(&self.check.0, [&length, &body]);
        let frame = read_body(&body).filter(|_| check.0 == found);
        let Some(frame) = frame else {
            return Err(Unreadable::Damaged(self.bytes_read));
        };
        self.check = check;
        self.bytes_read += (length.len() + read) as u64;
        Ok(Some(frame))
    }
}

fn read_body(mut body: &[u8]) -> Option<Frame> {
    let body = &mut body;
    let boot: BootId = take(body)?;
    let moment = Moment {
        boot,
        boottime: take_time(body)?,
        latest_stamp: take_time(body)?,
    };
    let mut changes = Vec::new();
    while !body.is_empty() {
        changes.push(read_change(body)?);
    }
    Some(Frame { moment, changes })
}

fn read_change(body: &mut &[u8]) -> Option<Change> {
    let [kind] = take(body)?;
    let remote = match kind {
        1 | 3 => {
            let ip = Ipv4Addr::from(take::<4>(body)?);
            SocketAddrV4::new(ip, u16::from_le_bytes(take(body)?)).into()
        }
        2 | 4 => {
            let ip = Ipv6Addr::from(take::<16>(body)?);
            let port = u16::from_le_bytes(take(body)?);
            let flow = u32::from_le_bytes(take(body)?);
            SocketAddrV6::new(ip, port, flow, u32::from_le_bytes(take(body)?)).into()
        }
        _ => return None,
    };
    if kind > 2 {
        return Some(Change::Gone { remote });
    }
    let record = Record {
        identity: take(body)?,
        heard_at: take_time(body)?,
    };
    Some(Change::Seen { remote, record })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    bytes.split_off(..N)?.try_into().ok()
}

fn take_time(bytes: &mut &[u8]) -> Option<Duration> {
    take(bytes)
        .map(u64::from_le_bytes)
        .map(Duration::from_nanos)
}

/// Fills `buffer`, or as much of it as there is.
fn read_up_to(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
