use jiff::SignedDuration;

use super::*;
use crate::keys::PublicKey;

const KEY: Key = [7; 32];

/// In seconds.
const HOUR: i64 = 3600;

/// A registry, and the numbers that shards compare.
struct World {
    registry: Registry,
    /// The base of all times.
    now: Timestamp,
    told: (u64, u64),
}

/// What shards have to do after a change.
#[derive(PartialEq, Eq, Debug)]
enum Told {
    Nothing,
    /// Ask for the clients whose grant ended.
    NewGrants,
    /// Ask for all tunnels.
    Ended,
    Both,
}

/// What authorizes the identity.
#[derive(PartialEq, Eq, Debug)]
enum Source {
    Nothing,
    File,
    /// ID of a token.
    Token(String),
}

fn token(id: &str) -> Source {
    Source::Token(id.to_owned())
}

impl World {
    fn new(identities: &[Identity]) -> Self {
        Self {
            registry: Registry::new(identities),
            now: Timestamp::now(),
            told: (0, 0),
        }
    }

    /// Returns a time, in seconds from now.
    fn at(&self, seconds: i64) -> Timestamp {
        self.now + SignedDuration::from_secs(seconds)
    }

    fn identity(&self, expires: Option<i64>) -> Identity {
        identity(7, expires.map(|seconds| self.at(seconds)))
    }

    fn registered(&self, expires: i64, pssid: &str, token_id: &str) -> RegistrationChange {
        RegistrationChange {
            identity: KEY,
            registered: Some(Registered {
                expires: self.at(expires),
                registration: Arc::new(Registration {
                    pssid: pssid.into(),
                    token_id: token_id.into(),
                }),
            }),
        }
    }

    /// Returns what the changes since the last call tell the shards.
    fn told(&mut self) -> Told {
        let told = (self.registry.generation(), self.registry.new_grants());
        let before = std::mem::replace(&mut self.told, told);
        match (told.0 != before.0, told.1 != before.1) {
            (false, false) => Told::Nothing,
            (false, true) => Told::NewGrants,
            (true, false) => Told::Ended,
            (true, true) => Told::Both,
        }
    }

    fn apply(&mut self, changes: &[RegistrationChange]) -> Told {
        self.registry.apply(changes);
        self.told()
    }

    fn replace(&mut self, identities: &[Identity]) -> Told {
        self.registry.replace(identities);
        self.told()
    }

    /// Returns the source of the grant.
    fn source(&self) -> Source {
        let Some(grant) = self.registry.grant(Instant::now(), &KEY) else {
            return Source::Nothing;
        };
        match grant.session_data.registration() {
            None => Source::File,
            Some(registration) => Source::Token(registration.token_id.to_string()),
        }
    }
}

fn identity(key: u8, expires: Option<Timestamp>) -> Identity {
    Identity {
        public_key: PublicKey::from_bytes([key; 32]),
        name: None,
        expires,
    }
}

const REMOVED: RegistrationChange = RegistrationChange {
    identity: KEY,
    registered: None,
};

#[test]
fn a_registration_is_in_force_at_once() {
    let mut world = World::new(&[]);
    assert_eq!(world.source(), Source::Nothing);
    let registration = world.registered(HOUR, "subscriber", "token");
    assert_eq!(world.apply(&[registration]), Told::NewGrants);
    assert_eq!(world.source(), token("token"));
    let now = Instant::now();
    let end = world.registry.grant(now, &KEY).unwrap().expires.unwrap();
    // The test may take a minute.
    let left = end.duration_since(now).as_secs();
    assert!((3540..=3600).contains(&left), "{left}");
    assert_eq!(world.registry.status().registered, 1);
}

#[test]
fn a_renewal_tells_the_shards_nothing() {
    let mut world = World::new(&[]);
    world.apply(&[world.registered(HOUR, "subscriber", "0")]);
    for renewal in 1..100 {
        let token_id = renewal.to_string();
        let renewal = world.registered(HOUR + renewal, "subscriber", &token_id);
        assert_eq!(world.apply(&[renewal]), Told::Nothing);
        assert_eq!(world.source(), Source::Token(token_id));
    }
    assert_eq!(world.registry.status().registered, 1);
}

