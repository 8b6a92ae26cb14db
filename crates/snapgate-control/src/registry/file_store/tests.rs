use std::collections::BTreeMap;
use std::{fs, slice};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::claims::Identity;
use crate::grants::Grant;
use crate::registry::entry::{Key, Record, Registration};

/// Contents of a registry.
#[derive(Clone, PartialEq, Debug, Default)]
struct Map(BTreeMap<Key, Record>);

impl Map {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Put(record) => self.0.insert(record.key(), record),
            Change::Remove(key) => self.0.remove(&key),
        };
    }
}

impl Contents for Map {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn records_after(&self, key: Option<&Key>, limit: usize) -> Vec<Record> {
        let after = self
            .0
            .iter()
            .filter(|one| key.is_none_or(|key| one.0 > key));
        after.map(|one| one.1.clone()).take(limit).collect()
    }
}

fn identity(number: u32) -> Identity {
    let mut identity = [0x55; 32];
    identity[..4].copy_from_slice(&number.to_be_bytes());
    identity
}

fn put(number: u32, end: i64) -> Change {
    Change::Put(Record::Registration(Registration {
        identity: identity(number),
        grant: Grant {
            expires: jiff::Timestamp::from_second(end).unwrap(),
            pssid: crate::claims::Pssid("alice".into()),
            token: crate::claims::TokenId(format!("{number}").into()),
        },
    }))
}

fn remove(number: u32) -> Change {
    Change::Remove(Key::Registration(identity(number)))
}

/// Opens a file with its contents.
fn open(path: &Path) -> (FileStore, Map) {
    let mut map = Map::default();
    let store = FileStore::open(path, |change| map.apply(change)).unwrap();
    (store, map)
}

/// Returns the contents that a process would find that is started after this one is killed now.
fn contents_after_a_kill(path: &Path) -> Map {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    open(&copy).1
}

/// A store, and what it must contain.
struct Setup {
    _directory: TempDir,
    path: PathBuf,
    store: FileStore,
    map: Map,
    next: Upkeep,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registrations");
        Self {
            store: open(&path).0,
            _directory: directory,
            path,
            map: Map::default(),
            next: Upkeep::Done,
        }
    }

    fn commit(&mut self, changes: &[Change]) {
        self.store.commit(changes, Durability::Process).unwrap();
        changes
            .iter()
            .for_each(|change| self.map.apply(change.clone()));
    }

    /// Does a step of upkeep; a sync is done at the next one.
    fn step(&mut self) {
        let synced = match std::mem::replace(&mut self.next, Upkeep::Done) {
            Upkeep::Sync(file) => Some(file.sync_all()),
            Upkeep::Again | Upkeep::Done => None,
        };
        self.next = self.store.upkeep(&self.map, synced.as_ref());
    }

    fn finish_upkeep(&mut self) {
        self.step();
        while !matches!(self.next, Upkeep::Done) {
            self.step();
        }
    }

    fn check(&self) {
        assert_eq!(contents_after_a_kill(&self.path), self.map);
    }
}

#[test]
fn a_file_is_rewritten_when_most_of_it_is_outdated() {
    let mut setup = Setup::new();
    for number in 0..1500 {
        setup.commit(&[put(number, 0)]);
    }
    for round in 0..(1500 + OUTDATED_MIN as u32 - 1) {
        setup.commit(&[put(round % 10, round.into())]);
    }
    let before = fs::metadata(&setup.path).unwrap().len();
    setup.finish_upkeep();
    assert_eq!(fs::metadata(&setup.path).unwrap().len(), before);
    setup.commit(&[put(0, 0)]);
    setup.finish_upkeep();
    assert!(fs::metadata(&setup.path).unwrap().len() < before / 3);
    setup.check();
    // It continues in the new file, with the same revisions.
    let revision = setup.store.history().revision();
    setup.commit(&[put(9999, 0)]);
    setup.check();
    drop(setup.store);
    assert_eq!(open(&setup.path).0.history().revision(), revision + 1);
}

