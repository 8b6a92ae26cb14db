//! Stores that fail or hang, and many registrations at once.

use std::io;
use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::registry::history::History;
use crate::registry::store::Durability;

/// A store whose commits fail while it is told so, or wait until they are let through.
struct TestStore {
    history: Arc<History>,
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    state: Mutex<ControlState>,
    changed: Condvar,
}

#[derive(Default)]
struct ControlState {
    is_failing: bool,
    is_hanging: bool,
    /// Number of commits that wait.
    waiting: usize,
    /// Successful commits.
    commits: Vec<(Vec<Change>, Durability)>,
}

impl TestStore {
    fn new() -> (Box<Self>, Arc<Control>) {
        let control = Arc::new(Control::default());
        let store = Self {
            history: Arc::new(History::new(0)),
            control: Arc::clone(&control),
        };
        (Box::new(store), control)
    }
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, ControlState> {
        self.state.lock().unwrap()
    }

    fn fail(&self, is_failing: bool) {
        self.lock().is_failing = is_failing;
    }

    fn hang(&self, is_hanging: bool) {
        self.lock().is_hanging = is_hanging;
        self.changed.notify_all();
    }

    fn wait_for_commit(&self) {
        let is_none = |state: &mut ControlState| state.waiting == 0;
        let _commit = self.changed.wait_while(self.lock(), is_none).unwrap();
    }

    fn take_commits(&self) -> Vec<(Vec<Change>, Durability)> {
        std::mem::take(&mut self.lock().commits)
    }
}

impl Store for TestStore {
    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError> {
        let mut state = self.control.lock();
        state.waiting += 1;
        self.control.changed.notify_all();
        let is_hanging = |state: &mut ControlState| state.is_hanging;
        let mut state = self.control.changed.wait_while(state, is_hanging).unwrap();
        state.waiting -= 1;
        if state.is_failing {
            let error = io::Error::from(io::ErrorKind::StorageFull);
            return Err(StoreError::io(Path::new("file"), error));
        }
        state.commits.push((changes.to_vec(), durability));
        self.history.add(changes.iter().cloned());
        Ok(())
    }

    fn history(&self) -> &Arc<History> {
        &self.history
    }
}

fn setup() -> (Setup, Arc<Control>) {
    let (store, control) = TestStore::new();
    (Setup::with_store(store), control)
}

#[test]
fn a_registration_that_cannot_be_stored_is_refused_and_leaves_no_trace() {
    let (setup, control) = setup();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    let before = setup.list();
    setup.grants.take_calls();
    control.fail(true);
    let refused = Err(Refusal::NotStored);
    assert_eq!(setup.register(("bob", "b1", 100), key(2), 0), refused);
    assert_eq!(setup.register(("alice", "a2", 200), key(1), 0), refused);
    assert_eq!(setup.list(), before);
    assert_eq!(setup.registry.sizes().used_tokens, 0);
    assert!(!setup.grants.has(key(2), 0));
    assert_eq!(setup.grants.get(key(1), 0).unwrap().token, token("a1"));
    // What needs no change is answered.
    let result = setup.register(("alice", "a1", 100), key(1), 0);
    assert_eq!(result, accepted(Effect::Unchanged, 100));
    control.fail(false);
    // Nothing was used up.
    let result = setup.register(("bob", "b1", 100), key(3), 0);
    assert_eq!(result, accepted(Effect::New, 100));
    let result = setup.register(("alice", "a2", 200), key(1), 0);
    assert_eq!(result, accepted(Effect::Renewed, 200));
    let counts = setup.registry.counts();
    assert_eq!((counts.commits, counts.failed_commits), (5, 2));
    assert_eq!(counts.refused[Refusal::NotStored.index()], 2);
}

#[test]
fn registrations_end_while_nothing_can_be_stored() {
    let (setup, control) = setup();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    control.fail(true);
    assert_eq!(setup.registry.expire(at(100)), None);
    assert_eq!(setup.list(), []);
    assert!(!setup.grants.has(key(1), 0));
}

