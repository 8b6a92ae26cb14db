use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const KEY: [u8; 32] = [7; 32];

const MOMENT: Moment = Moment {
    boot: [1; 16],
    boottime: Duration::from_secs(10),
    latest_stamp: Duration::from_secs(1_000_010),
};

fn records() -> BTreeMap<SocketAddr, Record> {
    let remotes = [
        "10.0.0.1:1",
        "255.255.255.255:65535",
        "[2001:db8::1]:65535",
        "[fe80::1%7]:9",
    ];
    let record = |(n, remote): (u8, &str)| {
        let record = Record {
            identity: [n; 32],
            heard_at: Duration::from_nanos(u64::from(n) * 1_000_000_007),
        };
        (remote.parse().unwrap(), record)
    };
    (1..).zip(remotes).map(record).collect()
}

fn file(records: &BTreeMap<SocketAddr, Record>) -> Vec<u8> {
    write(&KEY, &MOMENT, records.iter())
}

#[test]
fn a_written_file_is_read_back() {
    for records in [records(), BTreeMap::new()] {
        let content = read(&file(&records), &KEY).unwrap();
        assert_eq!(content.moment, MOMENT);
        assert_eq!(content.records, records.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_truncated_file_is_rejected() {
    let whole = file(&records());
    for length in 0..whole.len() {
        assert!(read(&whole[..length], &KEY).is_err(), "{length}");
    }
}

#[test]
fn a_file_with_a_changed_byte_is_rejected() {
    let whole = file(&records());
    for at in 0..whole.len() {
        for bit in [0, 7] {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            assert!(read(&changed, &KEY).is_err(), "{at}");
        }
    }
}

#[test]
fn each_kind_of_unusable_file_has_its_error() {
    let unreadable = |file: &[u8]| read(file, &KEY).unwrap_err().to_string();
    assert_eq!(unreadable(b""), "not a snapgate state file");
    assert_eq!(unreadable(b"#!/bin/sh\n"), "not a snapgate state file");
    let mut older = file(&records());
    older[8] = 1;
    assert_eq!(unreadable(&older), "format 1, expected format 2");
    assert_eq!(
        unreadable(&write(&[8; 32], &MOMENT, records().iter())),
        "belongs to a different private key"
    );
    assert_eq!(
        unreadable(&[&file(&records())[..], b"x"].concat()),
        "damaged"
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let behind_header = [&MAGIC[..], &VERSION.to_le_bytes(), &bytes].concat();
        for file in [&bytes, &behind_header] {
            prop_assert!(read(file, &KEY).is_err());
        }
    }

    #[test]
    fn no_content_panics(bytes in proptest::collection::vec(0u8..8, 0..300)) {
        let _ = read_content(&bytes);
    }
}
