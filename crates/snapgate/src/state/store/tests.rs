use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::*;
use crate::state::files::{LOCK_FILE, LocalFiles, NEW_FILE};

const KEY: [u8; 32] = [7; 32];
const RECORDS_MAX: usize = 200_000;

/// Some hours after the boot, some days after 1970.
fn reading(seconds: u64) -> Reading {
    Reading {
        boot: [1; 16],
        boottime: Duration::from_secs(10_000 + seconds),
        wall: Duration::from_secs(1_000_000 + seconds),
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open_with(directory: &Path, records_max: usize, reading: &Reading) -> Result<Store, StateError> {
    Store::open(directory, LocalFiles::open, &KEY, records_max, reading)
}

fn open(directory: &TempDir, seconds: u64) -> Store {
    open_with(directory.path(), RECORDS_MAX, &reading(seconds)).unwrap()
}

fn remote(n: u32) -> SocketAddr {
    SocketAddr::from((n.to_be_bytes(), 40_000))
}

fn see(store: &mut Store, n: u32, seconds: u64) {
    let record = Record {
        identity: [n as u8; 32],
        heard_at: reading(seconds).boottime,
    };
    let remote = remote(n);
    store.insert(remote, record);
}

/// The numbers of the recorded tunnels.
fn tunnels(store: &Store, seconds: u64) -> Vec<u32> {
    let mut tunnels: Vec<_> = store
        .recent(&reading(seconds))
        .into_iter()
        .map(|(remote, identity)| {
            let SocketAddr::V4(remote) = remote else {
                panic!("{remote}");
            };
            let n = u32::from(*remote.ip());
            assert_eq!(identity, [n as u8; 32]);
            n
        })
        .collect();
    tunnels.sort_unstable();
    tunnels
}

/// Contents of the files that were set aside.
fn set_aside(directory: &TempDir) -> Vec<Vec<u8>> {
    fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("tunnels.aside-")
        })
        .map(|entry| fs::read(entry.path()).unwrap())
        .collect()
}

/// A directory with the state file of a process with tunnels 1, 2 and 3.
fn left_behind() -> (TempDir, Vec<u8>) {
    let directory = directory();
    let mut store = open(&directory, 0);
    for n in 1..=3 {
        see(&mut store, n, 0);
    }
    store.commit(&reading(0)).unwrap();
    let file = fs::read(store.file()).unwrap();
    (directory, file)
}

#[test]
fn committed_tunnels_are_known_to_the_next_process() {
    let directory = directory();
    let mut store = open(&directory, 0);
    assert_eq!(store.len(), 0);
    for n in 1..=3 {
        see(&mut store, n, 0);
    }
    store.commit(&reading(0)).unwrap();
    store.remove(remote(2));
    see(&mut store, 4, 1);
    assert!(store.is_dirty());
    store.commit(&reading(1)).unwrap();
    assert!(!store.is_dirty());
    see(&mut store, 5, 1);
    drop(store);

    let store = open(&directory, 2);
    assert_eq!(tunnels(&store, 2), [1, 3, 4]);
    assert_eq!(set_aside(&directory), [] as [Vec<u8>; 0]);
}

/// As after a disk was restored from a backup.
#[test]
fn of_an_older_file_that_was_put_back_recent_tunnels_are_known() {
    let (directory, older) = left_behind();
    let mut store = open(&directory, 1);
    store.remove(remote(2));
    see(&mut store, 4, 100);
    store.commit(&reading(100)).unwrap();
    let file = store.file();
    drop(store);
    fs::write(file, older).unwrap();

    assert_eq!(tunnels(&open(&directory, 110), 110), [1, 2, 3]);
    let too_late = RECORD_LIFETIME.as_secs() + 1;
    assert!(tunnels(&open(&directory, too_late), too_late).is_empty());
}

