//! Revocations.

use super::*;

#[test]
fn a_revoked_token_loses_its_registration_and_cannot_register_again() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("alice", "a2", 100), key(2), 0).unwrap();
    let revoked = setup.revoke(&Selector::Token(token("a1")), 1, 0).unwrap();
    // A known token is revoked at least until its end.
    let expected = Revoked {
        ended: 1,
        until: at(100),
    };
    assert_eq!(revoked, expected);
    assert!(!setup.grants.has(key(1), 0) && setup.grants.has(key(2), 0));
    for (identity, now) in [(key(1), 0), (key(3), 0), (key(1), 99)] {
        let result = setup.register(("alice", "a1", 100), identity, now);
        assert_eq!(result, Err(Refusal::TokenRevoked));
    }
    // The client may register with another token.
    let result = setup.register(("alice", "a3", 200), key(1), 0);
    assert_eq!(result, accepted(Effect::New, 200));
}

#[test]
fn a_known_token_stays_revoked_until_a_later_time_that_was_given() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    let selector = Selector::Token(token("a1"));
    let expected = Revoked {
        ended: 1,
        until: at(300),
    };
    assert_eq!(setup.revoke(&selector, 300, 0).unwrap(), expected);
    // An issuer renews the token with the same id.
    let renewed = setup.register(("alice", "a1", 400), key(1), 150);
    assert_eq!(renewed, Err(Refusal::TokenRevoked));
    assert!(setup.register(("alice", "a1", 400), key(1), 300).is_ok());
}

#[test]
fn without_a_time_a_known_token_is_revoked_until_its_end_and_others_for_30_days() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    let until = |selector| setup.registry.revoke(&selector, None, at(0)).unwrap().until;
    let days = 86_400 * 30;
    assert_eq!(until(Selector::Token(token("a1"))), at(100));
    assert_eq!(until(Selector::Token(token("a2"))), at(days));
    assert_eq!(until(Selector::Pssid(pssid("alice"))), at(days));
    assert_eq!(until(Selector::Identity(key(1))), at(days));
}

#[test]
fn an_unknown_token_can_be_revoked_before_it_is_used() {
    let setup = Setup::in_memory();
    let revoked = setup.revoke(&Selector::Token(token("a1")), 50, 0).unwrap();
    let expected = Revoked {
        ended: 0,
        until: at(50),
    };
    assert_eq!(revoked, expected);
    let result = setup.register(("alice", "a1", 100), key(1), 49);
    assert_eq!(result, Err(Refusal::TokenRevoked));
    assert!(setup.register(("alice", "a1", 100), key(1), 50).is_ok());
}

#[test]
fn a_revoked_token_that_a_renewal_had_replaced_ends_nothing() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("alice", "a2", 200), key(1), 50).unwrap();
    let revoked = setup.revoke(&Selector::Token(token("a1")), 1, 0).unwrap();
    let expected = Revoked {
        ended: 0,
        until: at(100),
    };
    assert_eq!(revoked, expected);
    assert!(setup.grants.has(key(1), 50));
    let result = setup.register(("alice", "a1", 100), key(1), 50);
    assert_eq!(result, Err(Refusal::TokenRevoked));
}

#[test]
fn a_revoked_subscriber_loses_all_registrations() {
    let setup = Setup::in_memory();
    for number in 1..=5 {
        let name = format!("a{number}");
        setup
            .register(("alice", &name, 100), key(number), 0)
            .unwrap();
    }
    setup.register(("bob", "b1", 100), key(9), 0).unwrap();
    setup.grants.take_calls();
    let revoked = setup
        .revoke(&Selector::Pssid(pssid("alice")), 500, 0)
        .unwrap();
    let expected = Revoked {
        ended: 5,
        until: at(500),
    };
    assert_eq!(revoked, expected);
    assert_eq!(setup.list().len(), 1);
    assert_eq!(setup.grants.lock().grants.len(), 1);
    let result = setup.register(("alice", "new", 1000), key(7), 499);
    assert_eq!(result, Err(Refusal::PssidRevoked));
    assert!(setup.register(("alice", "new", 1000), key(7), 500).is_ok());
    assert_eq!(setup.registry.counts().revoked, 5);
}

#[test]
fn a_revoked_identity_cannot_be_registered_with_any_token() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.revoke(&Selector::Identity(key(1)), 500, 0).unwrap();
    assert!(!setup.grants.has(key(1), 0));
    for claims in [
        ("alice", "a1", 100),
        ("alice", "a2", 999),
        ("bob", "b1", 999),
    ] {
        let result = setup.register(claims, key(1), 0);
        assert_eq!(result, Err(Refusal::IdentityRevoked));
    }
    // The token stays bound to the identity.
    let result = setup.register(("alice", "a1", 100), key(2), 0);
    assert_eq!(result, Err(Refusal::TokenUsed));
    assert!(setup.register(("alice", "a2", 999), key(2), 0).is_ok());
}

#[test]
fn a_revocation_lasts_at_least_until_the_tokens_that_it_concerns_end() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("alice", "a2", 200), key(2), 0).unwrap();
    let until = |selector| setup.revoke(&selector, 50, 0).unwrap().until;
    assert_eq!(until(Selector::Identity(key(1))), at(100));
    assert_eq!(until(Selector::Pssid(pssid("alice"))), at(200));
    // The registrations are gone, their tokens are still known.
    assert_eq!(until(Selector::Pssid(pssid("alice"))), at(200));
    assert_eq!(until(Selector::Token(token("a1"))), at(100));
}

