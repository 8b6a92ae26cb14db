//! Copies of the private key in the memory of a gateway.

use std::fs::File;
use std::io::{BufRead as _, Read as _, Seek as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::thread;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::client::{Client, PATIENCE};
use crate::process::Process;
use crate::workspace::{Workspace, identity, listen};

/// Environment variable: the key that a process looks for in its own memory, inverted and in base64.
const WANTED: &str = "SNAPGATE_TEST_INVERTED_KEY";

const TUNNELS: usize = 8;

#[test]
fn the_private_key_is_in_memory_once_and_once_for_each_worker_and_what_tunnels_keep() {
    let identities: Vec<_> = (0..TUNNELS).map(|_| identity()).collect();
    let workspace = Workspace::new(&identities.iter().collect::<Vec<_>>());
    let gateway = CountingGateway::start(&workspace);
    let without_tunnels = gateway.copies_of_the_key();

    let address = listen(&gateway.process);
    let mut clients: Vec<_> = identities
        .iter()
        .map(|identity| {
            Client::connect_as(identity.clone(), "127.0.0.1:0", address, &workspace.key)
        })
        .collect();
    for client in &mut clients {
        client.send(b"to the sink");
    }
    // Answered behind the data, by the only worker.
    let _last = Client::connect_as(
        identities[0].clone(),
        "127.0.0.1:0",
        address,
        &workspace.key,
    );
    let with_tunnels = gateway.copies_of_the_key();

    workspace.list(&[]);
    let deadline = Instant::now() + PATIENCE;
    let after_tunnels = loop {
        let copies = gateway.copies_of_the_key();
        // The copy of each tunnel is gone when the tunnel is.
        if copies + TUNNELS < with_tunnels || Instant::now() > deadline {
            break copies;
        }
    };
    // The one that the configuration has, and one of aws-lc for the only worker.
    assert_eq!(without_tunnels, 2);
    // Each `Tunn` has its own, and up to two in bytes that it never writes, which come with it when it is moved.
    let tunnels = TUNNELS + 1;
    let in_tunnels = with_tunnels - without_tunnels;
    assert!(
        in_tunnels <= 3 * tunnels,
        "{in_tunnels} of {tunnels} tunnels"
    );
    // Its own is wiped; the others stay in the memory that was its.
    let left = after_tunnels - without_tunnels;
    assert!(left <= 2 * tunnels, "{left} of {tunnels} tunnels");
}

/// A process that runs a gateway and counts the copies of its key: nobody else may read its memory, and the clients
/// are in none.
struct CountingGateway {
    process: Process,
    questions: UdpSocket,
}

impl CountingGateway {
    fn start(workspace: &Workspace) -> Self {
        let key = std::fs::read_to_string(workspace.path("private.key")).unwrap();
        let mut wanted = BASE64_STANDARD.decode(key.trim()).unwrap();
        wanted.iter_mut().for_each(|byte| *byte = !*byte);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "secrets::a_gateway_that_counts",
                "--ignored",
                "--nocapture",
            ])
            .current_dir(workspace.path("."))
            .env_clear()
            .env(WANTED, BASE64_STANDARD.encode(wanted));
        let mut process = Process::spawn(command);
        let counter: SocketAddr = process.wait_for("counts at ").parse().unwrap();
        process.wait_for("tunnels come in at");
        let questions = UdpSocket::bind("127.0.0.1:0").unwrap();
        questions.connect(counter).unwrap();
        questions.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { process, questions }
    }

    fn copies_of_the_key(&self) -> usize {
        self.questions.send(&[]).unwrap();
        let mut answer = [0; 8];
        assert_eq!(self.questions.recv(&mut answer).unwrap(), 8);
        usize::from_le_bytes(answer)
    }
}

#[test]
#[ignore = "it is the process that another test starts"]
fn a_gateway_that_counts() {
    let wanted = BASE64_STANDARD
        .decode(std::env::var(WANTED).unwrap())
        .unwrap();
    let mut memory = Memory::open();
    let questions = UdpSocket::bind("127.0.0.1:0").unwrap();
    eprintln!("counts at {}", questions.local_addr().unwrap());
    thread::spawn(|| {
        snapgate::cli::main(
            [
                "snapgate",
                "run",
                "--private-key-file=private.key",
                "--identities=identities.toml",
                "--listen=127.0.0.1:0",
                "--workers=1",
                "--cpus=none",
                "--forward=sink",
            ]
            .map(Into::into),
        )
    });
    loop {
        let (_, from) = questions.recv_from(&mut []).unwrap();
        let copies = memory.copies(&wanted);
        questions.send_to(&copies.to_le_bytes(), from).unwrap();
    }
}

/// The memory of this process. Opened before the gateway forbids it.
struct Memory {
    maps: File,
    bytes: File,
    block: Vec<u8>,
}

impl Memory {
    fn open() -> Self {
        Self {
            maps: File::open("/proc/self/maps").unwrap(),
            bytes: File::open("/proc/self/mem").unwrap(),
            block: vec![0; 1 << 20],
        }
    }

    /// How often the first or the second half of a key stands in writable memory, whichever does more often.
    fn copies(&mut self, inverted_key: &[u8]) -> usize {
        let half = inverted_key.len() / 2;
        // What was read is in memory once more.
        let own = self.block.as_ptr().addr()..self.block.as_ptr().addr() + self.block.len();
        let mut found = [0, 0];
        for (begin, end) in self.writable() {
            let mut at = begin;
            while at < end {
                let length = (end - at).min(self.block.len());
                let block = &mut self.block[..length];
                // A guard page, or unmapped meanwhile.
                let Ok(read) = self.bytes.read_at(block, at as u64) else {
                    break;
                };
                for (count, half) in found.iter_mut().zip(inverted_key.chunks(half)) {
                    *count += positions(&block[..read], half)
                        .filter(|position| !own.contains(&(at + position)))
                        .count();
                }
                block.fill(0);
                if at + read >= end {
                    break;
                }
                // The next block begins with what may have been cut off here.
                at += read - (half - 1);
            }
        }
        found[0].max(found[1])
    }

    fn writable(&mut self) -> Vec<(usize, usize)> {
        let mut maps = String::new();
        self.maps.rewind().unwrap();
        self.maps.read_to_string(&mut maps).unwrap();
        let address = |text| usize::from_str_radix(text, 16).unwrap();
        maps.lines()
            .filter_map(|line| line.split_once(" rw"))
            .map(|(range, _)| range.split_once('-').unwrap())
            .map(|(begin, end)| (address(begin), address(end)))
            .collect()
    }
}

/// Where what is inverted stands in `bytes`.
fn positions(bytes: &[u8], inverted: &[u8]) -> impl Iterator<Item = usize> {
    let first = !inverted[0];
    let mut rest = bytes;
    let candidates = std::iter::from_fn(move || {
        // A search that is fast in test builds, too.
        let skipped = rest.skip_until(first).unwrap();
        (skipped > 0).then(|| bytes.len() - rest.len() - 1)
    });
    candidates.filter(move |position| {
        bytes[*position..]
            .get(..inverted.len())
            .is_some_and(|found| {
                found
                    .iter()
                    .zip(inverted)
                    .all(|(byte, wanted)| *byte == !*wanted)
            })
    })
}
