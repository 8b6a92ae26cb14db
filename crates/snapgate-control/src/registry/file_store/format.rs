//! Format of the registrations file.
//!
//! ```text
//! file     = header | frame*
//! header   = "snapregs" (8) | version (4) | synced (8) | check (4)
//! frame    = length (4) | check (4) | kind (1) | revision (8) | change*
//! change   = 1 | registration | 2 | used token | 3 | revocation          put
//!          | 4 | identity (32) | 5 | token | 6 | selector                remove
//! registration, used token = identity (32) | end | pssid | token
//! revocation               = selector | end
//! selector = 1 | token | 2 | pssid | 3 | identity (32)
//! end      = seconds since 1970 (8) | nanoseconds (4)
//! token, pssid = length (1) | UTF-8
//! ```
//!
//! Numbers are little-endian. `synced` is the length of the file that is known to be on disk. The length of a frame is
//! that of everything after its check, which is the CRC-32 of the length and everything after the check.
//!
//! A frame is one commit (kind 1), or a part of the contents when the file was written (kind 2). Its revision is that of
//! its last change; parts of the contents have the revision of the last commit before them.

use jiff::Timestamp;

use crate::claims::{Identity, Pssid, TokenId};
use crate::grants::Grant;
use crate::registry::entry::{Change, Key, Record, Registration, Revocation, Selector, UsedToken};
use crate::registry::history::Revision;

pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"snapregs";

pub(super) const HEADER_BYTES: usize = 24;

/// Length and check of a frame.
pub(super) const FRAME_HEAD_BYTES: usize = 8;

/// Kind and revision of a frame.
const FRAME_BYTES_MIN: usize = 9;

/// Maximum number of changes in a frame; larger commits take several.
pub(super) const FRAME_CHANGES_MAX: usize = 4096;

/// Maximum size of a change: a used token with the longest ids.
const CHANGE_BYTES_MAX: usize = 1 + 32 + 12 + 256 + 256;

/// Maximum length of a frame after its head.
const FRAME_BYTES_MAX: usize = FRAME_BYTES_MIN + FRAME_CHANGES_MAX * CHANGE_BYTES_MAX;

/// Maximum revision, which is never reached.
const REVISION_MAX: Revision = Revision::MAX / 2;

/// Kind of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A commit.
    Commit = 1,
    /// A part of the contents.
    Contents = 2,
}

/// A frame that was read.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) revision: Revision,
    pub(super) changes: Vec<Change>,
}

/// Reason why a header cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BadHeader {
    Foreign,
    Version(u32),
    Damaged,
}

pub(super) fn write_header(synced: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&synced.to_le_bytes());
    let check = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&check.to_le_bytes());
    header
}

/// Returns the synced length.
pub(super) fn read_header(header: &[u8; HEADER_BYTES]) -> Result<u64, BadHeader> {
    let mut rest = &header[..];
    if take(&mut rest) != Some(MAGIC) {
        return Err(BadHeader::Foreign);
    }
    let version = take(&mut rest).map(u32::from_le_bytes);
    let synced = take(&mut rest).map(u64::from_le_bytes);
    let check = take(&mut rest).map(u32::from_le_bytes);
    let is_intact = check == Some(crc32fast::hash(&header[..20]));
    match (version, synced) {
        (Some(VERSION), Some(synced)) if is_intact => Ok(synced),
        (Some(version), _) if version != VERSION => Err(BadHeader::Version(version)),
        _ => Err(BadHeader::Damaged),
    }
}

/// Appends a frame with at most [`FRAME_CHANGES_MAX`] changes.
pub(super) fn write_frame(out: &mut Vec<u8>, kind: Kind, revision: Revision, changes: &[Change]) {
    let start = out.len();
    out.extend([0; FRAME_HEAD_BYTES]);
    out.push(kind as u8);
    out.extend(revision.to_le_bytes());
    for change in changes {
        write_change(out, change);
    }
    let body = start + FRAME_HEAD_BYTES;
    let length = ((out.len() - body) as u32).to_le_bytes();
    let check = frame_check(length, &out[body..]);
    out[start..start + 4].copy_from_slice(&length);
    out[start + 4..body].copy_from_slice(&check.to_le_bytes());
}

fn frame_check(length: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(body);
    hasher.finalize()
}

/// Returns the length of a frame after its head, or `None` if no frame has this length.
pub(super) fn frame_length(head: [u8; FRAME_HEAD_BYTES]) -> Option<usize> {
    let [a, b, c, d, ..] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    (FRAME_BYTES_MIN..=FRAME_BYTES_MAX)
        .contains(&length)
        .then_some(length)
}