#[test]
fn commits_during_a_rewrite_are_in_both_files() {
    let mut setup = Setup::new();
    for number in 0..3000 {
        setup.commit(&[put(number, 0)]);
    }
    let outdated: Vec<_> = (0..10_000).map(|round| put(round % 10, 7)).collect();
    setup.commit(&outdated);
    let before = fs::metadata(&setup.path).unwrap().len();
    let mut steps = 0;
    loop {
        setup.step();
        if matches!(setup.next, Upkeep::Done) {
            break;
        }
        setup.check();
        if setup.store.rewrite.is_none() {
            continue;
        }
        // Records that were copied already, that are copied later, and new ones.
        for number in [1, 511, 512, 2999, 10_000 + steps] {
            setup.commit(&[put(number, (100 + steps).into())]);
        }
        setup.commit(&[remove(20 + 300 * steps), put(5000, 1), remove(5000)]);
        steps += 1;
    }
    assert!(steps > 6, "{steps}");
    assert!(fs::metadata(&setup.path).unwrap().len() < before / 2);
    setup.check();
}

#[test]
fn a_kill_during_a_rewrite_leaves_the_previous_file() {
    let mut setup = Setup::new();
    let outdated: Vec<_> = (0..10_000).map(|round| put(round % 10, 7)).collect();
    setup.commit(&outdated);
    setup.step();
    setup.step();
    assert!(new_path(&setup.path).exists());
    drop(setup.store);
    let (mut store, map) = open(&setup.path);
    assert_eq!(map, setup.map);
    assert!(!new_path(&setup.path).exists());
    store.commit(&[put(1, 9)], Durability::Machine).unwrap();
}

#[test]
fn a_rewrite_that_fails_leaves_the_previous_file_in_use() {
    let mut setup = Setup::new();
    let outdated: Vec<_> = (0..10_000).map(|round| put(round % 10, 7)).collect();
    setup.commit(&outdated);
    // The new file cannot replace a directory.
    fs::create_dir(new_path(&setup.path)).unwrap();
    setup.finish_upkeep();
    setup.commit(&[put(77, 7)]);
    setup.check();
    assert!(setup.store.retry_at.is_some());
    setup.finish_upkeep();
    fs::remove_dir(new_path(&setup.path)).unwrap();
    setup.store.retry_at = None;
    let before = fs::metadata(&setup.path).unwrap().len();
    setup.finish_upkeep();
    assert!(fs::metadata(&setup.path).unwrap().len() < before / 100);
    setup.check();
}

#[test]
fn a_failed_sync_causes_a_new_file() {
    let mut setup = Setup::new();
    setup.commit(&[put(1, 7)]);
    let next = setup.store.upkeep(&setup.map, None);
    assert!(matches!(next, Upkeep::Sync(_)));
    let failed = Err(io::Error::other("a test"));
    let next = setup.store.upkeep(&setup.map, Some(&failed));
    assert!(matches!(next, Upkeep::Done));
    setup.commit(&[put(2, 7)]);
    setup.store.retry_at = None;
    let next = setup.store.upkeep(&setup.map, None);
    assert!(matches!(next, Upkeep::Again));
    setup.finish_upkeep();
    setup.check();
    assert!(setup.store.log.is_synced());
}

/// A store that is about to sync a new file.
fn while_the_new_file_is_synced() -> Setup {
    let mut setup = Setup::new();
    let outdated: Vec<_> = (0..10_000).map(|round| put(round % 10, 7)).collect();
    setup.commit(&outdated);
    while !matches!(setup.store.syncing, Some(Syncing::New(_))) {
        setup.step();
    }
    setup
}

