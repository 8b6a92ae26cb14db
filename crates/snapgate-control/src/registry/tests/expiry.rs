//! The end of registrations, and steps of the system clock.

use super::*;

#[test]
fn many_that_end_at_once_are_removed_in_slices_with_one_call_each() {
    let setup = Setup::in_memory();
    for number in 0..10_000 {
        let name = format!("{number}");
        setup.register((&name, &name, 100), key(number), 0).unwrap();
    }
    setup
        .register(("later", "later", 101), key(20_000), 0)
        .unwrap();
    setup.grants.take_calls();
    let revision = setup.registry.revision();

    assert_eq!(setup.registry.expire(at(99)), Some(at(100)));
    assert!(setup.grants.take_calls().is_empty());
    assert_eq!(setup.registry.expire(at(100)), Some(at(101)));
    let calls = setup.grants.take_calls();
    assert_eq!(calls.len(), 10_000_usize.div_ceil(256));
    assert!(calls.iter().all(|changes| changes.len() <= 256));
    let ended = calls
        .iter()
        .flatten()
        .filter(|change| change.grant.is_none());
    assert_eq!(ended.count(), 10_000);
    assert_eq!(setup.registry.sizes().registrations, 1);
    assert_eq!(setup.registry.counts().expired, 10_000);
    assert_eq!(setup.registry.revision(), revision, "nothing is stored");
    assert_eq!(setup.registry.expire(at(101)), None);
}

#[test]
fn a_renewed_registration_does_not_end_with_its_first_token() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("alice", "a2", 200), key(1), 90).unwrap();
    setup.registry.expire(at(150));
    assert!(setup.grants.has(key(1), 150));
    setup.registry.expire(at(200));
    assert!(!setup.grants.has(key(1), 150));
}

#[test]
fn nothing_ended_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registrations");
    let setup = Setup::with_file(&path, 0);
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("bob", "b1", 200), key(2), 0).unwrap();
    setup
        .revoke(&Selector::Pssid(pssid("carol")), 100, 0)
        .unwrap();
    drop(setup);
    let setup = Setup::with_file(&path, 100);
    assert_eq!(setup.list().len(), 1);
    assert_eq!(setup.registry.revocations(None, 10), []);
    let calls = setup.grants.take_calls();
    assert_eq!(calls.len(), 1, "all grants are given in one call");
    assert_eq!(calls[0].len(), 1);
}

#[test]
fn a_clock_that_is_set_back_lengthens_registrations() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 90).unwrap();
    // The clock was set back by 60 s.
    assert_eq!(setup.registry.expire(at(35)), Some(at(100)));
    assert!(setup.grants.has(key(1), 35));
    let result = setup.register(("bob", "b1", 200), key(1), 40);
    assert_eq!(result, Err(Refusal::IdentityTaken));
    assert!(setup.register(("alice", "a2", 200), key(1), 40).is_ok());
}

#[test]
fn a_clock_that_is_set_forward_by_mistake_ends_registrations_until_they_are_renewed() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("bob", "b1", 10_000), key(2), 0).unwrap();
    setup.registry.expire(at(5000));
    assert_eq!(setup.list().len(), 1);
    // Back to the right time: the token is still valid.
    let result = setup.register(("alice", "a1", 100), key(1), 10);
    assert_eq!(result, accepted(Effect::New, 100));
    assert_eq!(setup.registry.expire(at(11)), Some(at(100)));
    assert!(setup.grants.has(key(2), 11));
}