#[test]
fn a_revocation_that_cannot_be_stored_is_in_force_and_stored_later() {
    let (setup, control) = setup();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    control.fail(true);
    control.take_commits();
    let error = setup
        .revoke(&Selector::Pssid(pssid("alice")), 500, 0)
        .unwrap_err();
    assert!(matches!(error, RevokeError::NotStored(_)), "{error}");
    assert!(!setup.grants.has(key(1), 0));
    assert_eq!(setup.list(), []);
    let result = setup.register(("alice", "a2", 100), key(1), 0);
    assert_eq!(result, Err(Refusal::PssidRevoked));
    setup.registry.expire(at(1));
    assert!(control.take_commits().is_empty());

    control.fail(false);
    setup.registry.expire(at(2));
    let commits = control.take_commits();
    let [(changes, Durability::Machine)] = &commits[..] else {
        panic!("{commits:?}");
    };
    let keys: Vec<_> = changes.iter().map(Change::key).collect();
    let expected = [
        Key::Registration(key(1)),
        Key::UsedToken(token("a1")),
        Key::Revocation(Selector::Pssid(pssid("alice"))),
    ];
    assert_eq!(keys, expected);
    setup.registry.expire(at(3));
    assert!(control.take_commits().is_empty());
}

#[test]
fn what_could_not_be_stored_is_stored_before_the_next_registration() {
    let (setup, control) = setup();
    control.fail(true);
    let selector = Selector::Identity(key(1));
    setup.revoke(&selector, 500, 0).unwrap_err();
    control.fail(false);
    setup.register(("bob", "b1", 100), key(2), 0).unwrap();
    let commits = control.take_commits();
    let [(changes, Durability::Machine)] = &commits[..] else {
        panic!("{commits:?}");
    };
    assert_eq!(changes[0].key(), Key::Revocation(selector));
    assert_eq!(changes[1].key(), Key::Registration(key(2)));
}

#[test]
fn a_removal_of_a_revocation_that_cannot_be_stored_has_no_effect() {
    let (setup, control) = setup();
    let selector = Selector::Identity(key(1));
    setup.revoke(&selector, 500, 0).unwrap();
    control.fail(true);
    assert!(setup.registry.unrevoke(&selector, at(0)).is_err());
    let result = setup.register(("alice", "a1", 100), key(1), 0);
    assert_eq!(result, Err(Refusal::IdentityRevoked));
    assert!(
        !setup
            .registry
            .unrevoke(&Selector::Identity(key(2)), at(0))
            .unwrap()
    );
}

#[test]
fn registrations_need_no_sync_and_revocations_do() {
    let (setup, control) = setup();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    setup.revoke(&Selector::Identity(key(1)), 500, 0).unwrap();
    setup
        .registry
        .unrevoke(&Selector::Identity(key(1)), at(0))
        .unwrap();
    let durabilities: Vec<_> = control.take_commits().iter().map(|one| one.1).collect();
    let machine = Durability::Machine;
    assert_eq!(durabilities, [Durability::Process, machine, machine]);
}

/// Runs `body` while a commit hangs that `begin` causes on another thread. Returns the result of `begin`.
fn while_hanging<T: Send>(
    control: &Control,
    begin: impl FnOnce() -> T + Send,
    body: impl FnOnce(),
) -> T {
    control.hang(true);
    thread::scope(|scope| {
        let hanging = scope.spawn(begin);
        control.wait_for_commit();
        body();
        control.hang(false);
        hanging.join().unwrap()
    })
}

#[test]
fn reading_does_not_wait_for_a_commit() {
    let (setup, control) = setup();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    let begin = || setup.register(("bob", "b1", 100), key(2), 0);
    let result = while_hanging(&control, begin, || {
        assert!(setup.registry.get(&key(1)).is_some());
        setup.list();
        assert!(setup.registry.revocations(None, 10).is_empty());
        assert!(setup.registry.sizes().registrations > 0);
        assert!(setup.registry.counts().commits > 0);
        let revision = setup.registry.revision();
        setup.registry.watch(revision).unwrap();
        assert!(!setup.grants.has(key(2), 0), "it is not stored yet");
    });
    assert_eq!(result, accepted(Effect::New, 100));
    assert!(setup.grants.has(key(2), 0));
}

/// Revokes on another thread, and lets the commits through when the identity has lost its grant.
fn revoke_while_hanging(
    setup: &Setup,
    control: &Control,
    selector: &Selector,
    identity: Identity,
) -> Result<Revoked, RevokeError> {
    thread::scope(|scope| {
        let revoking = scope.spawn(|| setup.revoke(selector, 500, 0));
        while setup.grants.has(identity, 0) {
            thread::yield_now();
        }
        control.hang(false);
        revoking.join().unwrap()
    })
}

#[test]
fn a_revocation_is_in_force_while_the_store_hangs() {
    let (setup, control) = setup();
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    let begin = || setup.register(("bob", "b1", 100), key(2), 0);
    let bob = while_hanging(&control, begin, || {
        let alice = Selector::Pssid(pssid("alice"));
        revoke_while_hanging(&setup, &control, &alice, key(1)).unwrap();
    });
    assert_eq!(bob, accepted(Effect::New, 100));
    let left: Vec<_> = setup.list().iter().map(|one| one.identity).collect();
    assert_eq!(left, [key(2)]);
}