#[test]
fn a_removal_a_shortened_grant_and_another_subscription_are_told() {
    let mut world = World::new(&[]);
    world.apply(&[world.registered(2 * HOUR, "subscriber", "1")]);
    let shortened = world.registered(HOUR, "subscriber", "2");
    assert_eq!(world.apply(&[shortened]), Told::Ended);
    let moved = world.registered(2 * HOUR, "other", "3");
    assert_eq!(world.apply(&[moved]), Told::Ended);
    assert_eq!(world.apply(&[REMOVED]), Told::Ended);
    assert_eq!(world.source(), Source::Nothing);
    assert_eq!(world.apply(&[REMOVED]), Told::Nothing);
    assert_eq!(world.registry.status().registered, 0);
}

#[test]
fn an_expired_registration_is_no_grant_and_its_removal_is_not_told() {
    let mut world = World::new(&[]);
    let expired = world.registered(-1, "subscriber", "1");
    assert_eq!(world.apply(&[expired]), Told::Nothing);
    assert_eq!(world.source(), Source::Nothing);
    assert_eq!(world.registry.status().registered, 1);
    assert_eq!(world.apply(&[REMOVED]), Told::Nothing);
    assert_eq!(world.registry.status().registered, 0);
}

#[test]
fn a_registration_that_returns_after_its_end_is_told() {
    let mut world = World::new(&[]);
    // It has ended, and may have been removed.
    for removed in [&[][..], &[REMOVED]] {
        world.apply(&[world.registered(-1, "subscriber", "1")]);
        world.apply(removed);
        let renewal = world.registered(HOUR, "subscriber", "2");
        assert_eq!(world.apply(&[renewal]), Told::NewGrants);
        assert_eq!(world.apply(&[REMOVED]), Told::Ended);
    }
}

#[test]
fn of_changes_of_one_identity_the_last_counts() {
    let mut world = World::new(&[]);
    world.apply(&[world.registered(HOUR, "subscriber", "1")]);
    let renewal = world.registered(2 * HOUR, "subscriber", "2");
    world.apply(&[REMOVED, renewal]);
    assert_eq!(world.source(), token("2"));
    let other = world.registered(2 * HOUR, "other", "3");
    assert_eq!(world.apply(&[REMOVED, other]), Told::Ended);
    let renewal = world.registered(3 * HOUR, "other", "4");
    assert_eq!(world.apply(&[renewal, REMOVED]), Told::Ended);
    assert_eq!(world.source(), Source::Nothing);
}

#[test]
fn an_identity_has_a_grant_while_the_file_or_a_registration_says_so() {
    let mut world = World::new(&[]);
    let listed = [world.identity(None)];
    assert_eq!(world.replace(&listed), Told::NewGrants);
    assert_eq!(world.source(), Source::File);
    // The file decides, and the traffic is not accounted to the registration.
    let registration = world.registered(2 * HOUR, "subscriber", "1");
    assert_eq!(world.apply(&[registration]), Told::Nothing);
    assert_eq!(world.source(), Source::File);
    // Without the file, the registration does.
    assert_eq!(world.replace(&[]), Told::Ended);
    assert_eq!(world.source(), token("1"));
    // And the other way round.
    assert_eq!(world.replace(&listed), Told::Ended);
    assert_eq!(world.apply(&[REMOVED]), Told::Nothing);
    assert_eq!(world.source(), Source::File);
    assert_eq!(world.replace(&[]), Told::Ended);
    assert_eq!(world.source(), Source::Nothing);
}

