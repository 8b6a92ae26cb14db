use std::fs;

use super::*;

/// The part of a process that answers, called in this one.
struct Answers(Option<Box<dyn StateFiles>>);

impl Answers {
    fn to(&mut self, operation: u8, argument: &[u8]) -> Vec<u8> {
        answer(&mut self.0, operation, argument)
    }
}

#[test]
fn each_operation_has_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().as_os_str().as_bytes();
    let mut files = Answers(None);
    assert_eq!(files.to(READ, b"")[0], FAILED);
    assert_eq!(files.to(OPEN, path), [DONE]);
    assert_eq!(Answers(None).to(OPEN, path), [IN_USE]);
    assert_eq!(files.to(READ, b""), [DONE, NOTHING]);
    assert_eq!(files.to(REPLACE, b"content"), [DONE]);
    assert_eq!(
        files.to(READ, b""),
        [&[DONE, CONTENT], &b"content"[..]].concat()
    );
    assert_eq!(files.to(ARE_IN_PLACE, b""), [DONE, 1]);
    assert_eq!(files.to(SET_ASIDE, b"aside"), [DONE]);
    assert_eq!(files.to(ARE_IN_PLACE, b""), [DONE, 0]);
    assert_eq!(
        fs::read(directory.path().join("aside")).unwrap(),
        b"content"
    );
    assert_eq!(files.to(b'?', b"")[0], FAILED);
    assert_eq!(answer(&mut files.0, 0, b"")[0], FAILED);
}

#[test]
fn a_missing_directory_is_an_error() {
    let missing = Answers(None).to(OPEN, b"/proc/no/directory");
    let (status, error) = missing.split_first().unwrap();
    assert_eq!(*status, FAILED);
    let error = file_process::decode_error(error);
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
