//! Copies of the private key in the memory of a gateway.

use std::fs::File;
use std::io::{BufRead as _, Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use testkit::{GatewayProcess, GatewaySetup, PATIENCE, identity};

use crate::gateway;

/// Environment variable: the key that a process searches in its own memory, inverted and in base64.
const WANTED: &str = "SNAPGATE_TEST_INVERTED_KEY";

/// Environment variable: the arguments of `snapgate`, one per line.
const ARGUMENTS: &str = "SNAPGATE_TEST_ARGUMENTS";

/// Socket in the gateway's directory that answers with the number of copies of the key.
const COUNTER: &str = "counter";

const TUNNELS: usize = 8;

#[test]
fn the_private_key_has_a_bounded_number_of_copies_in_memory() {
    let identities: Vec<_> = (0..TUNNELS).map(|_| identity()).collect();
    let setup = gateway()
        .identities(&identities.iter().collect::<Vec<_>>())
        .forward("sink");
    let mut gateway = CountingGateway::start(&setup);
    let without_tunnels = gateway.copies_of_the_key();

    let mut clients: Vec<_> = identities
        .iter()
        .map(|identity| gateway.process.connect(identity))
        .collect();
    for client in &mut clients {
        client.send(b"to the sink");
    }
    // The response comes after the data, from the only worker.
    let _last = gateway.process.connect(&identities[0]);
    let with_tunnels = gateway.copies_of_the_key();

    setup.replace_identities(&[]);
    let deadline = Instant::now() + PATIENCE;
    let after_tunnels = loop {
        let copies = gateway.copies_of_the_key();
        // The copy of a tunnel is wiped with the tunnel.
        if copies + TUNNELS < with_tunnels || Instant::now() > deadline {
            break copies;
        }
    };
    // One in the configuration, and one of aws-lc for the only worker.
    assert_eq!(without_tunnels, 2);
    // Each `Tunn` has one, and up to two in bytes that it never writes, which are copied when it is moved.
    let tunnels = TUNNELS + 1;
    let in_tunnels = with_tunnels - without_tunnels;
    assert!(
        in_tunnels <= 3 * tunnels,
        "{in_tunnels} of {tunnels} tunnels"
    );
    // The copy of a tunnel is wiped; the others remain in freed memory.
    let left = after_tunnels - without_tunnels;
    assert!(left <= 2 * tunnels, "{left} of {tunnels} tunnels");
}

/// A process that runs a gateway and counts the copies of its key. No other process may read its memory, and the
/// clients run in another process.
struct CountingGateway {
    process: GatewayProcess,
    questions: UnixStream,
}

impl CountingGateway {
    fn start(setup: &GatewaySetup) -> Self {
        let key = std::fs::read_to_string(setup.path("private.key")).unwrap();
        let mut wanted = BASE64_STANDARD.decode(key.trim()).unwrap();
        wanted.iter_mut().for_each(|byte| *byte = !*byte);
        let snapgate = setup.command();
        let arguments: Vec<_> = snapgate
            .get_args()
            .map(|argument| argument.to_str().unwrap())
            .collect();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "secrets::a_gateway_that_counts",
                "--ignored",
                "--nocapture",
            ])
            .current_dir(setup.path("."))
            .env_clear()
            .env(WANTED, BASE64_STANDARD.encode(wanted))
            .env(ARGUMENTS, arguments.join("\n"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = setup.start_command(command);
        let questions = UnixStream::connect(setup.path(COUNTER)).unwrap();
        questions.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { process, questions }
    }

    fn copies_of_the_key(&mut self) -> usize {
        self.questions.write_all(&[0]).unwrap();
        let mut answer = [0; 8];
        self.questions.read_exact(&mut answer).unwrap();
        usize::from_le_bytes(answer)
    }
}

#[test]
#[ignore = "started as a process by another test"]
fn a_gateway_that_counts() {
    let wanted = BASE64_STANDARD
        .decode(std::env::var(WANTED).unwrap())
        .unwrap();
    let arguments = std::env::var(ARGUMENTS).unwrap();
    let mut memory = Memory::open();
    let counter = UnixListener::bind(COUNTER).unwrap();
    thread::spawn(move || {
        let arguments = arguments.lines().map(Into::into);
        snapgate::cli::main(std::iter::once("snapgate".into()).chain(arguments))
    });
    let (mut questions, _) = counter.accept().unwrap();
    while questions.read_exact(&mut [0]).is_ok() {
        let copies = memory.copies(&wanted);
        questions.write_all(&copies.to_le_bytes()).unwrap();
    }
}

/// The memory of this process, opened before the gateway forbids it.
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

    /// Returns how often the first or the second half of a key occurs in writable memory, whichever is more.
    fn copies(&mut self, inverted_key: &[u8]) -> usize {
        let half = inverted_key.len() / 2;
        // The buffer holds another copy of what was read.
        let own = self.block.as_ptr().addr()..self.block.as_ptr().addr() + self.block.len();
        let mut found = [0, 0];
        for (begin, end) in self.writable() {
            let mut at = begin;
            while at < end {
                let length = (end - at).min(self.block.len());
                let block = &mut self.block[..length];
                // A guard page, or a page that has been unmapped since.
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
                // The next block begins with bytes that may be the start of a match.
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

/// Returns the positions in `bytes` of the bytes whose inverse is `inverted`.
fn positions(bytes: &[u8], inverted: &[u8]) -> impl Iterator<Item = usize> {
    let first = !inverted[0];
    let mut rest = bytes;
    let candidates = std::iter::from_fn(move || {
        // A search that is fast in test builds.
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