#[test]
fn a_registration_is_the_grant_after_the_entry_of_the_file_has_expired() {
    let mut world = World::new(&[]);
    world.replace(&[world.identity(Some(-1))]);
    assert_eq!(world.source(), Source::Nothing);
    world.apply(&[world.registered(2 * HOUR, "subscriber", "1")]);
    assert_eq!(world.source(), token("1"));
    assert_eq!(world.replace(&[]), Told::Nothing);
    // An entry that ends earlier than the registration: shards ask again at its end.
    let listed = [world.identity(Some(HOUR))];
    assert_eq!(world.replace(&listed), Told::Ended);
    assert_eq!(world.source(), Source::File);
}

#[test]
fn a_new_list_takes_effect_at_once() {
    let mut world = World::new(&[]);
    let later = world.at(HOUR);
    world.replace(&[
        identity(1, None),
        identity(2, None),
        identity(3, Some(later)),
    ]);
    let changes = world.registry.replace(&[
        identity(2, None),
        identity(3, Some(later + Duration::from_secs(1))),
        identity(4, None),
        identity(5, None),
    ]);
    let expected = IdentityChanges {
        listed: 4,
        added: 2,
        removed: 1,
        expiry_changed: 1,
    };
    assert_eq!(changes, expected);
    assert_eq!(world.registry.status().listed, 4);
    let now = Instant::now();
    let is_authorized = |key| world.registry.grant(now, &[key; 32]).is_some();
    assert_eq!([1, 2, 3, 4].map(is_authorized), [false, true, true, true]);
}

#[test]
fn a_list_that_only_adds_or_extends_ends_no_grant() {
    let mut world = World::new(&[]);
    let (sooner, later) = (world.at(HOUR), world.at(2 * HOUR));
    world.replace(&[identity(1, Some(sooner))]);
    assert_eq!(world.replace(&[identity(1, Some(later))]), Told::Nothing);
    let added = [identity(1, Some(later)), identity(2, None)];
    assert_eq!(world.replace(&added), Told::NewGrants);
    assert_eq!(world.replace(&added), Told::Nothing);
    let shortened = [identity(1, Some(sooner)), identity(2, None)];
    assert_eq!(world.replace(&shortened), Told::Ended);
    let exchanged = [identity(1, Some(sooner)), identity(3, None)];
    assert_eq!(world.replace(&exchanged), Told::Both);
}

#[test]
fn the_same_list_changes_nothing() {
    let identities = [identity(1, None), identity(2, None)];
    let mut world = World::new(&identities);
    let changes = world.registry.replace(&identities);
    assert!(changes.is_empty());
    assert_eq!(changes.listed, 2);
    assert_eq!(world.told(), Told::Nothing);
}

#[test]
fn after_a_step_of_the_system_clock_all_grants_are_asked_for() {
    let mut world = World::new(&[]);
    world.registry.ask_again();
    assert_eq!(world.told(), Told::Both);
}

#[test]
fn a_failed_reload_is_reported_until_the_next_successful_one() {
    let registry = Registry::new(&[]);
    assert!(registry.status().last_reload_successful);
    registry.note_failed_reload();
    assert!(!registry.status().last_reload_successful);
    registry.replace(&[identity(1, None)]);
    assert!(registry.status().last_reload_successful);
    assert_eq!(registry.status().listed, 1);
}

/// A number is told after the change: whoever sees that the registration of a round was removed does not find it.
#[test]
fn a_shard_that_sees_a_new_generation_does_not_find_the_old_grant() {
    const ROUNDS: u64 = 2000;
    let world = World::new(&[]);
    let registry = &world.registry;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                registry.apply(&[world.registered(HOUR, "subscriber", &round.to_string())]);
                registry.apply(&[REMOVED]);
            }
        });
        loop {
            let removed = registry.generation();
            if let Source::Token(round) = world.source() {
                let round: u64 = round.parse().unwrap();
                assert!(round > removed, "{round} was removed");
            }
            if removed == ROUNDS {
                break;
            }
        }
    });
    assert_eq!(world.registry.new_grants(), ROUNDS);
    assert_eq!(world.source(), Source::Nothing);
}
