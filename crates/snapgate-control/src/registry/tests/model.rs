//! Comparison with a simple model over random sequences of calls, restarts included.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const IDENTITIES: usize = 4;
const PSSIDS: [&str; 3] = ["alice", "bob", "carol"];
/// End of each token. The subscriber of a token is that of its number modulo 3.
const TOKENS: [i64; 12] = [20, 20, 30, 40, 40, 60, 60, 80, 90, 100, 100, 120];
const MAX_REGISTRATIONS: usize = 3;
const MAX_PER_PSSID: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Register {
        token: usize,
        identity: usize,
    },
    Revoke {
        selector: Selector,
        lasts: Option<i64>,
    },
    Unrevoke {
        selector: Selector,
    },
    Wait {
        seconds: i64,
    },
    Expire,
    Restart,
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        (0..TOKENS.len()).prop_map(|number| Selector::Token(claims_of(number).token)),
        (0..PSSIDS.len()).prop_map(|number| Selector::Pssid(pssid(PSSIDS[number]))),
        (0..IDENTITIES).prop_map(|number| Selector::Identity(key(number as u32))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..TOKENS.len(), 0..IDENTITIES)
            .prop_map(|(token, identity)| Step::Register { token, identity }),
        2 => (selector(), prop::option::weighted(0.8, -2..60_i64))
            .prop_map(|(selector, lasts)| Step::Revoke { selector, lasts }),
        2 => selector().prop_map(|selector| Step::Unrevoke { selector }),
        3 => (0..12_i64).prop_map(|seconds| Step::Wait { seconds }),
        2 => Just(Step::Expire),
        1 => Just(Step::Restart),
    ]
}

fn claims_of(number: usize) -> Claims {
    let pssid = PSSIDS[number % PSSIDS.len()];
    claims(pssid, &format!("t{number}"), TOKENS[number])
}

/// The rules in their simplest form: nothing is ever removed, and everything is compared with the time.
#[derive(Default)]
struct Model {
    now: i64,
    /// Identity that each token has registered.
    bound: HashMap<TokenId, (Identity, Claims)>,
    registrations: BTreeMap<Identity, Grant>,
    revocations: BTreeMap<Selector, Timestamp>,
}

impl Model {
    fn now(&self) -> Timestamp {
        at(self.now)
    }

    fn live(&self) -> BTreeMap<Identity, Grant> {
        let mut live = self.registrations.clone();
        live.retain(|_, grant| grant.expires > self.now());
        live
    }

    fn live_revocations(&self) -> Vec<Revocation> {
        let live = self.revocations.iter().filter(|one| *one.1 > self.now());
        live.map(|(selector, until)| Revocation {
            selector: selector.clone(),
            until: *until,
        })
        .collect()
    }

    fn is_revoked(&self, selector: &Selector) -> bool {
        self.revocations
            .get(selector)
            .is_some_and(|until| *until > self.now())
    }

    fn register(&mut self, claims: &Claims, identity: Identity) -> Result<Registered, Refusal> {
        if claims.expires <= self.now() {
            return Err(Refusal::Expired);
        }
        if self.is_revoked(&Selector::Token(claims.token.clone())) {
            return Err(Refusal::TokenRevoked);
        }
        if self.is_revoked(&Selector::Pssid(claims.pssid.clone())) {
            return Err(Refusal::PssidRevoked);
        }
        if self.is_revoked(&Selector::Identity(identity)) {
            return Err(Refusal::IdentityRevoked);
        }
        if self
            .bound
            .get(&claims.token)
            .is_some_and(|bound| bound.0 != identity)
        {
            return Err(Refusal::TokenUsed);
        }
        let live = self.live();
        let effect = match live.get(&identity) {
            None => {
                let of_pssid = live.values().filter(|grant| grant.pssid == claims.pssid);
                if of_pssid.count() >= MAX_PER_PSSID {
                    return Err(Refusal::PssidLimit);
                }
                if live.len() >= MAX_REGISTRATIONS {
                    return Err(Refusal::TotalLimit);
                }
                Effect::New
            }
            Some(current) if current.pssid != claims.pssid => return Err(Refusal::IdentityTaken),
            Some(current) if current.token == claims.token => Effect::Unchanged,
            Some(current) if claims.expires < current.expires => Effect::Unchanged,
            Some(_) => Effect::Renewed,
        };
        let bound = (identity, claims.clone());
        self.bound.insert(claims.token.clone(), bound);
        if effect != Effect::Unchanged {
            let grant = Grant {
                expires: claims.expires,
                pssid: claims.pssid.clone(),
                token: claims.token.clone(),
            };
            self.registrations.insert(identity, grant);
        }
        Ok(Registered {
            expires: self.registrations[&identity].expires,
            effect,
        })
    }

