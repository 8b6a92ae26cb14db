//! What a client can do to another one with a valid token of its own and the other's public key.

use super::*;

/// The victim's registration, a renewal included.
fn victim(setup: &Setup) -> (Identity, Registration) {
    setup.register(("victim", "v1", 100), key(1), 0).unwrap();
    setup.register(("victim", "v2", 200), key(1), 10).unwrap();
    (key(1), setup.registry.get(&key(1)).unwrap())
}

#[test]
fn no_registration_changes_moves_or_ends_that_of_another() {
    let setup = Setup::in_memory();
    let (identity, before) = victim(&setup);
    setup.grants.take_calls();
    // Tokens that end before, with and after those of the victim; ids that equal those of the victim, which an issuer
    // would not sign.
    let mut tried = 0;
    for token in ["m1", "v1", "v2"] {
        for expires in [50, 100, 150, 200, 1000] {
            for now in [20, 49] {
                let result = setup.register(("mallory", token, expires), identity, now);
                let expected = [Refusal::IdentityTaken, Refusal::TokenUsed];
                assert!(expected.contains(&result.unwrap_err()), "{result:?}");
                tried += 1;
            }
        }
    }
    assert_eq!(setup.registry.get(&identity).unwrap(), before);
    assert!(
        setup.grants.take_calls().is_empty(),
        "the data plane hears nothing"
    );
    let refused: u64 = setup.registry.counts().refused.iter().sum();
    assert_eq!(refused, tried);
    // The victim renews as before.
    let result = setup.register(("victim", "v3", 300), identity, 50);
    assert_eq!(result, accepted(Effect::Renewed, 300));
}

#[test]
fn a_refusal_tells_no_more_than_that_the_identity_is_registered() {
    let answers = |pssid: &str, expires: i64| {
        let setup = Setup::in_memory();
        setup.register((pssid, "v1", expires), key(1), 0).unwrap();
        let refusal = setup.register(("mallory", "m1", 500), key(1), 1);
        (refusal, refusal.unwrap_err().to_string())
    };
    assert_eq!(answers("victim", 100), answers("another", 1000));
}

#[test]
fn using_up_all_limits_affects_no_other_subscriber() {
    let setup = Setup::in_memory();
    let (identity, _) = victim(&setup);
    let mut accepted = 0;
    for number in 0..100 {
        let name = format!("m{number}");
        let result = setup.register(("mallory", &name, 1000), key(100 + number), 20);
        accepted += usize::from(result.is_ok());
    }
    assert_eq!(accepted, RegistrySettings::default().max_per_pssid);
    for number in 0..1000 {
        let name = format!("n{number}");
        let _refused = setup.register(("mallory", &name, 1000 + number), key(100), 20);
    }
    assert!(setup.registry.sizes().used_tokens < 300);
    assert!(setup.register(("victim", "v3", 300), identity, 50).is_ok());
    assert!(setup.register(("victim", "v4", 300), key(2), 50).is_ok());
}

#[test]
fn a_pssid_that_resembles_another_is_another() {
    let setup = Setup::in_memory();
    let (identity, _) = victim(&setup);
    for pssid in ["", "victi", "victim\0", "victim ", "Victim", "victimm"] {
        let result = setup.register((pssid, "m1", 500), identity, 20);
        assert_eq!(result, Err(Refusal::IdentityTaken), "{pssid:?}");
        let filter = Filter {
            pssid: Some(super::pssid(pssid)),
            token: None,
        };
        assert_eq!(setup.registry.list(None, 10, &filter).registrations, []);
    }
}

/// While an identity has no registration, another client can register it. It cannot use it, because handshakes need the
/// private key, and the owner gets it back when that registration ends; a revocation of the `pssid` ends it at once.
#[test]
fn an_unused_identity_can_be_squatted_but_not_after_a_revocation() {
    let setup = Setup::in_memory();
    setup.register(("mallory", "m1", 100), key(1), 0).unwrap();
    let result = setup.register(("victim", "v1", 200), key(1), 10);
    assert_eq!(result, Err(Refusal::IdentityTaken));
    setup
        .revoke(&Selector::Pssid(pssid("mallory")), 500, 20)
        .unwrap();
    let result = setup.register(("victim", "v1", 200), key(1), 20);
    assert_eq!(result, accepted(Effect::New, 200));
}