/// The other machine has another boot, and its boot clock another zero.
#[test]
fn of_a_copied_directory_recent_tunnels_are_known_on_another_machine() {
    let (original, file) = left_behind();
    let running = open(&original, 1);
    let copy = directory();
    fs::write(copy.path().join(FILE), file).unwrap();
    let there = |seconds| Reading {
        boot: [2; 16],
        boottime: Duration::from_secs(5_000 + seconds),
        ..reading(seconds)
    };
    let known = |seconds| {
        let now = there(seconds);
        let store = Store::open(copy.path(), LocalFiles::open, &KEY, RECORDS_MAX, &now).unwrap();
        (store.recent(&now).len(), store.moment().is_passed_by(&now))
    };
    // The first machine may have begun handshakes until its next commit.
    assert_eq!(known(29), (3, false));
    assert_eq!(known(30), (3, true));
    assert_eq!(known(RECORD_LIFETIME.as_secs() + 1).0, 0);
    assert_eq!(running.len(), 3);
}

#[test]
fn tunnels_survive_a_process_that_does_not_hear_from_them() {
    let (directory, _) = left_behind();
    let mut store = open(&directory, 1);
    store.commit(&reading(1)).unwrap();
    drop(store);
    assert_eq!(tunnels(&open(&directory, 2), 2), [1, 2, 3]);
}

#[test]
fn tunnels_without_recent_packets_are_left_out() {
    let directory = directory();
    let mut store = open(&directory, 0);
    see(&mut store, 1, 0);
    see(&mut store, 2, 50);
    store.commit(&reading(60)).unwrap();
    drop(store);
    let lifetime = RECORD_LIFETIME.as_secs();
    assert_eq!(tunnels(&open(&directory, lifetime), lifetime), [1, 2]);
    let mut store = open(&directory, lifetime + 1);
    assert_eq!(tunnels(&store, lifetime + 1), [2]);
    // Also while handshakes have to wait for the clock.
    assert!(tunnels(&store, lifetime + 51).is_empty());
    // It is not written again either.
    store.commit(&reading(lifetime + 51)).unwrap();
    assert_eq!(store.len(), 0);
}

#[test]
fn the_number_of_records_is_limited() {
    let directory = directory();
    let mut store = open_with(directory.path(), 2, &reading(0)).unwrap();
    for n in 1..=3 {
        see(&mut store, n, 0);
    }
    store.commit(&reading(0)).unwrap();
    assert_eq!(store.len(), 2);
    drop(store);
    let store = open_with(directory.path(), 1, &reading(0)).unwrap();
    assert_eq!(store.len(), 1);
}

#[test]
fn a_truncated_or_damaged_file_is_set_aside_and_not_used() {
    let (_directory, whole) = left_behind();
    // The tests of the format try every length; here each costs several syncs to disk.
    let cut_off = (0..whole.len()).step_by(7).map(|length| &whole[..length]);
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for content in cut_off.chain([&damaged[..]]) {
        let directory = directory();
        fs::write(directory.path().join(FILE), content).unwrap();

        let mut store = open(&directory, 1);
        assert_eq!(store.len(), 0);
        assert_eq!(set_aside(&directory), [content]);
        see(&mut store, 4, 1);
        store.commit(&reading(1)).unwrap();
        drop(store);
        assert_eq!(tunnels(&open(&directory, 2), 2), [4]);
    }
}

#[test]
fn a_foreign_file_is_set_aside_unchanged() {
    let (_directory, whole) = left_behind();
    let other_key = format::write(&[8; 32], &Moment::first(&reading(0)), HashMap::new().iter());
    let mut other_format = whole.clone();
    other_format[8] = 1;
    for foreign in [
        &b""[..],
        b"garbage",
        &[0xff; 5000],
        &other_key,
        &other_format,
        &whole[1..],
    ] {
        let directory = directory();
        fs::write(directory.path().join(FILE), foreign).unwrap();
        let mut store = open(&directory, 1);
        assert_eq!(store.len(), 0);
        store.commit(&reading(1)).unwrap();
        assert_eq!(set_aside(&directory), [foreign]);
    }
}

#[test]
fn a_directory_with_the_name_of_the_file_is_set_aside() {
    let directory = directory();
    fs::create_dir(directory.path().join(FILE)).unwrap();
    let mut store = open(&directory, 0);
    store.commit(&reading(0)).unwrap();
    assert!(directory.path().join(FILE).is_file());
}