    /// Returns `None` for an end in the past.
    fn revoke(&mut self, selector: &Selector, until: Option<Timestamp>) -> Option<Revoked> {
        if until.is_some_and(|until| until <= self.now()) {
            return None;
        }
        let concerns = |identity: &Identity, grant: &Grant| match selector {
            Selector::Token(token) => grant.token == *token,
            Selector::Pssid(pssid) => grant.pssid == *pssid,
            Selector::Identity(revoked) => identity == revoked,
        };
        let mut ended = self.live();
        ended.retain(|identity, grant| concerns(identity, grant));
        let tokens = self.bound.values().map(|(_, claims)| claims);
        let ends = tokens.filter(|claims| match selector {
            Selector::Token(token) => claims.token == *token,
            Selector::Pssid(pssid) => claims.pssid == *pssid,
            Selector::Identity(_) => false,
        });
        let ends = ends.map(|claims| claims.expires);
        let ends = ends.chain(ended.values().map(|grant| grant.expires));
        let known = ends.filter(|end| *end > self.now()).max();
        let until = match (selector, known) {
            (Selector::Token(_), Some(known)) => until.map_or(known, |until| until.max(known)),
            (_, known) => {
                let until = until.unwrap_or(at(self.now + 30 * 86_400));
                known.map_or(until, |known| known.max(until))
            }
        };
        let previous = self.revocations.get(selector).copied();
        let until = previous.map_or(until, |previous| previous.max(until));
        self.revocations.insert(selector.clone(), until);
        for identity in ended.keys() {
            self.registrations.remove(identity);
        }
        Some(Revoked {
            ended: ended.len(),
            until,
        })
    }

    fn unrevoke(&mut self, selector: &Selector) -> bool {
        let existed = self.is_revoked(selector);
        self.revocations.remove(selector);
        existed
    }
}

fn open(path: &Path, now: i64) -> Setup {
    let settings = RegistrySettings {
        file: Some(path.to_owned()),
        max_registrations: MAX_REGISTRATIONS,
        max_per_pssid: MAX_PER_PSSID,
    };
    Setup::open(settings, now)
}

fn compare(setup: &Setup, model: &Model) {
    let mut in_force = setup.grants.lock().grants.clone();
    in_force.retain(|_, grant| grant.expires > model.now());
    assert_eq!(in_force, model.live(), "grants in force");
    let listed = setup
        .list()
        .into_iter()
        .map(|one| (one.identity, one.grant));
    let listed: BTreeMap<_, _> = listed.filter(|one| one.1.expires > model.now()).collect();
    assert_eq!(listed, model.live(), "listed registrations");
    let mut revocations = setup.registry.revocations(None, 100);
    revocations.retain(|revocation| revocation.until > model.now());
    assert_eq!(revocations, model.live_revocations(), "revocations");
}

fn run(steps: &[Step]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registrations");
    let mut model = Model::default();
    let mut setup = open(&path, 0);
    for step in steps {
        match step {
            Step::Register { token, identity } => {
                let claims = claims_of(*token);
                let identity = key(*identity as u32);
                let result = setup.registry.register(&claims, identity, model.now());
                assert_eq!(result, model.register(&claims, identity), "{claims:?}");
            }
            Step::Revoke { selector, lasts } => {
                let until = lasts.map(|lasts| at(model.now + lasts));
                let result = setup.registry.revoke(selector, until, model.now());
                assert_eq!(result.ok(), model.revoke(selector, until));
            }
            Step::Unrevoke { selector } => {
                let result = setup.registry.unrevoke(selector, model.now());
                assert_eq!(result.unwrap(), model.unrevoke(selector));
            }
            Step::Wait { seconds } => model.now += seconds,
            Step::Expire => {
                setup.registry.expire(model.now());
                let sizes = setup.registry.sizes();
                assert_eq!(sizes.registrations, model.live().len());
                assert_eq!(sizes.revocations, model.live_revocations().len());
            }
            Step::Restart => {
                drop(setup);
                setup = open(&path, model.now);
            }
        }
        compare(&setup, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_registry_behaves_like_the_model(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps);
    }
}
