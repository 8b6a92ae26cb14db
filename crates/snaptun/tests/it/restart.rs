//! Clients of the previous process.

use std::net::SocketAddr;
use std::time::Duration;

use snaptun::{Consumed, DropReason, ShardConfig};

use crate::clock::{new_shard, now};
use testkit::shard::{Client, In, Out, Received, Shard};

/// Timeout of an unanswered handshake, and minimum interval between two.
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

/// Forged data message.
const SPOOFED: [u8; 48] = {
    let mut message = [0x5a; 48];
    (message[0], message[1], message[2], message[3]) = (4, 0, 0, 0);
    message
};

/// Returns a shard of the next process that remembers these clients.
fn process_after(shard: &Shard, clients: &[&Client]) -> Shard {
    let mut after = shard.sibling();
    for client in clients {
        assert!(remember(&mut after, client));
    }
    after
}

fn remember(shard: &mut Shard, client: &Client) -> bool {
    let (now, remote) = (shard.now, client.remote());
    shard.server.remember(now, remote, client.identity())
}

/// Sends the shard forged data.
fn spoof(shard: &mut Shard, client: &Client) -> In {
    shard.incoming(&SPOOFED, client.endpoint)
}

fn started(shard: &Shard) -> u64 {
    shard.server.counters().restart_handshakes_started
}

/// Advances the time and runs the shard's timers.
fn pass(shard: &mut Shard, time: Duration) {
    shard.now += time;
    shard.update_timers();
}

#[test]
fn a_client_is_served_again_after_one_round_trip() {
    let mut before = new_shard();
    let mut client = before.connected_client(1);
    let mut shard = process_after(&before, &[&client]);
    assert_eq!(shard.server.remembered_tunnels(), 1);

    let lost = client.data(b"lost");
    let fate = shard.incoming(&lost, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::NoSession));
    assert_eq!(shard.complete_handshake(&mut client), [b""]);

    let data = client.data(b"to the gateway");
    let fate = shard.incoming(&data, client.endpoint);
    assert_eq!(fate, In::Delivered(b"to the gateway".to_vec(), 1));
    let fate = shard.outgoing(b"to the client", client.remote());
    assert_eq!(fate, Out::Encapsulated(1));
    assert_eq!(shard.deliver_to(&mut client), [b"to the client"]);
    let counters = shard.server.counters();
    assert_eq!(counters.restart_handshakes_started, 1);
    assert_eq!(counters.restart_handshakes_completed, 1);
    assert_eq!(shard.server.remembered_tunnels(), 0);
    // The end of the restart timeout does not end the completed tunnel.
    pass(&mut shard, REKEY_TIMEOUT);
    assert!(shard.server.has_tunnel(client.remote()));
}

#[test]
fn a_client_that_is_not_remembered_gets_no_handshake() {
    let mut before = new_shard();
    let client = before.connected_client(1);
    let mut stranger = before.connected_client(2);
    let mut shard = process_after(&before, &[&client]);

    let data = stranger.data(b"data");
    let fate = shard.incoming(&data, stranger.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::NoTunnel));
    assert!(shard.sent.is_empty());
}

#[test]
fn only_data_begins_a_handshake() {
    let before = new_shard();
    let client = before.client(1);
    let mut shard = process_after(&before, &[&client]);
    for (kind, bytes) in [(2, 112), (3, 64)] {
        let mut message = vec![0; bytes];
        message[0] = kind;
        let fate = shard.incoming(&message, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::NoTunnel));
    }
    assert!(shard.sent.is_empty());
}

#[test]
fn spoofed_data_causes_one_initiation_in_five_seconds_and_keeps_no_tunnel() {
    let before = new_shard();
    let client = before.client(1);
    let mut shard = process_after(&before, &[&client]);
    for round in 1..=3 {
        for _ in 0..100 {
            let fate = spoof(&mut shard, &client);
            assert_eq!(fate, In::Dropped(DropReason::NoSession));
        }
        pass(&mut shard, REKEY_TIMEOUT - Duration::from_millis(1));
        assert!(shard.server.has_tunnel(client.remote()));
        assert_eq!(shard.take_sent().len(), 1);
        assert_eq!(started(&shard), round);

        pass(&mut shard, Duration::from_secs(1));
        assert!(!shard.server.has_tunnel(client.remote()));
        assert!(shard.sent.is_empty());
    }
    assert_eq!(shard.server.counters().tunnels_expired, 3);
    assert_eq!(shard.server.half_open_tunnels(), 0);
    assert_eq!(shard.server.remembered_tunnels(), 1);
}

