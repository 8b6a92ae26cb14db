//! The rules of registration.

use super::*;

#[test]
fn a_valid_token_registers_an_identity_until_its_end() {
    let setup = Setup::in_memory();
    let result = setup.register(("alice", "a1", 100), key(1), 0);
    assert_eq!(result, accepted(Effect::New, 100));
    let expected = Grant {
        expires: at(100),
        pssid: pssid("alice"),
        token: token("a1"),
    };
    assert_eq!(setup.grants.get(key(1), 0), Some(expected.clone()));
    let registration = setup.registry.get(&key(1)).unwrap();
    assert_eq!(registration.grant, expected);
}

#[test]
fn a_token_is_refused_from_its_end_on() {
    let setup = Setup::in_memory();
    let claims = ("alice", "a1", 100);
    for now in [100, 101, 1_000_000] {
        assert_eq!(setup.register(claims, key(1), now), Err(Refusal::Expired));
    }
    assert!(setup.register(claims, key(1), 99).is_ok());
    assert_eq!(setup.registry.counts().refused[Refusal::Expired.index()], 3);
}

#[test]
fn keys_of_low_order_are_refused() {
    let setup = Setup::in_memory();
    let mut one = [0; 32];
    one[0] = 1;
    for identity in [[0; 32], one] {
        let result = setup.register(("alice", "a1", 100), identity, 0);
        assert_eq!(result, Err(Refusal::LowOrderIdentity));
    }
    // The token is not used up.
    assert!(setup.register(("alice", "a1", 100), key(1), 0).is_ok());
}

#[test]
fn ids_of_more_than_255_bytes_are_refused() {
    let setup = Setup::in_memory();
    let (longest, too_long) = ("x".repeat(255), "x".repeat(256));
    let refused = Err(Refusal::IdTooLong);
    assert_eq!(setup.register((&too_long, "a1", 100), key(1), 0), refused);
    assert_eq!(
        setup.register(("alice", &too_long, 100), key(1), 0),
        refused
    );
    let result = setup.register((&longest, &longest, 100), key(1), 0);
    assert_eq!(result, accepted(Effect::New, 100));
}

#[test]
fn a_token_registers_one_identity() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    let result = setup.register(("alice", "a1", 100), key(2), 1);
    assert_eq!(result, Err(Refusal::TokenUsed));
    assert!(!setup.grants.has(key(2), 1) && setup.grants.has(key(1), 1));
}

#[test]
fn a_token_that_a_renewal_replaced_registers_no_other_identity() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("alice", "a2", 200), key(1), 50).unwrap();
    for now in [50, 99] {
        let result = setup.register(("alice", "a1", 100), key(2), now);
        assert_eq!(result, Err(Refusal::TokenUsed));
    }
    assert_eq!(setup.registry.sizes().used_tokens, 1);
    setup.registry.expire(at(100));
    assert_eq!(setup.registry.sizes().used_tokens, 0);
    let result = setup.register(("alice", "a1", 100), key(2), 100);
    assert_eq!(result, Err(Refusal::Expired));
}

#[test]
fn a_repeated_registration_is_answered_without_a_change() {
    let setup = Setup::in_memory();
    let claims = ("alice", "a1", 100);
    setup.register(claims, key(1), 0).unwrap();
    let revision = setup.registry.revision();
    setup.grants.take_calls();
    let result = setup.register(claims, key(1), 10);
    assert_eq!(result, accepted(Effect::Unchanged, 100));
    assert_eq!(setup.registry.revision(), revision);
    assert_eq!(setup.grants.take_calls(), Vec::<Vec<GrantChange>>::new());
}

#[test]
fn a_renewal_replaces_the_token_and_ends_nothing() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("alice", "b1", 100), key(2), 0).unwrap();
    setup.grants.take_calls();
    let result = setup.register(("alice", "a2", 200), key(1), 40);
    assert_eq!(result, accepted(Effect::Renewed, 200));
    let renewed = Grant {
        expires: at(200),
        pssid: pssid("alice"),
        token: token("a2"),
    };
    let expected = GrantChange {
        identity: key(1),
        grant: Some(renewed),
    };
    assert_eq!(setup.grants.take_calls(), [[expected]]);
    assert_eq!(setup.list().len(), 2);
}

