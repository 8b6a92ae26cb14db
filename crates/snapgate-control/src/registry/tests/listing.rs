//! Listings and watching.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

fn filled() -> Setup {
    let setup = Setup::in_memory();
    for number in 0..30 {
        let pssid = ["alice", "bob", "carol"][number as usize % 3];
        let token = format!("{number}");
        setup
            .register((pssid, &token, 100), key(number), 0)
            .unwrap();
    }
    setup
}

fn identities(page: &Page) -> Vec<Identity> {
    page.registrations.iter().map(|one| one.identity).collect()
}

#[test]
fn pages_contain_every_registration_once_and_in_order() {
    let setup = filled();
    for limit in [1, 7, 29, 30, 31, usize::MAX] {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = setup.registry.list(after, limit, &Filter::default());
            assert!(page.registrations.len() <= limit);
            all.extend(identities(&page));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(all, (0..30).map(key).collect::<Vec<_>>(), "limit {limit}");
    }
}

#[test]
fn a_page_is_never_larger_than_the_maximum() {
    let setup = Setup::in_memory();
    for number in 0..PAGE_MAX as u32 + 1 {
        let name = format!("{number}");
        setup.register((&name, &name, 100), key(number), 0).unwrap();
    }
    let page = setup.registry.list(None, usize::MAX, &Filter::default());
    assert_eq!(page.registrations.len(), PAGE_MAX);
    assert_eq!(page.next, Some(key(PAGE_MAX as u32 - 1)));
    // A page has at least one item, so that listings come to an end.
    let page = setup.registry.list(page.next, 0, &Filter::default());
    assert_eq!(
        (identities(&page), page.next),
        (vec![key(PAGE_MAX as u32)], None)
    );
}

#[test]
fn registrations_of_a_subscriber_or_a_token_are_found() {
    let setup = filled();
    let bob = Filter {
        pssid: Some(pssid("bob")),
        token: None,
    };
    let page = setup.registry.list(None, 4, &bob);
    assert_eq!(identities(&page), [1, 4, 7, 10].map(key));
    let page = setup.registry.list(page.next, 100, &bob);
    assert_eq!(identities(&page), [13, 16, 19, 22, 25, 28].map(key));
    assert_eq!(page.next, None);

    let with = |token_name: &str, pssid_name: Option<&str>| Filter {
        pssid: pssid_name.map(pssid),
        token: Some(token(token_name)),
    };
    let list = |after, filter: &Filter| identities(&setup.registry.list(after, 10, filter));
    assert_eq!(list(None, &with("4", None)), [key(4)]);
    assert_eq!(list(None, &with("4", Some("bob"))), [key(4)]);
    assert_eq!(list(None, &with("4", Some("alice"))), [] as [Identity; 0]);
    assert_eq!(list(Some(key(4)), &with("4", None)), [] as [Identity; 0]);
    assert_eq!(list(None, &with("none", None)), [] as [Identity; 0]);
    let none = Filter {
        pssid: Some(pssid("bo")),
        token: None,
    };
    assert_eq!(list(None, &none), [] as [Identity; 0]);
}

#[test]
fn the_highest_identity_ends_a_listing() {
    let setup = Setup::in_memory();
    setup.register(("bob", "b1", 100), [0xff; 32], 0).unwrap();
    setup.register(("boc", "c1", 100), key(1), 0).unwrap();
    let bob = Filter {
        pssid: Some(pssid("bob")),
        token: None,
    };
    let page = setup.registry.list(None, 1, &bob);
    assert_eq!((identities(&page), page.next), (vec![[0xff; 32]], None));
    for filter in [bob, Filter::default()] {
        let page = setup.registry.list(Some([0xff; 32]), 1, &filter);
        assert_eq!(page.registrations, []);
    }
}

#[test]
fn revocations_are_listed_in_pages() {
    let setup = Setup::in_memory();
    let selectors = [
        Selector::Token(token("a")),
        Selector::Token(token("b")),
        Selector::Pssid(pssid("a")),
        Selector::Identity(key(1)),
    ];
    for selector in selectors.iter().rev() {
        setup.revoke(selector, 100, 0).unwrap();
    }
    let list = |after, limit| setup.registry.revocations(after, limit);
    let first = list(None, 3);
    let rest = list(Some(&first[2].selector), 3);
    let all = first.into_iter().chain(rest);
    let expected = selectors.map(|selector| Revocation {
        selector,
        until: at(100),
    });
    assert_eq!(all.collect::<Vec<_>>(), expected);
}

/// Follows a registry as another gateway would: the contents first, then the changes since.
struct Follower {
    watch: Watch,
    contents: BTreeMap<Key, Record>,
}

impl Follower {
    fn start(registry: &Registry) -> Self {
        let revision = registry.revision();
        let mut follower = Self {
            contents: BTreeMap::new(),
            watch: registry.watch(revision).unwrap(),
        };
        let page = registry.list(None, PAGE_MAX, &Filter::default());
        for registration in page.registrations {
            let record = Record::Registration(registration);
            follower.contents.insert(record.key(), record);
        }
        follower
    }

    fn follow(&mut self) {
        loop {
            let changes = self.watch.next(Duration::ZERO).unwrap();
            if changes.is_empty() {
                return;
            }
            for (_, change) in changes {
                match change {
                    Change::Put(record) => self.contents.insert(record.key(), record),
                    Change::Remove(key) => self.contents.remove(&key),
                };
            }
        }
    }

    fn registrations(&self) -> Vec<Registration> {
        let registration = |record: &Record| match record {
            Record::Registration(registration) => Some(registration.clone()),
            _ => None,
        };
        self.contents.values().filter_map(registration).collect()
    }
}

#[test]
fn a_follower_has_the_same_registrations() {
    let setup = filled();
    let mut follower = Follower::start(&setup.registry);
    assert_eq!(follower.registrations(), setup.list());
    setup.register(("alice", "0b", 200), key(0), 0).unwrap();
    setup.register(("dave", "d1", 100), key(40), 0).unwrap();
    setup
        .revoke(&Selector::Pssid(pssid("bob")), 100, 0)
        .unwrap();
    follower.follow();
    assert_eq!(follower.registrations(), setup.list());
    let revocation = Key::Revocation(Selector::Pssid(pssid("bob")));
    assert!(follower.contents.contains_key(&revocation));
    setup
        .registry
        .unrevoke(&Selector::Pssid(pssid("bob")), at(0))
        .unwrap();
    follower.follow();
    assert!(!follower.contents.contains_key(&revocation));
}

#[test]
fn the_latest_changes_can_be_watched_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registrations");
    let setup = Setup::with_file(&path, 0);
    setup.register(("alice", "a1", 100), key(1), 0).unwrap();
    let revision = setup.registry.revision();
    setup.register(("alice", "a2", 100), key(2), 0).unwrap();
    drop(setup);
    let setup = Setup::with_file(&path, 0);
    let mut watch = setup.registry.watch(revision).unwrap();
    let changes = watch.next(Duration::ZERO).unwrap();
    let [(number, Change::Put(record))] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(*number, revision + 1);
    assert_eq!(record.key(), Key::Registration(key(2)));
}