/// The tunnel is revoked, but its address still has to wait.
#[test]
fn an_address_waits_five_seconds_even_after_its_tunnel_is_removed() {
    let before = new_shard();
    let client = before.client(1);
    let mut shard = process_after(&before, &[&client]);
    spoof(&mut shard, &client);
    shard.registry.revoke(client.identity());
    pass(&mut shard, Duration::from_secs(1));
    assert!(!shard.server.has_tunnel(client.remote()));
    shard.registry.grant(client.identity(), 1, None);

    assert_eq!(
        spoof(&mut shard, &client),
        In::Dropped(DropReason::NoTunnel)
    );
    pass(&mut shard, REKEY_TIMEOUT - Duration::from_secs(1));
    spoof(&mut shard, &client);
    assert_eq!(started(&shard), 2);
}

#[test]
fn the_clients_initiation_is_accepted_during_a_flood_of_spoofed_data() {
    let before = new_shard();
    let mut client = before.client(1);
    let mut shard = process_after(&before, &[&client]);
    spoof(&mut shard, &client);
    shard.sent.clear();

    shard.connect(&mut client);
    for _ in 0..100 {
        spoof(&mut shard, &client);
    }
    assert!(shard.sent.is_empty());
    let data = client.data(b"served");
    let fate = shard.incoming(&data, client.endpoint);
    assert_eq!(fate, In::Delivered(b"served".to_vec(), 1));
    assert_eq!(shard.server.remembered_tunnels(), 0);
    pass(&mut shard, REKEY_TIMEOUT);
    assert!(shard.server.has_tunnel(client.remote()));
    assert_eq!(shard.server.counters().restart_handshakes_completed, 0);
}

#[test]
fn an_answered_client_is_not_given_up_before_its_first_packet() {
    let before = new_shard();
    let mut client = before.client(1);
    let mut shard = process_after(&before, &[&client]);
    spoof(&mut shard, &client);
    shard.sent.clear();
    shard.answer(&mut client);
    pass(&mut shard, REKEY_TIMEOUT);
    assert!(shard.server.has_tunnel(client.remote()));
}

#[test]
fn a_remembered_client_is_forgotten_when_another_takes_its_address() {
    let before = new_shard();
    let client = before.client(1);
    let mut shard = process_after(&before, &[&client]);
    let mut newcomer = shard.client(2);
    newcomer.endpoint = client.endpoint;
    shard.connect(&mut newcomer);
    assert_eq!(shard.server.remembered_tunnels(), 0);
}

#[test]
fn a_client_with_a_tunnel_is_not_remembered() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    assert!(!remember(&mut shard, &client));
    assert_eq!(shard.server.remembered_tunnels(), 0);
}

#[test]
fn a_revoked_identity_is_not_remembered() {
    let before = new_shard();
    let client = before.client(1);
    before.registry.revoke(client.identity());
    let mut shard = before.sibling();
    assert!(!remember(&mut shard, &client));
    assert_eq!(shard.server.remembered_tunnels(), 0);
}

#[test]
fn a_client_revoked_after_the_restart_gets_no_initiation() {
    let before = new_shard();
    let client = before.client(1);
    let mut shard = process_after(&before, &[&client]);
    shard.registry.revoke(client.identity());
    assert_eq!(
        spoof(&mut shard, &client),
        In::Dropped(DropReason::Unauthorized)
    );
    assert!(shard.sent.is_empty());
    // Once authorized again, it does.
    shard.registry.grant(client.identity(), 1, None);
    spoof(&mut shard, &client);
    assert_eq!(started(&shard), 1);
}

#[test]
fn handshakes_after_a_restart_are_rate_limited() {
    let config = ShardConfig {
        restart_handshakes_per_second: 100,
        ..ShardConfig::default()
    };
    let before = Shard::new(now(), config);
    let clients: Vec<_> = (0..300).map(|identity| before.client(identity)).collect();
    let all: Vec<_> = clients.iter().collect();
    let mut shard = process_after(&before, &all);
    for _ in 0..100 {
        for client in &clients {
            spoof(&mut shard, client);
        }
        pass(&mut shard, Duration::from_millis(10));
    }
    assert!(
        (100..=103).contains(&started(&shard)),
        "{}",
        started(&shard)
    );
    assert!(shard.server.counters().restart_handshakes_deferred > 1000);
}

