use std::fs;

use tempfile::TempDir;

use super::*;
use crate::mailbox::{Mailbox, mailbox};
use crate::state::files::LocalFiles;

const KEY: [u8; 32] = [7; 32];
const RECORDS_MAX: usize = 100_000;

/// Mailboxes of workers that do not run.
struct Workers {
    postboxes: Vec<Postbox>,
    mailboxes: Vec<Mailbox>,
    _polls: Vec<mio::Poll>,
    key: DispatchKey,
}

impl Workers {
    fn new(count: usize) -> Self {
        let mut workers = Self {
            postboxes: Vec::new(),
            mailboxes: Vec::new(),
            _polls: Vec::new(),
            key: DispatchKey::random().unwrap(),
        };
        for _ in 0..count {
            let poll = mio::Poll::new().unwrap();
            let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
            let (postbox, mailbox) = mailbox(waker);
            workers.postboxes.push(postbox);
            workers.mailboxes.push(mailbox);
            workers._polls.push(poll);
        }
        workers
    }

    fn writer(&self, directory: &TempDir) -> (StateWriter, Vec<DirectoryFeed>) {
        let postboxes = self.postboxes.clone();
        StateWriter::start(
            directory.path(),
            LocalFiles::open,
            &KEY,
            RECORDS_MAX,
            GatewayClock::start(),
            self.key,
            postboxes,
        )
        .unwrap()
    }

    fn owner_of(&self, remote: SocketAddr) -> usize {
        let workers = NonZeroUsize::new(self.postboxes.len()).unwrap();
        self.key.worker_of(remote, workers)
    }

    /// Tunnels that each worker received.
    fn remembered(&self) -> Vec<Vec<(SocketAddr, [u8; 32])>> {
        let all = |mailbox: &Mailbox| {
            std::iter::from_fn(|| mailbox.take())
                .flat_map(|message| match message {
                    Message::Remember(tunnels) => tunnels,
                    _ => panic!("unexpected message"),
                })
                .collect()
        };
        self.mailboxes.iter().map(all).collect()
    }
}

fn remote(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], n))
}

fn seen(n: u16) -> DirectoryChange {
    DirectoryChange::Seen {
        remote: remote(n),
        identity: [n as u8; 32],
        heard_at: Instant::now(),
    }
}

#[test]
fn each_worker_of_the_next_process_receives_its_tunnels() {
    let directory = tempfile::tempdir().unwrap();
    let before = Workers::new(3);
    let (writer, feeds) = before.writer(&directory);
    assert_eq!(before.remembered().concat(), []);
    for n in 1..=5000 {
        feeds[before.owner_of(remote(n))].tell(seen(n));
    }
    feeds[before.owner_of(remote(7))].tell(DirectoryChange::Gone { remote: remote(7) });
    drop(writer);

    let after = Workers::new(2);
    let (_writer, _feeds) = after.writer(&directory);
    let remembered = after.remembered();
    for (worker, tunnels) in remembered.iter().enumerate() {
        assert!(
            tunnels
                .iter()
                .all(|(remote, _)| after.owner_of(*remote) == worker)
        );
    }
    let mut all = remembered.concat();
    all.sort_unstable();
    let expected: Vec<_> = (1..=5000)
        .filter(|n| *n != 7)
        .map(|n| (remote(n), [n as u8; 32]))
        .collect();
    assert_eq!(all, expected);
}

#[test]
fn tunnels_are_held_back_until_the_clock_has_passed_that_of_the_previous_process() {
    let directory = tempfile::tempdir().unwrap();
    let now = Reading::take(clock::boot_id().unwrap());
    let an_hour_ahead = Reading {
        wall: now.wall + Duration::from_secs(3600),
        ..now
    };
    let mut store = Store::open(
        directory.path(),
        LocalFiles::open,
        &KEY,
        RECORDS_MAX,
        &an_hour_ahead,
    )
    .unwrap();
    let record = Record {
        identity: [1; 32],
        heard_at: now.boottime,
    };
    let remote = remote(1);
    store.insert(remote, record);
    store.commit(&an_hour_ahead).unwrap();
    drop(store);

    let after = Workers::new(1);
    let (writer, _feeds) = after.writer(&directory);
    drop(writer);
    assert_eq!(after.remembered(), [vec![]]);
}

#[test]
fn a_worker_does_not_wait_for_a_full_writer() {
    let directory = tempfile::tempdir().unwrap();
    let workers = Workers::new(1);
    let (writer, feeds) = workers.writer(&directory);
    drop(writer);
    // The writer no longer reads.
    feeds[0].tell(seen(1));
    let (sender, _receiver) = crossbeam_channel::bounded(1);
    let feed = DirectoryFeed(sender);
    assert!(feed.has_room());
    feed.tell(seen(1));
    assert!(!feed.has_room());
    feed.tell(seen(2));
}

#[test]
fn a_failed_write_is_counted_and_retried() {
    let directory = tempfile::tempdir().unwrap();
    let obstacle = directory.path().join("tunnels.new");
    fs::create_dir(&obstacle).unwrap();
    let workers = Workers::new(1);
    let (writer, feeds) = workers.writer(&directory);
    feeds[0].tell(seen(1));
    let status = Arc::clone(writer.status());
    while status.failures() == 0 {
        thread::yield_now();
    }
    assert_eq!(status.writes(), 0);
    fs::remove_dir(obstacle).unwrap();
    drop(writer);
    assert_eq!((status.writes(), status.records()), (1, 1));
    assert!(status.last_write_age() < Duration::from_secs(60));

    let after = Workers::new(1);
    let (_writer, _feeds) = after.writer(&directory);
    assert_eq!(after.remembered(), [vec![(remote(1), [1; 32])]]);
}