/// A killed process leaves the file as it is visible to other processes at that moment.
#[test]
fn a_copy_at_any_moment_is_a_complete_state() {
    let directory = directory();
    let mut store = open(&directory, 0);
    see(&mut store, 0, 0);
    store.commit(&reading(0)).unwrap();
    let file = store.file();
    let writer = std::thread::spawn(move || {
        for n in 1..200u32 {
            see(&mut store, n, 0);
            store.commit(&reading(0)).unwrap();
        }
    });
    let mut seen_up_to = 0;
    while !writer.is_finished() {
        let copy = self::directory();
        fs::copy(&file, copy.path().join(FILE)).unwrap();
        let tunnels = tunnels(&open(&copy, 1), 1);
        let expected: Vec<u32> = (0..tunnels.len() as u32).collect();
        assert_eq!(tunnels, expected);
        assert!(tunnels.len() > seen_up_to as usize);
        seen_up_to = tunnels.len() as u32 - 1;
    }
    writer.join().unwrap();
}

#[test]
fn the_file_does_not_grow_with_time() {
    let directory = directory();
    let mut store = open(&directory, 0);
    let mut sizes = Vec::new();
    for _ in 0..10 {
        for n in 0..1000 {
            see(&mut store, n % 100, 0);
        }
        store.commit(&reading(0)).unwrap();
        sizes.push(fs::metadata(store.file()).unwrap().len());
    }
    assert_eq!(sizes, [sizes[0]; 10]);
    drop(store);
    let expected: Vec<u32> = (0..100).collect();
    assert_eq!(tunnels(&open(&directory, 1), 1), expected);
}

#[test]
fn larger_files_are_written_less_often() {
    for (records, interval) in [
        (1, 1),
        (3000, 1),
        (35_000, 10),
        (100_000, 29),
        (RECORDS_MAX, 30),
    ] {
        let directory = directory();
        let mut store = open(&directory, 0);
        assert!(store.is_due(&reading(0)));
        for n in 0..records as u32 {
            see(&mut store, n, 0);
        }
        store.commit(&reading(0)).unwrap();
        // Without changes it is written only to update the time.
        assert!(!store.is_due(&reading(29)), "{records}");
        assert!(store.is_due(&reading(30)), "{records}");
        see(&mut store, 0, 0);
        assert!(!store.is_due(&reading(interval - 1)), "{records}");
        assert!(store.is_due(&reading(interval)), "{records}");
    }
}

#[test]
fn a_clock_that_was_set_forward_is_written_at_once() {
    let directory = directory();
    let mut store = open(&directory, 0);
    store.commit(&reading(0)).unwrap();
    let mut now = reading(1);
    assert!(!store.is_due(&now));
    now.wall += Duration::from_secs(1);
    assert!(store.is_due(&now));
    store.commit(&now).unwrap();
    assert!(!store.is_due(&now));
}