#[test]
fn revocations_are_in_force_without_waiting_while_the_store_hangs_and_are_stored_later() {
    let (setup, control) = setup();
    for number in 1..=20 {
        let name = format!("{number}");
        setup.register((&name, &name, 100), key(number), 0).unwrap();
    }
    let selector = |number| Selector::Identity(key(number));
    while_hanging(
        &control,
        || setup.register(("bob", "b1", 100), key(30), 0),
        || {
            // On the thread that lets the store go on.
            for number in 1..=20 {
                let until = Some(at(500));
                let begun = setup.registry.begin_revoke(&selector(number), until, at(0));
                let expected = Revoked {
                    ended: 1,
                    until: at(500),
                };
                assert_eq!(begun.map(|one| one.revoked()).unwrap(), expected);
                assert!(!setup.grants.has(key(number), 0));
            }
        },
    )
    .unwrap();
    control.take_commits();
    // No thread waits for these revocations.
    setup.registry.expire(at(1));
    let commits = control.take_commits();
    assert!(commits.iter().all(|one| one.1 == Durability::Machine));
    let stored: Vec<_> = commits
        .iter()
        .flat_map(|(changes, _)| changes)
        .map(Change::key)
        .filter(|key| matches!(key, Key::Revocation(_)))
        .collect();
    let expected: Vec<_> = (1..=20).map(|n| Key::Revocation(selector(n))).collect();
    assert_eq!(stored, expected);
    assert_eq!(setup.list().len(), 1);
    assert_eq!(setup.registry.counts().revoked, 20);
}

#[test]
fn a_registration_that_is_revoked_while_it_is_stored_is_refused_and_never_in_force() {
    for is_failing in [false, true] {
        let (setup, control) = setup();
        setup.register(("alice", "a1", 100), key(1), 0).unwrap();
        setup.grants.take_calls();
        // A renewal: if it is taken back, the previous registration must not come back either.
        let begin = || setup.register(("alice", "a2", 200), key(1), 0);
        let renewal = while_hanging(&control, begin, || {
            control.fail(is_failing);
            let selector = Selector::Identity(key(1));
            let revoked = revoke_while_hanging(&setup, &control, &selector, key(1));
            assert_eq!(revoked.is_err(), is_failing);
        });
        assert_eq!(renewal, Err(Refusal::IdentityRevoked));
        assert_eq!(setup.list(), []);
        let calls = setup.grants.take_calls();
        let granted = calls
            .iter()
            .flatten()
            .filter(|change| change.grant.is_some());
        assert_eq!(granted.count(), 0);
    }
}

#[test]
fn many_at_once_are_stored_and_put_into_force_together() {
    const MANY: usize = 100;
    let (setup, control) = setup();
    let register = |number: u32| {
        let name = format!("{number}");
        let result = setup.register((&name, &name, 100), key(number), 0);
        assert_eq!(result, accepted(Effect::New, 100));
    };
    while_hanging(
        &control,
        || register(0),
        || {
            thread::scope(|scope| {
                let register = &register;
                for number in 1..=MANY as u32 {
                    scope.spawn(move || register(number));
                }
                while setup.registry.0.waiting() < MANY {
                    thread::yield_now();
                }
                control.hang(false);
            });
        },
    );
    let commits: Vec<_> = control
        .take_commits()
        .iter()
        .map(|one| one.0.len())
        .collect();
    assert_eq!(commits, [1, MANY]);
    let calls: Vec<_> = setup.grants.take_calls().iter().map(Vec::len).collect();
    assert_eq!(calls, [1, MANY]);
    assert_eq!(setup.list().len(), 1 + MANY);
}

#[test]
fn of_many_that_register_one_identity_or_use_one_token_at_once_one_succeeds() {
    let setup = Setup::in_memory();
    let identity_won = AtomicUsize::new(0);
    let token_won = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..32 {
            let (setup, identity_won, token_won) = (&setup, &identity_won, &token_won);
            scope.spawn(move || {
                let name = format!("{number}");
                let result = setup.register((&name, &name, 100), key(1), 0);
                identity_won.fetch_add(usize::from(result.is_ok()), Ordering::Relaxed);
                let result = setup.register(("shared", "shared", 100), key(100 + number), 0);
                token_won.fetch_add(usize::from(result.is_ok()), Ordering::Relaxed);
            });
        }
    });
    assert_eq!((identity_won.into_inner(), token_won.into_inner()), (1, 1));
    assert_eq!(setup.list().len(), 2);
    assert_eq!(setup.grants.lock().grants.len(), 2);
}