#[test]
fn a_renewal_with_the_same_end_makes_its_token_the_current_one() {
    let setup = Setup::in_memory();
    for round in 0..4 {
        let (token, other) = (["a1", "a2"][round % 2], ["a1", "a2"][(round + 1) % 2]);
        setup.register(("alice", token, 100), key(1), 0).unwrap();
        let current = setup.grants.get(key(1), 0).unwrap().token;
        assert_eq!(&*current.0, token);
        // Both stay bound to the identity.
        if round > 0 {
            assert_eq!(setup.registry.sizes().used_tokens, 1);
            let result = setup.register(("alice", other, 100), key(2), 0);
            assert_eq!(result, Err(Refusal::TokenUsed));
        }
    }
}

#[test]
fn a_token_that_ends_earlier_shortens_nothing_and_is_bound() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a2", 200), key(1), 0).unwrap();
    setup.grants.take_calls();
    let late = ("alice", "a1", 100);
    for _ in 0..2 {
        let result = setup.register(late, key(1), 10);
        assert_eq!(result, accepted(Effect::Unchanged, 200));
        assert_eq!(setup.registry.sizes().used_tokens, 1);
    }
    assert!(setup.grants.take_calls().is_empty());
    assert_eq!(setup.grants.get(key(1), 10).unwrap().token, token("a2"));
    let result = setup.register(late, key(2), 20);
    assert_eq!(result, Err(Refusal::TokenUsed));
}

/// An issuer must not use an id twice. If it does, the identity keeps the later end.
#[test]
fn a_token_id_that_is_issued_twice_extends_and_never_shortens() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    let result = setup.register(("alice", "a1", 200), key(1), 0);
    assert_eq!(result, accepted(Effect::Renewed, 200));
    let result = setup.register(("alice", "a1", 100), key(1), 0);
    assert_eq!(result, accepted(Effect::Unchanged, 200));
}

#[test]
fn a_live_identity_moves_only_to_tokens_of_its_pssid() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    for expires in [50, 100, 1000] {
        let result = setup.register(("mallory", "m1", expires), key(1), 1);
        assert_eq!(result, Err(Refusal::IdentityTaken));
    }
    let index = Refusal::IdentityTaken.index();
    assert_eq!(setup.registry.counts().refused[index], 3);
    assert_eq!(setup.grants.get(key(1), 1).unwrap().pssid, pssid("alice"));
    // The token of the refused one can still be used for an identity of its own.
    assert!(setup.register(("mallory", "m1", 1000), key(2), 2).is_ok());
}

#[test]
fn an_identity_whose_registration_has_ended_can_be_registered_by_any_token() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    // With and without the removal of the ended registration.
    for (round, name) in ["bob", "carol"].into_iter().enumerate() {
        let now = 100 * (round as i64 + 1);
        let result = setup.register((name, name, now + 100), key(1), now);
        assert_eq!(result, accepted(Effect::New, now + 100));
        assert_eq!(setup.grants.get(key(1), now).unwrap().pssid, pssid(name));
        setup.registry.expire(at(now + 100));
    }
    assert_eq!(setup.list(), []);
}

fn limited(max_registrations: usize, max_per_pssid: usize) -> Setup {
    let settings = RegistrySettings {
        file: None,
        max_registrations,
        max_per_pssid,
    };
    Setup::open(settings, 0)
}

#[test]
fn the_limit_of_a_subscriber_is_named_and_affects_no_other() {
    let setup = limited(100, 2);
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("alice", "a2", 50), key(2), 0).unwrap();
    let refused = Err(Refusal::PssidLimit);
    assert_eq!(setup.register(("alice", "a3", 100), key(3), 0), refused);
    assert!(setup.register(("bob", "b1", 100), key(4), 0).is_ok());
    // Renewals need no room.
    assert!(setup.register(("alice", "a4", 100), key(1), 0).is_ok());
    // Ended registrations do not count, whether they are removed or not.
    let result = setup.register(("alice", "a3", 100), key(3), 50);
    assert_eq!(result, accepted(Effect::New, 100));
    assert_eq!(setup.register(("alice", "a5", 100), key(5), 50), refused);
}

