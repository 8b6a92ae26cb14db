//! The files of the file system, and its answers (linux/fuse.h).

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;

use super::Operation;

/// Inode of the directory (FUSE_ROOT_ID).
const ROOT: u64 = 1;

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;

/// Bits of `valid` in `struct fuse_setattr_in`.
const SET_MODE: u32 = 1 << 0;
const SET_SIZE: u32 = 1 << 3;

/// An answer to a request.
pub(super) enum Reply {
    None,
    Error(i32),
    Body(Vec<u8>),
}

#[derive(Debug, Default)]
pub(super) struct Files {
    /// Seconds.
    cached_for: u64,
    names: BTreeMap<String, u64>,
    nodes: BTreeMap<u64, Node>,
    last_node: u64,
}

#[derive(Debug)]
struct Node {
    content: Vec<u8>,
    mode: u32,
    /// Since 1970.
    modified: std::time::Duration,
    /// False if no name leads to it.
    has_name: bool,
}

impl Node {
    fn new(mode: u32) -> Self {
        Self {
            content: Vec::new(),
            mode: REGULAR | mode & 0o7777,
            modified: now(),
            has_name: true,
        }
    }
}

fn now() -> std::time::Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time after 1970")
}

impl Files {
    pub(super) fn new(cached_for: u64) -> Self {
        Self {
            cached_for,
            last_node: ROOT,
            ..Self::default()
        }
    }

    pub(super) fn content(&self, name: &str) -> Option<Vec<u8>> {
        let node = self.nodes.get(self.names.get(name)?)?;
        Some(node.content.clone())
    }

    pub(super) fn write(&mut self, name: &str, content: &[u8]) {
        let node = match self.names.get(name) {
            Some(node) => *node,
            None => self.create(name, 0o644),
        };
        if let Some(node) = self.nodes.get_mut(&node) {
            content.clone_into(&mut node.content);
            node.modified = now();
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        let Some(node) = self.names.remove(name) else {
            return false;
        };
        if let Some(node) = self.nodes.get_mut(&node) {
            node.has_name = false;
        }
        true
    }

    fn create(&mut self, name: &str, mode: u32) -> u64 {
        self.last_node += 1;
        self.nodes.insert(self.last_node, Node::new(mode));
        self.names.insert(name.to_owned(), self.last_node);
        self.last_node
    }

    fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(node) = self.names.remove(from) else {
            return false;
        };
        self.remove(to);
        self.names.insert(to.to_owned(), node);
        true
    }

    pub(super) fn answer(&mut self, operation: Option<Operation>, node: u64, body: &[u8]) -> Reply {
        let Some(operation) = operation else {
            return error(Errno::ENOSYS);
        };
        match operation {
            Operation::Forget
            | Operation::BatchForget
            | Operation::Interrupt
            | Operation::Destroy => Reply::None,
            Operation::Init => Reply::Body(init(body)),
            Operation::Lookup => match self.names.get(&text(body)) {
                Some(found) => self.entry(*found),
                None => error(Errno::ENOENT),
            },
            Operation::GetAttr => self.attributes(node),
            Operation::SetAttr => self.set_attributes(node, body),
            Operation::Unlink => done(self.remove(&text(body))),
            Operation::Rename => {
                let from = text(&body[8..]);
                let to = text(&body[8 + from.len() + 1..]);
                done(self.rename(&from, &to))
            }
            Operation::Open if !self.nodes.get(&node).is_some_and(|node| node.has_name) => {
                error(Errno::ESTALE)
            }
            Operation::Open | Operation::OpenDir => Reply::Body(vec![0; 16]),
            Operation::Create => {
                let node = self.create(&text(&body[16..]), number32(body, 4));
                match self.entry(node) {
                    Reply::Body(mut entry) => {
                        entry.extend([0; 16]);
                        Reply::Body(entry)
                    }
                    other => other,
                }
            }
            Operation::Read => self.read(node, body),
            Operation::Write => self.write_at(node, body),
            Operation::Release
            | Operation::ReleaseDir
            | Operation::Flush
            | Operation::Fsync
            | Operation::FsyncDir => Reply::Body(Vec::new()),
        }
    }

