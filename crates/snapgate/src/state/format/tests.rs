use proptest::prelude::*;

use super::*;

const KEY: [u8; 32] = [7; 32];

fn moment(second: u64) -> Moment {
    Moment {
        boot: [1; 16],
        boottime: Duration::from_secs(second),
        latest_stamp: Duration::from_secs(1_000_000 + second),
    }
}

fn seen(remote: &str, n: u8) -> Change {
    Change::Seen {
        remote: remote.parse().unwrap(),
        record: Record {
            identity: [n; 32],
            heard_at: Duration::from_nanos(u64::from(n) * 1_000_000_007),
        },
    }
}

fn gone(remote: &str) -> Change {
    Change::Gone {
        remote: remote.parse().unwrap(),
    }
}

/// A file of several commits.
fn file(commits: &[Vec<Change>]) -> Vec<u8> {
    let (mut file, mut check) = write_header(&KEY);
    for (second, commit) in (0..).zip(commits) {
        write_frames(
            &mut check,
            &moment(second),
            commit.iter().copied(),
            &mut file,
        );
    }
    file
}

/// The commits in a file, and what stopped the reader.
fn read(file: &[u8]) -> (Vec<Vec<Change>>, Option<Unreadable>) {
    let mut commits = Vec::new();
    let mut reader = match FrameReader::new(file, &KEY) {
        Ok(reader) => reader,
        Err(unreadable) => return (commits, Some(unreadable)),
    };
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                assert_eq!(frame.moment, moment(commits.len() as u64));
                commits.push(frame.changes);
            }
            Ok(None) => return (commits, None),
            Err(unreadable) => return (commits, Some(unreadable)),
        }
    }
}

fn commits() -> Vec<Vec<Change>> {
    vec![
        vec![seen("10.0.0.1:1", 1), seen("[2001:db8::1]:65535", 2)],
        vec![],
        vec![gone("10.0.0.1:1"), gone("[2001:db8::1]:65535")],
        vec![seen("[fe80::1%7]:9", 255)],
    ]
}

#[test]
fn what_was_written_is_read() {
    let (read, unreadable) = read(&file(&commits()));
    assert_eq!(read, commits());
    assert!(unreadable.is_none());
}

#[test]
fn a_file_that_is_cut_off_is_what_it_was_before() {
    let whole = file(&commits());
    let header = write_header(&KEY).0.len();
    for length in 0..whole.len() {
        let (read, unreadable) = read(&whole[..length]);
        assert_eq!(read, commits()[..read.len()], "{length}");
        let whole_commits = file(&read).len();
        match unreadable {
            None => assert_eq!(whole_commits, length),
            Some(Unreadable::CutOff(at)) => {
                assert!(whole_commits < length && at == whole_commits as u64);
            }
            Some(_) => assert!(length < header, "{length}"),
        }
    }
}

#[test]
fn no_changed_byte_is_believed() {
    let whole = file(&commits());
    for at in 0..whole.len() {
        for bit in [0, 7] {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            let (read, unreadable) = read(&changed);
            assert_eq!(read, commits()[..read.len()], "{at}");
            assert!(unreadable.is_some(), "{at}");
        }
    }
}

#[test]
fn a_frame_is_worth_nothing_behind_others() {
    let one = file(&[vec![seen("10.0.0.1:1", 1)]]);
    let other = file(&[vec![], vec![gone("10.0.0.1:1")]]);
    let header = write_header(&KEY).0.len();
    let second_frame = file(&[vec![]]).len();
    assert_eq!(second_frame, header + 4 + 32 + 16);
    let (read, unreadable) = read(&[&one[..], &other[second_frame..]].concat());
    assert_eq!(read, [vec![seen("10.0.0.1:1", 1)]]);
    let end = one.len() as u64;
    assert!(matches!(unreadable, Some(Unreadable::Damaged(at)) if at == end));
}

#[test]
fn many_changes_are_several_frames() {
    let changes: Vec<_> = (0..40_000u16)
        .map(|port| gone(&format!("[2001:db8::1]:{port}")))
        .collect();
    let (mut file, mut check) = write_header(&KEY);
    write_frames(&mut check, &moment(0), changes.iter().copied(), &mut file);
    let mut reader = FrameReader::new(&file[..], &KEY).unwrap();
    let mut read = Vec::new();
    let mut frames = 0;
    while let Some(frame) = reader.next_frame().unwrap() {
        frames += 1;
        read.extend(frame.changes);
    }
    assert_eq!(frames, 2);
    assert_eq!(read, changes);
}

#[test]
fn each_foreign_file_is_called_what_it_is() {
    let unreadable = |file: &[u8]| read(file).1.unwrap().to_string();
    assert_eq!(unreadable(b""), "it is no state file of snapgate");
    assert_eq!(
        unreadable(b"#!/bin/sh\n"),
        "it is no state file of snapgate"
    );
    let mut newer = file(&[]);
    newer[8] = 2;
    assert_eq!(
        unreadable(&newer),
        "it has the format 2, and this version of snapgate writes the format 1"
    );
    assert_eq!(
        unreadable(&write_header(&[8; 32]).0),
        "it is that of a gateway with another private key"
    );
    assert_eq!(
        unreadable(&[&file(&commits())[..], b"x"].concat()),
        format!("it is cut off after {} bytes", file(&commits()).len())
    );
    assert_eq!(
        unreadable(&[&file(&commits())[..], &[0; 100]].concat()),
        format!("it is damaged after {} bytes", file(&commits()).len())
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let behind_header = [&write_header(&KEY).0[..], &bytes].concat();
        for file in [&bytes, &behind_header] {
            let (read, unreadable) = read(file);
            prop_assert!(read.is_empty());
            prop_assert_eq!(unreadable.is_none(), file.len() == behind_header.len() && bytes.is_empty());
        }
    }

    #[test]
    fn no_body_panics(bytes in proptest::collection::vec(0u8..6, 0..200)) {
        let _ = read_body(&bytes);
    }
}
