//! Registries with files: restarts, damage, locks, many entries.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registrations");
    (directory, path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Returns the error of opening a file.
fn refused(path: &Path) -> OpenError {
    let Err(error) = Setup::try_open(settings(path), 0) else {
        panic!("{} was opened", path.display());
    };
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    error
}

#[test]
fn what_was_answered_is_in_force_after_a_restart() {
    let (_directory, path) = directory();
    let setup = Setup::with_file(&path, 0);
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("alice", "a2", 200), key(1), 50).unwrap();
    setup.register(("bob", "b1", 100), key(2), 50).unwrap();
    let before = setup.list();
    let revision = setup.registry.revision();
    drop(setup);
    let setup = Setup::with_file(&path, 60);
    assert_eq!(setup.list(), before);
    assert_eq!(setup.registry.revision(), revision);
    assert_eq!(setup.grants.get(key(1), 60).unwrap().token, token("a2"));
    let result = setup.register(("alice", "a1", 100), key(3), 60);
    assert_eq!(result, Err(Refusal::TokenUsed));
}

#[test]
fn only_its_owner_can_read_the_file() {
    let (directory, path) = directory();
    let setup = Setup::with_file(&path, 0);
    assert_eq!(mode(&path), 0o600);
    // Enough outdated records for a new file.
    for round in 0..5000 {
        setup
            .register(("alice", "a1", 100 + round), key(1), 0)
            .unwrap();
    }
    let before = fs::metadata(&path).unwrap().len();
    setup.registry.expire(at(0));
    assert!(fs::metadata(&path).unwrap().len() < before / 10);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn other_users_lose_their_access_to_a_file_that_is_opened() {
    let (_directory, path) = directory();
    let setup = Setup::with_file(&path, 0);
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    let before = setup.list();
    drop(setup);
    for exposed in [0o644, 0o640, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
        assert_eq!(Setup::with_file(&path, 0).list(), before);
        assert_eq!(mode(&path), 0o600, "{exposed:o}");
    }
    // Files of other programs stay as they are.
    let foreign = path.with_extension("conf");
    fs::write(&foreign, "[settings]\n").unwrap();
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(refused(&foreign), OpenError::Foreign(_)));
    assert_eq!(mode(&foreign), 0o644);
}

#[test]
fn a_file_of_another_user_that_others_can_read_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return testkit::skip(
            "a_file_of_another_user_that_others_can_read_is_refused",
            "it needs root",
        );
    }
    let (directory, path) = directory();
    drop(Setup::with_file(&path, 0));
    for (path, mode) in [(directory.path(), 0o755), (&*path, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let open_as_another = || {
        let user = rustix::process::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        assert!(matches!(refused(&path), OpenError::Exposed { .. }));
    };
    std::thread::scope(|scope| scope.spawn(open_as_another).join().unwrap());
}

#[test]
fn one_registry_at_a_time_uses_a_file() {
    let (_directory, path) = directory();
    let setup = Setup::with_file(&path, 0);
    assert!(matches!(refused(&path), OpenError::InUse(_)));
    // Also after the file was replaced by a new one.
    for round in 0..5000 {
        setup
            .register(("alice", "a1", 100 + round), key(1), 0)
            .unwrap();
    }
    setup.registry.expire(at(0));
    assert!(matches!(refused(&path), OpenError::InUse(_)));
    drop(setup);
    Setup::with_file(&path, 0);
}

#[test]
fn paths_that_lead_to_no_registrations_file_are_refused() {
    let (directory, path) = directory();
    assert!(matches!(refused(directory.path()), OpenError::NotAFile(_)));
    let missing = directory.path().join("missing").join("registrations");
    assert!(matches!(refused(&missing), OpenError::Io { .. }));
    fs::write(&path, "[settings]\n").unwrap();
    assert!(matches!(refused(&path), OpenError::Foreign(_)));
    fs::write(&path, "x".repeat(1000)).unwrap();
    assert!(matches!(refused(&path), OpenError::Foreign(_)));
    fs::write(&path, "").unwrap();
    assert!(matches!(
        refused(&path),
        OpenError::Truncated { found: 0, .. }
    ));
    fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    assert!(matches!(refused(&path), OpenError::NotAFile(_)));
}

/// Writes a file with ten registrations and returns it. All of it is known to be on disk if it is synced.
fn ten_registrations(path: &Path, is_synced: bool) -> Vec<u8> {
    let setup = Setup::with_file(path, 0);
    for number in 0..10 {
        let name = format!("{number}");
        setup.register((&name, &name, 100), key(number), 0).unwrap();
    }
    if is_synced {
        setup.registry.expire(at(0));
    }
    fs::read(path).unwrap()
}

/// Opens a file that must contain the first of the ten registrations. Returns their number.
fn open_first(path: &Path) -> usize {
    let setup = Setup::with_file(path, 0);
    let identities: Vec<_> = setup.list().iter().map(|one| one.identity).collect();
    let expected: Vec<_> = (0..identities.len() as u32).map(key).collect();
    assert_eq!(identities, expected);
    identities.len()
}

#[test]
fn a_truncated_file_is_refused_or_loses_only_its_last_registrations() {
    let (_directory, path) = directory();
    let file = ten_registrations(&path, true);
    for len in 0..file.len() {
        fs::write(&path, &file[..len]).unwrap();
        assert!(
            matches!(refused(&path), OpenError::Truncated { .. }),
            "{len}"
        );
    }
    fs::remove_file(&path).unwrap();
    let file = ten_registrations(&path, false);
    let mut counts = Vec::new();
    for len in 24..file.len() {
        fs::write(&path, &file[..len]).unwrap();
        counts.push(open_first(&path));
        // The incomplete end was removed; what follows is intact.
        let setup = Setup::with_file(&path, 0);
        setup.register(("new", "new", 100), key(100), 0).unwrap();
        drop(setup);
        assert_eq!(
            Setup::with_file(&path, 0).list().len(),
            counts[len - 24] + 1
        );
    }
    assert!(counts.is_sorted());
    assert_eq!((counts[0], counts.last()), (0, Some(&9)));
}

#[test]
fn a_changed_byte_is_never_used() {
    let (_directory, path) = directory();
    let file = ten_registrations(&path, true);
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x55;
        fs::write(&path, &changed).unwrap();
        match refused(&path) {
            OpenError::Foreign(_) => assert!(at < 8),
            OpenError::Version { .. } => assert!((8..12).contains(&at)),
            OpenError::Damaged { offset, intact, .. } => {
                assert!(offset <= at as u64 && intact < 10);
            }
            other => panic!("byte {at}: {other}"),
        }
        assert_eq!(fs::read(&path).unwrap(), changed, "the file is kept");
    }
    // What was not known to be on disk may be damaged by a power failure.
    fs::remove_file(&path).unwrap();
    let file = ten_registrations(&path, false);
    for at in 24..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x55;
        fs::write(&path, &changed).unwrap();
        assert!(open_first(&path) < 10);
    }
}

