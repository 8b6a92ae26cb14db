//! Changes of the directory of tunnels for the next process.

use std::time::{Duration, Instant};

use snaptun::{DirectoryChange, Event, ShardConfig};

use crate::clock::{new_shard, now};
use testkit::shard::{Client, Shard};

/// Interval of the timer checks of a tunnel.
const LOOK: Duration = Duration::from_secs(1);

fn shard_with_directory(directory_changes: usize) -> Shard {
    let config = ShardConfig {
        directory_changes,
        ..ShardConfig::default()
    };
    Shard::new(now(), config)
}

fn look(shard: &mut Shard) {
    shard.now += LOOK;
    shard.update_timers();
}

fn changes(shard: &mut Shard) -> Vec<DirectoryChange> {
    std::iter::from_fn(|| shard.server.poll_event(true))
        .map(|event| match event {
            Event::Directory(change) => change,
            Event::Moved(moved) => panic!("{moved:?}"),
            Event::Usage(usage) => panic!("{usage:?}"),
        })
        .collect()
}

fn seen(client: &Client, heard_at: Instant) -> DirectoryChange {
    DirectoryChange::Seen {
        remote: client.remote(),
        identity: client.identity(),
        heard_at,
    }
}

fn gone(client: &Client) -> DirectoryChange {
    DirectoryChange::Gone {
        remote: client.remote(),
    }
}

fn keepalive(shard: &mut Shard, client: &mut Client) {
    let keepalive = client.data(b"");
    shard.incoming(&keepalive, client.endpoint);
}

#[test]
fn a_tunnel_in_use_and_its_end_are_reported() {
    let mut shard = shard_with_directory(16);
    let client = shard.connected_client(1);
    let heard_at = shard.now;
    look(&mut shard);
    assert_eq!(changes(&mut shard), [seen(&client, heard_at)]);
    look(&mut shard);
    assert_eq!(changes(&mut shard), []);

    shard.registry.revoke(client.identity());
    look(&mut shard);
    assert_eq!(changes(&mut shard), [gone(&client)]);
}

#[test]
fn a_half_open_tunnel_is_not_reported() {
    let mut shard = shard_with_directory(16);
    let mut client = shard.client(1);
    shard.answer(&mut client);
    look(&mut shard);
    shard.registry.revoke(client.identity());
    look(&mut shard);
    assert_eq!(shard.server.tunnel_count(), 0);
    assert_eq!(changes(&mut shard), []);
}

#[test]
fn a_tunnel_is_reported_again_after_a_much_later_message() {
    let refresh = DirectoryChange::REFRESH;
    let mut shard = shard_with_directory(16);
    let mut client = shard.connected_client(1);
    let told = shard.now;
    look(&mut shard);
    changes(&mut shard);

    // Time alone is not a change.
    shard.now = told + 2 * refresh;
    look(&mut shard);
    assert_eq!(changes(&mut shard), []);

    shard.now = told + refresh - Duration::from_nanos(1);
    keepalive(&mut shard, &mut client);
    shard.now = told + 2 * refresh + refresh / 2;
    look(&mut shard);
    assert_eq!(changes(&mut shard), []);

    keepalive(&mut shard, &mut client);
    let heard_at = shard.now;
    look(&mut shard);
    assert_eq!(changes(&mut shard), [seen(&client, heard_at)]);
}

#[test]
fn changes_beyond_the_queue_are_reported_later() {
    let mut shard = shard_with_directory(2);
    let clients = [1, 2, 3, 4, 5].map(|identity| shard.connected_client(identity));
    let heard_at = shard.now;
    let mut told = Vec::new();
    for round in [2, 2, 1, 0] {
        look(&mut shard);
        look(&mut shard);
        let changes = changes(&mut shard);
        assert_eq!(changes.len(), round);
        told.extend(changes);
    }
    for client in &clients {
        assert!(told.contains(&seen(client, heard_at)));
    }
}

#[test]
fn the_new_owner_of_an_address_is_reported_after_the_old_one() {
    let mut shard = shard_with_directory(16);
    let holder = shard.connected_client(1);
    look(&mut shard);
    shard.now += ShardConfig::default().silent_after;
    let mut newcomer = shard.client(2);
    newcomer.endpoint = holder.endpoint;
    shard.show_cookie(&mut newcomer);
    shard.connect(&mut newcomer);
    let heard_at = shard.now;
    look(&mut shard);
    let [first, rest @ ..] = &changes(&mut shard)[..] else {
        panic!("nothing was reported");
    };
    assert!(matches!(first, DirectoryChange::Seen { .. }));
    assert_eq!(rest, [gone(&holder), seen(&newcomer, heard_at)]);
}

#[test]
fn nothing_is_reported_by_default() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    look(&mut shard);
    shard.registry.revoke(client.identity());
    look(&mut shard);
    assert_eq!(changes(&mut shard), []);
}