#[test]
fn a_second_revocation_never_shortens_the_first() {
    let setup = Setup::in_memory();
    let until = |until| {
        let revoked = setup.revoke(&Selector::Identity(key(1)), until, 0);
        revoked.unwrap().until
    };
    assert_eq!([until(100), until(50), until(200)], [100, 100, 200].map(at));
    assert_eq!(setup.registry.revocations(None, 10).len(), 1);
}

#[test]
fn revocations_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registrations");
    let setup = Setup::with_file(&path, 0);
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("bob", "b1", 100), key(2), 0).unwrap();
    setup.register(("carol", "c1", 100), key(3), 0).unwrap();
    setup.revoke(&Selector::Token(token("a1")), 1, 0).unwrap();
    setup.revoke(&Selector::Pssid(pssid("bob")), 50, 0).unwrap();
    setup.revoke(&Selector::Identity(key(3)), 50, 0).unwrap();
    drop(setup);

    let setup = Setup::with_file(&path, 10);
    assert_eq!(setup.list(), []);
    assert!(setup.grants.take_calls().is_empty());
    let register = |claims, identity| setup.register(claims, identity, 10);
    let alice = register(("alice", "a1", 100), key(1));
    assert_eq!(alice, Err(Refusal::TokenRevoked));
    let bob = register(("bob", "b2", 900), key(2));
    assert_eq!(bob, Err(Refusal::PssidRevoked));
    let carol = register(("carol", "c2", 900), key(3));
    assert_eq!(carol, Err(Refusal::IdentityRevoked));
    // Tokens of revoked registrations stay bound as well.
    let other = register(("carol", "c1", 100), key(4));
    assert_eq!(other, Err(Refusal::TokenUsed));
}

#[test]
fn a_removed_revocation_stays_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registrations");
    let setup = Setup::with_file(&path, 0);
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    let selector = Selector::Pssid(pssid("alice"));
    setup.revoke(&selector, 500, 0).unwrap();
    assert!(setup.registry.unrevoke(&selector, at(0)).unwrap());
    assert!(!setup.registry.unrevoke(&selector, at(0)).unwrap());
    assert!(!setup.grants.has(key(1), 0), "the client has to register");
    drop(setup);
    let setup = Setup::with_file(&path, 0);
    assert_eq!(setup.registry.revocations(None, 10), []);
    // With the same token as before, which is still bound to the identity.
    let result = setup.register(("alice", "a1", 100), key(2), 0);
    assert_eq!(result, Err(Refusal::TokenUsed));
    let result = setup.register(("alice", "a1", 100), key(1), 0);
    assert_eq!(result, accepted(Effect::New, 100));
    assert_eq!(setup.registry.sizes().used_tokens, 0);
}

#[test]
fn unusable_arguments_change_nothing() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    let alice = || Selector::Pssid(pssid("alice"));
    let day = 86_400;
    assert!(matches!(
        setup.revoke(&alice(), 0, 0),
        Err(RevokeError::Past)
    ));
    let too_long = setup.revoke(&alice(), 366 * day + 1, 0);
    assert!(matches!(
        too_long,
        Err(RevokeError::TooLong { max_days: 366 })
    ));
    let id = "x".repeat(256);
    for selector in [Selector::Token(token(&id)), Selector::Pssid(pssid(&id))] {
        let error = setup.revoke(&selector, 100, 0).unwrap_err();
        assert!(matches!(
            error,
            RevokeError::IdTooLong {
                found: 256,
                max: 255
            }
        ));
    }
    assert_eq!(setup.registry.revocations(None, 10), []);
    assert!(setup.grants.has(key(1), 0));
    assert!(setup.revoke(&alice(), 366 * day, 0).is_ok());
}

#[test]
fn full_registries_do_not_keep_anything_from_being_revoked() {
    let settings = RegistrySettings {
        file: None,
        max_registrations: 1,
        max_per_pssid: 1,
    };
    let setup = Setup::open(settings, 0);
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    for number in 0..5 {
        let name = format!("a{number}");
        setup
            .register(("alice", &name, 101 + number), key(1), 0)
            .unwrap_or_else(|refusal| {
                assert_eq!(refusal, Refusal::TotalTokenLimit);
                accepted(Effect::Unchanged, 0).unwrap()
            });
    }
    let revoked = setup.revoke(&Selector::Identity(key(1)), 500, 0).unwrap();
    assert_eq!(revoked.ended, 1);
}

#[test]
fn the_number_of_revocations_is_bounded() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 1000), key(1), 0).unwrap();
    for number in 0..100_000 {
        let selector = Selector::Token(token(&format!("{number}")));
        setup
            .revoke(&selector, 50 + i64::from(number > 0), 0)
            .unwrap();
    }
    let one_more = || setup.revoke(&Selector::Pssid(pssid("alice")), 100, 0);
    let error = one_more().unwrap_err();
    assert!(
        matches!(error, RevokeError::Full { max: 100_000 }),
        "{error}"
    );
    assert!(setup.grants.has(key(1), 0), "nothing has changed");
    // A revocation of the same target needs no room, and ended ones do not count.
    assert!(setup.revoke(&Selector::Token(token("7")), 60, 0).is_ok());
    assert!(
        setup
            .revoke(&Selector::Pssid(pssid("alice")), 100, 50)
            .is_ok()
    );
    assert!(!setup.grants.has(key(1), 50));
}