#[test]
fn files_are_readable_by_their_owner_only() {
    let (directory, _) = left_behind();
    for name in [FILE, LOCK_FILE] {
        let metadata = fs::metadata(directory.path().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn two_processes_cannot_share_a_directory() {
    let directory = directory();
    let store = open(&directory, 0);
    let other = open_with(directory.path(), RECORDS_MAX, &reading(0));
    assert!(matches!(other, Err(StateError::InUse(path)) if path == directory.path()));
    drop(store);
    open(&directory, 0);
}

#[test]
fn a_missing_directory_is_an_error() {
    let directory = directory();
    let missing = directory.path().join("missing");
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [missing, file] {
        let error = open_with(&path, RECORDS_MAX, &reading(0)).err().unwrap();
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(
            text.contains("cannot write to the state directory"),
            "{text}"
        );
    }
}

#[test]
fn a_failed_commit_is_retried() {
    let directory = directory();
    let mut store = open(&directory, 0);
    see(&mut store, 1, 0);
    store.commit(&reading(0)).unwrap();
    let before = fs::read(store.file()).unwrap();

    let obstacle = directory.path().join(NEW_FILE);
    fs::create_dir(&obstacle).unwrap();
    see(&mut store, 2, 0);
    store.commit(&reading(1)).unwrap_err();
    assert!(store.is_dirty());
    assert!(!store.is_due(&reading(1)) && store.is_due(&reading(2)));
    assert_eq!(fs::read(store.file()).unwrap(), before);

    fs::remove_dir(obstacle).unwrap();
    store.commit(&reading(2)).unwrap();
    assert!(!store.is_dirty());
    drop(store);
    assert_eq!(tunnels(&open(&directory, 3), 3), [1, 2]);
}

/// Large files are written rarely, but a failed write is retried soon.
#[test]
fn a_failed_commit_of_a_large_file_is_retried_after_a_second() {
    let directory = directory();
    let mut store = open_with(directory.path(), 100_000, &reading(0)).unwrap();
    for n in 0..20_000 {
        see(&mut store, n, 0);
    }
    store.commit(&reading(0)).unwrap();
    let obstacle = directory.path().join(NEW_FILE);
    fs::create_dir(&obstacle).unwrap();
    see(&mut store, 1, 1);
    assert!(!store.is_due(&reading(2)));
    store.commit(&reading(40)).unwrap_err();
    assert!(!store.is_due(&reading(40)) && store.is_due(&reading(41)));

    // A clock that was set forward cannot be recorded either.
    let mut forward = reading(41);
    forward.wall += Duration::from_secs(1);
    store.commit(&forward).unwrap_err();
    assert!(!store.is_due(&forward) && store.is_due(&reading(43)));
}

#[test]
fn failed_commits_are_retried_less_often() {
    let directory = directory();
    let mut store = open(&directory, 0);
    let obstacle = directory.path().join(NEW_FILE);
    fs::create_dir(&obstacle).unwrap();
    let mut at = 0;
    for interval in [1, 2, 4, 8, 16, 30, 30] {
        store.commit(&reading(at)).unwrap_err();
        assert!(!store.is_due(&reading(at + interval - 1)), "{interval}");
        assert!(store.is_due(&reading(at + interval)), "{interval}");
        at += interval;
    }
    fs::remove_dir(obstacle).unwrap();
    store.commit(&reading(at)).unwrap();
    see(&mut store, 1, at);
    assert!(store.is_due(&reading(at + 1)));
}

#[test]
fn a_removed_file_is_written_again_without_a_change_of_tunnels() {
    let (directory, _) = left_behind();
    let mut store = open(&directory, 1);
    store.commit(&reading(1)).unwrap();
    assert!(store.are_files_in_place().unwrap());
    fs::remove_file(store.file()).unwrap();
    assert!(!store.is_due(&reading(2)));
    assert!(!store.are_files_in_place().unwrap());
    assert!(store.is_due(&reading(2)));
    store.commit(&reading(2)).unwrap();
    assert!(store.are_files_in_place().unwrap());
    drop(store);
    assert_eq!(tunnels(&open(&directory, 3), 3), [1, 2, 3]);
}

#[test]
fn the_next_process_knows_the_latest_timestamp() {
    let (directory, _) = left_behind();
    let set_back = Reading {
        wall: reading(0).wall - Duration::from_secs(5),
        ..reading(1)
    };
    let store = open_with(directory.path(), RECORDS_MAX, &set_back).unwrap();
    assert!(!store.moment().is_passed_by(&set_back));
    assert_eq!(store.len(), 3);
    drop(store);
    let store = open(&directory, 1);
    assert!(store.moment().is_passed_by(&reading(1)));
}

#[test]
fn targets_of_symbolic_links_in_the_directory_stay_unchanged() {
    let directory = directory();
    let precious = directory.path().join("precious");
    fs::write(&precious, "other data").unwrap();
    for name in [NEW_FILE, LOCK_FILE] {
        symlink(&precious, directory.path().join(name)).unwrap();
    }
    let mut store = open(&directory, 0);
    see(&mut store, 1, 0);
    store.commit(&reading(0)).unwrap();
    assert_eq!(fs::read(&precious).unwrap(), b"other data");
    assert!(fs::symlink_metadata(store.file()).unwrap().is_file());
    drop(store);
    assert_eq!(tunnels(&open(&directory, 1), 1), [1]);
}

#[test]
fn a_pipe_in_the_place_of_the_file_is_set_aside() {
    let directory = directory();
    let file = directory.path().join(FILE);
    mkfifo(&file, Mode::S_IRWXU).unwrap();
    let mut store = open(&directory, 0);
    see(&mut store, 1, 0);
    store.commit(&reading(0)).unwrap();
    drop(store);
    assert_eq!(tunnels(&open(&directory, 1), 1), [1]);
}