    /// `struct fuse_entry_out`.
    fn entry(&self, node: u64) -> Reply {
        let mut entry = Vec::new();
        for field in [node, 0, self.cached_for, self.cached_for, 0] {
            entry.extend(field.to_ne_bytes());
        }
        entry.extend(self.attributes_of(node));
        Reply::Body(entry)
    }

    /// `struct fuse_attr_out`.
    fn attributes(&self, node: u64) -> Reply {
        if node != ROOT && !self.nodes.contains_key(&node) {
            return error(Errno::ESTALE);
        }
        let mut attributes = Vec::new();
        for field in [self.cached_for, 0] {
            attributes.extend(field.to_ne_bytes());
        }
        attributes.extend(self.attributes_of(node));
        Reply::Body(attributes)
    }

    /// `struct fuse_attr`.
    fn attributes_of(&self, id: u64) -> Vec<u8> {
        let node = self.nodes.get(&id);
        let size = node.map_or(0, |node| node.content.len() as u64);
        let modified = node.map_or_else(Default::default, |node| node.modified);
        let links = node.map_or(2, |node| u32::from(node.has_name));
        let mut attributes = Vec::new();
        let seconds = modified.as_secs();
        for field in [id, size, size.div_ceil(512), seconds, seconds, seconds] {
            attributes.extend(field.to_ne_bytes());
        }
        let nanoseconds = modified.subsec_nanos();
        let mode = node.map_or(DIRECTORY, |node| node.mode);
        let fields = [
            nanoseconds,
            nanoseconds,
            nanoseconds,
            mode,
            links,
            0,
            0,
            0,
            4096,
            0,
        ];
        for field in fields {
            attributes.extend(field.to_ne_bytes());
        }
        attributes
    }

    fn set_attributes(&mut self, id: u64, body: &[u8]) -> Reply {
        if let Some(node) = self.nodes.get_mut(&id) {
            let valid = number32(body, 0);
            if valid & SET_MODE != 0 {
                node.mode = number32(body, 68);
            }
            if valid & SET_SIZE != 0 {
                node.content.resize(offset(number64(body, 16)), 0);
                node.modified = now();
            }
        }
        self.attributes(id)
    }

    fn read(&self, node: u64, body: &[u8]) -> Reply {
        let Some(node) = self.nodes.get(&node) else {
            return error(Errno::ESTALE);
        };
        let start = offset(number64(body, 8)).min(node.content.len());
        let length = offset(number32(body, 16).into());
        let end = (start + length).min(node.content.len());
        Reply::Body(node.content[start..end].to_vec())
    }

    fn write_at(&mut self, node: u64, body: &[u8]) -> Reply {
        let Some(node) = self.nodes.get_mut(&node) else {
            return error(Errno::ESTALE);
        };
        let start = offset(number64(body, 8));
        let size = number32(body, 16);
        let end = start + offset(size.into());
        if node.content.len() < end {
            node.content.resize(end, 0);
        }
        node.content[start..end].copy_from_slice(&body[40..40 + end - start]);
        node.modified = now();
        let mut written = size.to_ne_bytes().to_vec();
        written.extend([0; 4]);
        Reply::Body(written)
    }
}

/// `struct fuse_init_out` with version 7.31, the read-ahead of the kernel, no flags, and writes of 128 KiB.
fn init(body: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    for field in [7, 31, number32(body, 8), 0, 0, 128 << 10, 1] {
        reply.extend(u32::to_ne_bytes(field));
    }
    reply.resize(64, 0);
    reply
}

fn error(errno: Errno) -> Reply {
    Reply::Error(errno as i32)
}

fn done(found: bool) -> Reply {
    if found {
        Reply::Body(Vec::new())
    } else {
        error(Errno::ENOENT)
    }
}

/// Returns the text before the next zero byte.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

pub(super) fn number32(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn number64(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn offset(number: u64) -> usize {
    usize::try_from(number).expect("a short file")
}