/// As behind a carrier's NAT.
#[test]
fn clients_at_one_address_may_all_answer_at_once() {
    let config = ShardConfig {
        handshakes_per_ip_per_second: 3,
        ..ShardConfig::default()
    };
    let mut before = Shard::new(now(), config);
    let mut clients: Vec<_> = (1..=10)
        .map(|port| {
            let remote = SocketAddr::from(([10, 0, 0, 1], port));
            let client = Client::at(remote, port, Shard::public_key());
            before.registry.grant(client.identity(), 1, None);
            client
        })
        .collect();
    for client in &mut clients {
        before.now += Duration::from_secs(1);
        before.connect(client);
    }
    let all: Vec<_> = clients.iter().collect();
    let mut shard = process_after(&before, &all);
    for client in &mut clients {
        spoof(&mut shard, client);
        let initiation = shard.sent.pop_back().expect("an initiation");
        let Received::Answer(response) = client.receive(&initiation.packet) else {
            panic!("the client did not answer");
        };
        let fate = shard.incoming(&response, client.endpoint);
        assert_eq!(fate, In::Consumed(Consumed::HandshakeCompleted));
        shard.sent.clear();
        let fate = shard.incoming(&response, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::Unsolicited));
    }
    let completed = shard.server.counters().restart_handshakes_completed;
    assert_eq!(completed, 10);
}

#[test]
fn a_restart_handshake_evicts_no_tunnel() {
    let config = ShardConfig {
        half_open_tunnels: 2,
        tunnels_per_shard: 3,
        tunnels_per_identity: 1,
        ..ShardConfig::default()
    };
    let mut before = Shard::new(now(), config);
    let clients = [1, 2, 3].map(|identity| before.connected_client(identity));
    let mut shard = process_after(&before, &[&clients[0], &clients[1], &clients[2]]);
    // The maximum number is remembered already.
    let fourth = shard.client(4);
    assert!(!remember(&mut shard, &fourth));

    // The identity has another tunnel.
    let remote = SocketAddr::from(([10, 9, 9, 9], 1));
    let mut other = Client::at(remote, 1, Shard::public_key());
    shard.connect(&mut other);
    assert_eq!(
        spoof(&mut shard, &clients[0]),
        In::Dropped(DropReason::NoTunnel)
    );
    // Two newcomers were answered.
    let [mut one, mut two] = [5, 6].map(|identity| shard.client(identity));
    shard.answer(&mut one);
    shard.answer(&mut two);
    assert_eq!(
        spoof(&mut shard, &clients[1]),
        In::Dropped(DropReason::NoTunnel)
    );
    assert_eq!(shard.server.counters().tunnels_evicted, 0);
    assert_eq!(shard.server.counters().restart_handshakes_deferred, 2);
    assert_eq!(started(&shard), 0);
}

#[test]
fn a_newcomer_takes_the_place_of_a_restart_that_is_not_answered() {
    let config = ShardConfig {
        half_open_tunnels: 2,
        ..ShardConfig::default()
    };
    let before = Shard::new(now(), config);
    let clients = [1, 2].map(|identity| before.client(identity));
    let mut shard = process_after(&before, &[&clients[0], &clients[1]]);
    spoof(&mut shard, &clients[0]);
    spoof(&mut shard, &clients[1]);
    assert_eq!(started(&shard), 2);
    shard.sent.clear();
    let mut newcomer = shard.client(3);
    shard.connect(&mut newcomer);
    assert!(!shard.server.has_tunnel(clients[0].remote()));
}

#[test]
fn clients_are_forgotten_when_their_sessions_have_ended() {
    let before = new_shard();
    let client = before.client(1);
    let mut shard = process_after(&before, &[&client]);
    pass(&mut shard, Duration::from_secs(179));
    assert_eq!(shard.server.remembered_tunnels(), 1);
    pass(&mut shard, Duration::from_secs(1));
    assert_eq!(shard.server.remembered_tunnels(), 0);
}

#[test]
fn a_shard_that_drains_begins_no_handshake() {
    let mut before = new_shard();
    let mut client = before.connected_client(1);
    let mut shard = process_after(&before, &[&client]);
    shard.server.drain();
    let datagram = client.data(b"lost");
    let fate = shard.incoming(&datagram, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::Draining));
    assert!(shard.sent.is_empty());
    assert_eq!(started(&shard), 0);
}