#[test]
fn the_limit_in_total_is_named() {
    let setup = limited(3, 16);
    for number in 1..=3 {
        let (name, end) = (format!("{number}"), 100 * i64::from(number));
        setup.register((&name, &name, end), key(number), 0).unwrap();
    }
    let refused = Err(Refusal::TotalLimit);
    assert_eq!(setup.register(("x", "x", 1000), key(9), 99), refused);
    assert!(setup.register(("1", "1b", 100), key(1), 99).is_ok());
    // Ended registrations do not count, whether they are removed or not.
    assert!(setup.register(("x", "x", 1000), key(9), 100).is_ok());
    assert_eq!(setup.register(("y", "y", 1000), key(8), 100), refused);
    assert_eq!(setup.registry.sizes().registrations, 3);
    assert!(!setup.grants.has(key(1), 0), "its grant was ended");
    setup.registry.expire(at(300));
    assert!(setup.register(("y", "y", 1000), key(8), 300).is_ok());
    assert!(setup.register(("z", "z", 1000), key(7), 300).is_ok());
}

#[test]
fn replaced_tokens_are_limited_per_subscriber() {
    let setup = limited(1000, 1);
    // 64 replaced tokens and the current one.
    for number in 0..65 {
        let name = format!("a{number}");
        let result = setup.register(("alice", &name, 100 + number), key(1), 0);
        assert!(result.is_ok(), "{result:?}");
    }
    let result = setup.register(("alice", "next", 500), key(1), 0);
    assert_eq!(result, Err(Refusal::PssidTokenLimit));
    let result = setup.register(("alice", "late", 50), key(1), 0);
    assert_eq!(result, Err(Refusal::PssidTokenLimit));
    assert!(setup.grants.has(key(1), 0));
    assert!(setup.register(("bob", "b1", 100), key(2), 0).is_ok());
    // The first replaced token has ended.
    let result = setup.register(("alice", "next", 500), key(1), 100);
    assert_eq!(result, accepted(Effect::Renewed, 500));
}

#[test]
fn replaced_tokens_are_limited_in_total() {
    let setup = limited(2, 16);
    for number in 0..9 {
        let name = format!("a{number}");
        let result = setup.register(("alice", &name, 100 + number), key(1), 0);
        assert!(result.is_ok(), "{result:?}");
    }
    let result = setup.register(("alice", "next", 500), key(1), 0);
    assert_eq!(result, Err(Refusal::TotalTokenLimit));
    let result = setup.register(("alice", "next", 500), key(1), 100);
    assert_eq!(result, accepted(Effect::Renewed, 500));
}

#[test]
fn a_lowered_limit_keeps_existing_registrations() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registrations");
    let setup = Setup::with_file(&path, 0);
    for number in 1..=5 {
        let name = format!("{number}");
        setup.register((&name, &name, 100), key(number), 0).unwrap();
    }
    drop(setup);
    let lower = RegistrySettings {
        max_registrations: 2,
        ..settings(&path)
    };
    let setup = Setup::open(lower, 0);
    assert_eq!(setup.list().len(), 5);
    assert!(setup.register(("1", "1b", 200), key(1), 0).is_ok());
    let refused = Err(Refusal::TotalLimit);
    assert_eq!(setup.register(("x", "x", 200), key(9), 0), refused);
    assert!(setup.register(("x", "x", 200), key(9), 100).is_ok());
}

#[test]
fn a_registry_that_refuses_new_identities_accepts_renewals() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.registry.refuse_new_identities();
    let refused = Err(Refusal::ShuttingDown);
    assert_eq!(setup.register(("bob", "b1", 200), key(2), 0), refused);
    assert!(!setup.grants.has(key(2), 0));
    let renewal = setup.register(("alice", "a2", 200), key(1), 50);
    assert_eq!(renewal, accepted(Effect::Renewed, 200));
    // A registration that has ended is not renewed.
    assert_eq!(setup.register(("alice", "a3", 300), key(1), 200), refused);
    let counts = setup.registry.counts();
    assert_eq!(counts.refused[Refusal::ShuttingDown.index()], 2);
}

#[test]
fn results_are_counted() {
    let setup = Setup::in_memory();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.register(("alice", "a2", 200), key(1), 0).unwrap();
    setup.register(("alice", "a2", 200), key(2), 0).unwrap_err();
    setup.register(("bob", "b1", 200), key(1), 0).unwrap_err();
    let counts = setup.registry.counts();
    assert_eq!(
        Effect::ALL.map(|effect| counts.accepted[effect.index()]),
        [1, 1, 1]
    );
    for refusal in Refusal::ALL {
        let expected = matches!(refusal, Refusal::TokenUsed | Refusal::IdentityTaken);
        assert_eq!(
            counts.refused[refusal.index()],
            u64::from(expected),
            "{refusal}"
        );
    }
    assert_eq!((counts.commits, counts.failed_commits), (2, 0));
}
