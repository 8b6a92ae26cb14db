use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn id() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        "[a-z0-9-]{0,40}".prop_map(Arc::from),
        Just(Arc::from("")),
        Just(Arc::from("\u{20ac}".repeat(85))),
    ]
}

fn time() -> impl Strategy<Value = Timestamp> {
    let range = Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond();
    range.prop_map(|nanosecond| Timestamp::from_nanosecond(nanosecond).unwrap())
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        id().prop_map(|id| Selector::Token(TokenId(id))),
        id().prop_map(|id| Selector::Pssid(Pssid(id))),
        any::<Identity>().prop_map(Selector::Identity),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let registration = (any::<Identity>(), time(), id(), id());
    let used = (any::<Identity>(), time(), id(), id());
    prop_oneof![
        registration.prop_map(|(identity, expires, pssid, token)| {
            Change::Put(Record::Registration(Registration {
                identity,
                grant: Grant {
                    expires,
                    pssid: Pssid(pssid),
                    token: TokenId(token),
                },
            }))
        }),
        used.prop_map(|(identity, expires, pssid, token)| {
            Change::Put(Record::UsedToken(UsedToken {
                token: TokenId(token),
                identity,
                pssid: Pssid(pssid),
                expires,
            }))
        }),
        (selector(), time()).prop_map(|(selector, until)| {
            Change::Put(Record::Revocation(Revocation { selector, until }))
        }),
        any::<Identity>().prop_map(|identity| Change::Remove(Key::Registration(identity))),
        id().prop_map(|id| Change::Remove(Key::UsedToken(TokenId(id)))),
        selector().prop_map(|selector| Change::Remove(Key::Revocation(selector))),
    ]
}

fn split(frame: &[u8]) -> Option<([u8; FRAME_HEAD_BYTES], &[u8])> {
    let (head, body) = frame.split_first_chunk()?;
    (frame_length(*head)? == body.len()).then_some((*head, body))
}

fn read(frame: &[u8]) -> Option<Frame> {
    let (head, body) = split(frame)?;
    read_frame(head, body)
}

proptest! {
    #[test]
    fn a_frame_is_read_as_it_was_written(
        changes in prop::collection::vec(change(), 0..20),
        revision in 0..=REVISION_MAX,
        is_commit: bool,
    ) {
        let kind = if is_commit { Kind::Commit } else { Kind::Contents };
        let mut frame = Vec::new();
        write_frame(&mut frame, kind, revision, &changes);
        prop_assert_eq!(read(&frame), Some(Frame { kind, revision, changes }));
    }

    #[test]
    fn a_changed_or_truncated_frame_is_rejected(
        changes in prop::collection::vec(change(), 0..5),
        at: prop::sample::Index,
        flip in 1..=u8::MAX,
    ) {
        let mut frame = Vec::new();
        write_frame(&mut frame, Kind::Commit, 7, &changes);
        let at = at.index(frame.len());
        prop_assert_eq!(read(&frame[..at]), None);
        frame[at] ^= flip;
        prop_assert_eq!(read(&frame), None);
    }

    #[test]
    fn a_body_with_a_valid_check_never_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let length = (body.len() as u32).to_le_bytes();
        let check = frame_check(length, &body);
        let mut head = [0; FRAME_HEAD_BYTES];
        head[..4].copy_from_slice(&length);
        head[4..].copy_from_slice(&check.to_le_bytes());
        let _any = read_frame(head, &body);
    }
}

#[test]
fn the_largest_frame_can_be_read() {
    let longest: Arc<str> = "x".repeat(255).into();
    let change = Change::Put(Record::UsedToken(UsedToken {
        token: TokenId(Arc::clone(&longest)),
        identity: [1; 32],
        pssid: Pssid(longest),
        expires: Timestamp::MAX,
    }));
    let changes = vec![change; FRAME_CHANGES_MAX];
    let mut frame = Vec::new();
    write_frame(&mut frame, Kind::Commit, REVISION_MAX, &changes);
    assert_eq!(frame.len(), FRAME_HEAD_BYTES + FRAME_BYTES_MAX);
    assert_eq!(read(&frame).unwrap().changes, changes);
}

#[test]
fn a_header_is_read_as_it_was_written() {
    for synced in [0, 24, u64::MAX] {
        assert_eq!(read_header(&write_header(synced)), Ok(synced));
    }
}

#[test]
fn a_header_of_another_kind_is_rejected() {
    let good = write_header(1000);
    for at in 0..HEADER_BYTES {
        let mut header = good;
        header[at] ^= 0x10;
        let expected = match at {
            0..8 => BadHeader::Foreign,
            8..12 => BadHeader::Version(VERSION ^ (0x10 << (8 * (at - 8)))),
            _ => BadHeader::Damaged,
        };
        assert_eq!(read_header(&header), Err(expected), "byte {at}");
    }
}