/// Reads a frame, or returns `None` if it is damaged.
pub(super) fn read_frame(head: [u8; FRAME_HEAD_BYTES], body: &[u8]) -> Option<Frame> {
    let [a, b, c, d, check @ ..] = head;
    if frame_check([a, b, c, d], body) != u32::from_le_bytes(check) {
        return None;
    }
    let mut rest = body;
    let kind = match take(&mut rest)? {
        [1] => Kind::Commit,
        [2] => Kind::Contents,
        _ => return None,
    };
    let revision = u64::from_le_bytes(take(&mut rest)?);
    if revision > REVISION_MAX {
        return None;
    }
    let mut changes = Vec::new();
    while !rest.is_empty() {
        changes.push(read_change(&mut rest)?);
    }
    Some(Frame {
        kind,
        revision,
        changes,
    })
}

fn write_change(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Put(Record::Registration(Registration { identity, grant })) => {
            out.push(1);
            write_grant(out, identity, grant.expires, &grant.pssid, &grant.token);
        }
        Change::Put(Record::UsedToken(used)) => {
            out.push(2);
            write_grant(out, &used.identity, used.expires, &used.pssid, &used.token);
        }
        Change::Put(Record::Revocation(Revocation { selector, until })) => {
            out.push(3);
            write_selector(out, selector);
            write_time(out, *until);
        }
        Change::Remove(Key::Registration(identity)) => {
            out.push(4);
            out.extend(identity);
        }
        Change::Remove(Key::UsedToken(TokenId(token))) => {
            out.push(5);
            write_id(out, token);
        }
        Change::Remove(Key::Revocation(selector)) => {
            out.push(6);
            write_selector(out, selector);
        }
    }
}

fn read_change(bytes: &mut &[u8]) -> Option<Change> {
    Some(match take(bytes)? {
        [1] => {
            let (identity, grant) = read_grant(bytes)?;
            Change::Put(Record::Registration(Registration { identity, grant }))
        }
        [2] => {
            let (identity, grant) = read_grant(bytes)?;
            Change::Put(Record::UsedToken(UsedToken {
                token: grant.token,
                identity,
                pssid: grant.pssid,
                expires: grant.expires,
            }))
        }
        [3] => Change::Put(Record::Revocation(Revocation {
            selector: read_selector(bytes)?,
            until: read_time(bytes)?,
        })),
        [4] => Change::Remove(Key::Registration(take(bytes)?)),
        [5] => Change::Remove(Key::UsedToken(TokenId(read_id(bytes)?.into()))),
        [6] => Change::Remove(Key::Revocation(read_selector(bytes)?)),
        _ => return None,
    })
}

fn write_grant(
    out: &mut Vec<u8>,
    identity: &Identity,
    expires: Timestamp,
    pssid: &Pssid,
    token: &TokenId,
) {
    out.extend(identity);
    write_time(out, expires);
    write_id(out, &pssid.0);
    write_id(out, &token.0);
}

fn read_grant(bytes: &mut &[u8]) -> Option<(Identity, Grant)> {
    let identity = take(bytes)?;
    let grant = Grant {
        expires: read_time(bytes)?,
        pssid: Pssid(read_id(bytes)?.into()),
        token: TokenId(read_id(bytes)?.into()),
    };
    Some((identity, grant))
}

fn write_selector(out: &mut Vec<u8>, selector: &Selector) {
    match selector {
        Selector::Token(TokenId(token)) => {
            out.push(1);
            write_id(out, token);
        }
        Selector::Pssid(Pssid(pssid)) => {
            out.push(2);
            write_id(out, pssid);
        }
        Selector::Identity(identity) => {
            out.push(3);
            out.extend(identity);
        }
    }
}

fn read_selector(bytes: &mut &[u8]) -> Option<Selector> {
    Some(match take(bytes)? {
        [1] => Selector::Token(TokenId(read_id(bytes)?.into())),
        [2] => Selector::Pssid(Pssid(read_id(bytes)?.into())),
        [3] => Selector::Identity(take(bytes)?),
        _ => return None,
    })
}

fn write_time(out: &mut Vec<u8>, time: Timestamp) {
    out.extend(time.as_second().to_le_bytes());
    out.extend(time.subsec_nanosecond().to_le_bytes());
}

fn read_time(bytes: &mut &[u8]) -> Option<Timestamp> {
    let seconds = i64::from_le_bytes(take(bytes)?);
    let nanoseconds = i32::from_le_bytes(take(bytes)?);
    Timestamp::new(seconds, nanoseconds).ok()
}

/// Writes an id of at most 255 bytes; the rules refuse longer ones.
fn write_id(out: &mut Vec<u8>, id: &str) {
    debug_assert!(id.len() <= usize::from(u8::MAX));
    out.push(id.len() as u8);
    out.extend(id.as_bytes());
}

fn read_id<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let [length] = take(bytes)?;
    let id = bytes.split_off(..usize::from(length))?;
    std::str::from_utf8(id).ok()
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    bytes.split_off(..N)?.try_into().ok()
}

#[cfg(test)]
mod tests;