#[test]
fn a_revocation_is_on_disk_in_a_new_file_when_that_is_put_in_place() {
    let mut setup = while_the_new_file_is_synced();
    let change = put(77, 7);
    setup
        .store
        .commit(slice::from_ref(&change), Durability::Machine)
        .unwrap();
    setup.map.apply(change);
    setup.step();
    assert!(setup.store.rewrite.is_none(), "it is in place");
    assert!(setup.store.log.is_synced());
    assert!(matches!(setup.store.syncing, Some(Syncing::Directory)));
    setup.finish_upkeep();
    setup.check();
}

#[test]
fn a_new_file_is_on_disk_before_its_directory() {
    let mut setup = while_the_new_file_is_synced();
    setup.commit(&[put(77, 7)]);
    setup.step();
    assert!(setup.store.rewrite.is_none(), "it is in place");
    assert!(matches!(setup.store.syncing, Some(Syncing::Log(_))));
    setup.commit(&[put(78, 7)]);
    setup.step();
    assert!(matches!(setup.store.syncing, Some(Syncing::Directory)));
    setup.step();
    assert!(matches!(setup.next, Upkeep::Done));
    setup.check();
}

#[test]
fn the_file_is_synced_once_after_changes() {
    let mut setup = Setup::new();
    // The header of a new file is not noted as synced.
    setup.finish_upkeep();
    assert!(matches!(setup.store.upkeep(&setup.map, None), Upkeep::Done));
    setup.commit(&[put(1, 7)]);
    let Upkeep::Sync(file) = setup.store.upkeep(&setup.map, None) else {
        panic!("nothing to sync");
    };
    // Another thread does not sync at the same time, and commits go on.
    assert!(matches!(setup.store.upkeep(&setup.map, None), Upkeep::Done));
    setup.commit(&[put(2, 7)]);
    let synced = file.sync_all();
    // The second one is not on disk yet. It is synced the next time: with commits all the time, this would never end.
    let next = setup.store.upkeep(&setup.map, Some(&synced));
    assert!(matches!(next, Upkeep::Done));
    assert!(!setup.store.log.is_synced());
    setup.finish_upkeep();
    assert!(setup.store.log.is_synced());
    // A revocation is on disk when it is answered.
    setup
        .store
        .commit(&[put(3, 7)], Durability::Machine)
        .unwrap();
    assert!(matches!(setup.store.upkeep(&setup.map, None), Upkeep::Done));
}

#[test]
fn a_commit_of_any_size_can_be_read() {
    let mut setup = Setup::new();
    for count in [
        1,
        FRAME_CHANGES_MAX,
        FRAME_CHANGES_MAX + 1,
        3 * FRAME_CHANGES_MAX,
    ] {
        let changes: Vec<_> = (0..count as u32).map(|number| put(number, 7)).collect();
        setup.commit(&changes);
    }
    setup.check();
}

#[derive(Clone, Debug)]
enum Action {
    Commit(Vec<(u32, Option<i64>)>),
    Upkeep,
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    let change = (0..40_u32, prop::option::weighted(0.8, 0..9_i64));
    prop_oneof![
        6 => prop::collection::vec(change, 1..400).prop_map(Action::Commit),
        6 => Just(Action::Upkeep),
        1 => Just(Action::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_kill_at_any_moment_loses_nothing(actions in prop::collection::vec(action(), 1..40)) {
        let mut setup = Setup::new();
        for action in actions {
            match action {
                Action::Commit(changes) => {
                    let change = |(number, end): (u32, Option<i64>)| match end {
                        Some(end) => put(number, end),
                        None => remove(number),
                    };
                    let changes: Vec<_> = changes.into_iter().map(change).collect();
                    setup.commit(&changes);
                }
                Action::Upkeep => setup.step(),
                Action::Reopen => {
                    // The lock of the previous store is released first.
                    let Setup { store, path, _directory, map, .. } = setup;
                    drop(store);
                    let (store, found) = open(&path);
                    prop_assert_eq!(&found, &map);
                    setup = Setup { store, path, _directory, map, next: Upkeep::Done };
                }
            }
            setup.check();
        }
    }
}
