use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(path: &Path) -> Box<dyn StateFiles> {
    LocalFiles::open(path).unwrap()
}

fn is_in_use(path: &Path) -> bool {
    matches!(LocalFiles::open(path), Err(StateError::InUse(_)))
}

#[test]
fn a_copy_of_the_descriptor_does_not_keep_the_directory_locked() {
    let directory = directory();
    let lock = DirectoryLock::acquire(directory.path()).unwrap();
    // A forked process has this copy until it executes a program.
    let copy = lock.0.try_clone().unwrap();
    drop(lock);
    open(directory.path());
    drop(copy);
}

#[test]
fn a_removed_file_is_noticed_and_written_again() {
    let directory = directory();
    let mut files = open(directory.path());
    assert!(files.are_in_place().unwrap());
    files.replace(b"one").unwrap();
    assert!(files.are_in_place().unwrap());
    fs::remove_file(directory.path().join(FILE)).unwrap();
    assert!(!files.are_in_place().unwrap());
    files.replace(b"one").unwrap();
    assert!(files.are_in_place().unwrap());
}

#[test]
fn a_file_that_others_replaced_or_truncated_is_noticed() {
    let directory = directory();
    let file = directory.path().join(FILE);
    let mut files = open(directory.path());
    let disturbances: [fn(&Path); 3] = [
        |file| fs::write(file, "").unwrap(),
        |file| {
            fs::copy(file, file.with_extension("copy")).unwrap();
            fs::rename(file.with_extension("copy"), file).unwrap();
        },
        |file| {
            fs::rename(file, file.with_extension("moved")).unwrap();
            symlink(file.with_extension("moved"), file).unwrap();
        },
    ];
    for disturb in disturbances {
        files.replace(b"content").unwrap();
        assert!(files.are_in_place().unwrap());
        disturb(&file);
        assert!(!files.are_in_place().unwrap());
    }
    files.replace(b"content").unwrap();
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
}

#[test]
fn a_replaced_directory_is_locked_again() {
    let parent = directory();
    let path = parent.path().join("state");
    fs::create_dir(&path).unwrap();
    let mut files = open(&path);
    files.replace(b"one").unwrap();
    fs::rename(&path, parent.path().join("moved")).unwrap();
    assert!(!files.are_in_place().unwrap());
    let error = files.replace(b"two").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);

    fs::create_dir(&path).unwrap();
    assert!(!files.are_in_place().unwrap());
    files.replace(b"two").unwrap();
    assert!(files.are_in_place().unwrap());
    assert_eq!(files.read().unwrap(), Found::Content(b"two".to_vec()));
    assert!(is_in_use(&path));
    // The previous directory is free.
    open(&parent.path().join("moved"));
}

#[test]
fn nothing_is_written_while_another_process_has_the_lock_of_the_path() {
    let directory = directory();
    let mut files = open(directory.path());
    files.replace(b"one").unwrap();
    fs::remove_file(directory.path().join(LOCK_FILE)).unwrap();
    let mut other = open(directory.path());
    other.replace(b"other").unwrap();

    assert!(!files.are_in_place().unwrap());
    let error = files.replace(b"two").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}");
    assert_eq!(other.read().unwrap(), Found::Content(b"other".to_vec()));
    assert!(other.are_in_place().unwrap());

    drop(other);
    files.replace(b"two").unwrap();
    assert!(files.are_in_place().unwrap());
    assert!(is_in_use(directory.path()));
}