#[test]
fn a_missing_commit_is_noticed() {
    let (_directory, path) = directory();
    let file = ten_registrations(&path, true);
    let frame = (file.len() - 24) / 10;
    let mut shorter = file;
    shorter.drain(24 + 3 * frame..24 + 4 * frame);
    // As long as before, so that the length does not give it away.
    shorter.extend(vec![0; frame]);
    fs::write(&path, &shorter).unwrap();
    let error = refused(&path);
    assert!(
        matches!(error, OpenError::Damaged { intact: 3, .. }),
        "{error}"
    );
}

#[test]
fn a_file_that_is_removed_or_replaced_is_written_again() {
    let (directory, path) = directory();
    let setup = Setup::with_file(&path, 0);
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    let disturbances: [fn(&Path); 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| {
            fs::copy(path, path.with_extension("copy")).unwrap();
            fs::rename(path.with_extension("copy"), path).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            fs::write(path, "something else").unwrap();
        },
    ];
    for (number, disturb) in (10..).zip(disturbances) {
        disturb(&path);
        setup.registry.expire(at(0));
        let name = format!("{number}");
        setup.register((&name, &name, 100), key(number), 0).unwrap();
        let copy = directory.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        assert_eq!(Setup::with_file(&copy, 0).list(), setup.list());
    }
    assert!(matches!(refused(&path), OpenError::InUse(_)));
}

#[test]
fn nothing_is_overwritten_that_another_process_uses() {
    let (_directory, path) = directory();
    let setup = Setup::with_file(&path, 0);
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    fs::remove_file(&path).unwrap();
    let other = Setup::with_file(&path, 0);
    other.register(("bob", "b1", 100), key(2), 0).unwrap();
    setup.registry.expire(at(0));
    // The first one cannot store anything any more, and says so.
    let result = setup.register(("alice", "a2", 200), key(1), 0);
    assert_eq!(result, Err(Refusal::NotStored));
    assert!(setup.grants.has(key(1), 0));
    drop(setup);
    assert!(other.register(("bob", "b2", 200), key(2), 0).is_ok());
    drop(other);
    assert_eq!(Setup::with_file(&path, 0).list().len(), 1);
}

#[test]
fn a_hundred_thousand_registrations_are_loaded() {
    const MANY: u32 = 100_000;
    let (_directory, path) = directory();
    let setup = Setup::with_file(&path, 0);
    for number in 0..MANY {
        let (pssid, token) = (format!("{}", number / 10), format!("{number}"));
        setup
            .register((&pssid, &token, 100), key(number), 0)
            .unwrap();
    }
    let result = setup.register(("one", "more", 100), key(MANY), 0);
    assert_eq!(result, Err(Refusal::TotalLimit));
    drop(setup);

    let setup = Setup::with_file(&path, 0);
    assert_eq!(setup.registry.sizes().registrations, MANY as usize);
    let calls = setup.grants.take_calls();
    assert_eq!((calls.len(), calls[0].len()), (1, MANY as usize));
    assert_eq!(
        setup.registry.get(&key(77_777)).unwrap().grant.pssid,
        pssid("7777")
    );
    let filter = Filter {
        pssid: Some(pssid("500")),
        token: None,
    };
    assert_eq!(
        setup.registry.list(None, 100, &filter).registrations.len(),
        10
    );
    setup.registry.expire(at(100));
    assert_eq!(setup.registry.sizes().registrations, 0);
    // The file has outdated records only, and was written anew.
    assert!(fs::metadata(&path).unwrap().len() < 100);
}

#[test]
fn the_remains_of_an_interrupted_rewrite_are_removed() {
    let (directory, path) = directory();
    drop(Setup::with_file(&path, 0));
    let remains = directory.path().join("registrations.new");
    File::create(&remains).unwrap();
    drop(Setup::with_file(&path, 0));
    assert!(!remains.exists());
}
