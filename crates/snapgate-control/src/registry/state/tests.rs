use proptest::prelude::*;

use super::*;

fn time() -> impl Strategy<Value = Timestamp> {
    (0..5_i64).prop_map(|second| Timestamp::from_second(second).unwrap())
}

fn identity() -> impl Strategy<Value = Identity> {
    (1..5_u8).prop_map(|number| [number; 32])
}

fn pssid() -> impl Strategy<Value = Pssid> {
    prop::sample::select(vec!["", "a", "b"]).prop_map(|id| Pssid(id.into()))
}

fn token() -> impl Strategy<Value = TokenId> {
    prop::sample::select(vec!["", "t", "u", "v"]).prop_map(|id| TokenId(id.into()))
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        token().prop_map(Selector::Token),
        pssid().prop_map(Selector::Pssid),
        identity().prop_map(Selector::Identity),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let fields = || (identity(), time(), pssid(), token());
    prop_oneof![
        fields().prop_map(|(identity, expires, pssid, token)| {
            Record::Registration(Registration {
                identity,
                grant: Grant {
                    expires,
                    pssid,
                    token,
                },
            })
        }),
        fields().prop_map(|(identity, expires, pssid, token)| {
            Record::UsedToken(UsedToken {
                token,
                identity,
                pssid,
                expires,
            })
        }),
        (selector(), time())
            .prop_map(|(selector, until)| Record::Revocation(Revocation { selector, until })),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => record().prop_map(Change::Put),
        1 => record().prop_map(|record| Change::Remove(record.key())),
    ]
}

/// Tokens of registrations are unique by the rules, so changes that violate this are left out.
fn apply(state: &mut State, change: Change) -> Option<Change> {
    if let Change::Put(Record::Registration(registration)) = &change {
        let holder = state.identity_with(&registration.grant.token);
        if holder.is_some_and(|holder| holder != registration.identity) {
            return None;
        }
    }
    Some(state.apply(change))
}

fn all_records(state: &State, limit: usize) -> Vec<Record> {
    let mut all: Vec<Record> = Vec::new();
    loop {
        let after = all.last().map(Record::key);
        let records = state.records_after(after.as_ref(), limit);
        if records.is_empty() {
            return all;
        }
        assert!(records.len() <= limit);
        all.extend(records);
    }
}

proptest! {
    #[test]
    fn changes_that_are_taken_back_leave_no_trace(
        kept in prop::collection::vec(change(), 0..20),
        taken_back in prop::collection::vec(change(), 0..20),
    ) {
        let mut state = State::default();
        for change in kept {
            apply(&mut state, change);
        }
        let before = state.clone();
        let mut inverse = Vec::new();
        for change in taken_back {
            inverse.extend(apply(&mut state, change));
        }
        for change in inverse.into_iter().rev() {
            state.apply(change);
        }
        prop_assert_eq!(state, before);
    }

    #[test]
    fn contents_are_the_same_when_they_are_built_from_their_records(
        changes in prop::collection::vec(change(), 0..40),
        limit in 1..9_usize,
    ) {
        let mut state = State::default();
        for change in changes {
            apply(&mut state, change);
        }
        let records = all_records(&state, limit);
        prop_assert_eq!(records.len(), state.len());
        prop_assert!(records.is_sorted_by(|a, b| a.key() < b.key()));
        let mut again = State::default();
        for record in records {
            again.apply(Change::Put(record));
        }
        prop_assert_eq!(&again, &state);
        // Without records, the indexes are empty as well.
        for key in state.ended(Timestamp::MAX, usize::MAX) {
            state.apply(Change::Remove(key));
        }
        prop_assert_eq!(state, State::default());
    }
}
