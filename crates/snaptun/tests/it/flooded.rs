//! Tunnels whose addresses are spoofed, while all limits are used up.

use std::time::Duration;

use snaptun::{Consumed, DropReason, Endpoint, ShardConfig};

use crate::clock::now;
use crate::forging::TIMESTAMP;
use crate::overload::{flood_from_anywhere, small_shard};
use crate::screening::response_to_shard;
use testkit::messages::write_mac1;
use testkit::shard::{Client, In, Shard};

/// Interval at which an unanswered client retries (WireGuard whitepaper, section 6.1).
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

/// Attackers with cookies, enough to use up the budget of cookie holders in every second.
struct CookieHolders([Client; 3]);

impl CookieHolders {
    fn new(shard: &mut Shard) -> Self {
        flood_from_anywhere(shard, 6);
        let mut holders = [91, 92, 93].map(|identity| Client::new(identity, Shard::public_key()));
        for holder in &mut holders {
            shard.show_cookie(holder);
        }
        CookieHolders(holders)
    }

    /// Uses up all budgets of a small shard.
    fn use_up_budgets(&mut self, shard: &mut Shard) {
        flood_from_anywhere(shard, 6);
        for holder in &mut self.0 {
            for _ in 0..3 {
                let initiation = holder.initiation();
                shard.incoming(&initiation, holder.endpoint);
            }
        }
        shard.sent.clear();
    }
}

/// Returns messages that an attacker can send from a client's address if it knows the client's public key and has
/// captured a message: an initiation of another identity, and one of the client with a changed timestamp.
fn spoofed(client: &mut Client) -> [Vec<u8>; 2] {
    let stranger = Client::new(99, Shard::public_key()).initiation();
    let mut forged = client.initiation();
    forged[TIMESTAMP.start] ^= 1;
    write_mac1(&mut forged, &Shard::public_key());
    [stranger, forged]
}

/// Sends spoofed messages, none of which is answered by a response.
fn flood(shard: &mut Shard, from: Endpoint, messages: usize, spoofed: &[Vec<u8>]) {
    for message in spoofed.iter().cycle().take(messages) {
        let fate = shard.incoming(message, from);
        assert!(
            matches!(
                fate,
                In::Consumed(Consumed::CookieReplySent)
                    | In::Dropped(DropReason::CookieReplyLimit | DropReason::TotalHandshakeLimit)
            ),
            "{fate:?}"
        );
    }
    shard.sent.clear();
}

#[test]
fn a_client_with_a_tunnel_can_rekey_when_all_budgets_are_used_up() {
    let mut shard = small_shard();
    let mut client = shard.connected_client(1);
    let mut newcomer = shard.client(2);
    let mut attackers = CookieHolders::new(&mut shard);
    shard.show_cookie(&mut newcomer);
    attackers.use_up_budgets(&mut shard);

    let unused = newcomer.initiation();
    let fate = shard.incoming(&unused, newcomer.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::TotalHandshakeLimit));
    shard.connect(&mut client);
    assert_eq!(shard.server.counters().handshakes_beyond_limits, 1);
    // Once per retry interval of the clients.
    let again = client.initiation();
    let fate = shard.incoming(&again, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::CookieReplySent));
    shard.sent.clear();
    shard.now += REKEY_TIMEOUT;
    attackers.use_up_budgets(&mut shard);
    shard.connect(&mut client);
    assert_eq!(shard.server.tunnel_count(), 1);
}

/// Regression: once, none of 17 was answered.
#[test]
fn with_a_hundred_spoofed_messages_a_second_every_rekey_is_answered_at_the_first_attempt() {
    let mut shard = small_shard();
    let mut client = shard.connected_client(1);
    let spoofed = spoofed(&mut client);
    let mut attackers = CookieHolders::new(&mut shard);
    for rekey in 1..=17 {
        for second in 0..5 {
            shard.now += Duration::from_secs(1);
            attackers.use_up_budgets(&mut shard);
            let before = (rekey * 31) % 100;
            flood(&mut shard, client.endpoint, before, &spoofed);
            if second == 4 {
                shard.connect(&mut client);
            }
            flood(&mut shard, client.endpoint, 100 - before, &spoofed);
        }
    }
    assert_eq!(shard.server.counters().handshakes_beyond_limits, 17);
}

/// Captured on the path before it reached the shard.
#[test]
fn a_replay_uses_up_no_allowance() {
    let mut shard = small_shard();
    let mut client = shard.connected_client(1);
    let mut attackers = CookieHolders::new(&mut shard);
    shard.now += REKEY_TIMEOUT;
    attackers.use_up_budgets(&mut shard);
    let late = client.initiation();
    shard.connect(&mut client);
    shard.now += REKEY_TIMEOUT;
    attackers.use_up_budgets(&mut shard);
    let fate = shard.incoming(&late, client.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::StaleInitiation));
    shard.connect(&mut client);
}

#[test]
fn a_client_with_a_cookie_is_answered_during_a_flood_from_its_address() {
    let mut shard = small_shard();
    let mut client = shard.connected_client(1);
    let spoofed = spoofed(&mut client);
    let mut attackers = CookieHolders::new(&mut shard);
    shard.now += REKEY_TIMEOUT;
    attackers.use_up_budgets(&mut shard);
    shard.connect(&mut client);
    shard.show_cookie(&mut client);
    shard.now += REKEY_TIMEOUT;
    attackers.use_up_budgets(&mut shard);
    flood(&mut shard, client.endpoint, 20_000, &spoofed);
    shard.connect(&mut client);
}

/// From a host behind the same NAT, or with spoofed ports.
#[test]
fn messages_from_other_ports_do_not_use_up_the_cookies_of_a_tunnels_address() {
    let config = ShardConfig {
        handshakes_per_ip_per_second: 2,
        ..ShardConfig::default()
    };
    let mut shard = Shard::new(now(), config);
    let mut client = shard.connected_client(1);
    // One of the client's initiations is answered beyond the limits, later ones within the interval are not.
    shard.answer(&mut client);
    shard.answer(&mut client);
    let mut neighbour = Client::new(99, Shard::public_key());
    neighbour.endpoint = client.endpoint;
    for port in 1..=1000 {
        neighbour.endpoint.remote.set_port(port);
        let initiation = neighbour.initiation();
        shard.incoming(&initiation, neighbour.endpoint);
    }
    shard.sent.clear();
    let initiation = neighbour.initiation();
    let fate = shard.incoming(&initiation, neighbour.endpoint);
    assert_eq!(fate, In::Dropped(DropReason::CookieReplyLimit));
    shard.show_cookie(&mut client);
    shard.connect(&mut client);
}

/// Only the client has seen the index that its response has to repeat.
#[test]
fn spoofed_responses_do_not_block_the_clients_response() {
    let mut shard = small_shard();
    let mut client = shard.client(1);
    let response = response_to_shard(&mut shard, &mut client);
    for n in 1..=100u8 {
        let mut spoofed = response.clone();
        spoofed[8] ^= n;
        let fate = shard.incoming(&spoofed, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::Unsolicited));
    }
    let fate = shard.incoming(&response, client.endpoint);
    assert_eq!(fate, In::Consumed(Consumed::HandshakeCompleted));
}
