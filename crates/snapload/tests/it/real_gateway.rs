//! Load from `snapload` on snapgate in every direction.
//!
//! Loads are closed loops, whose small windows fit into the smallest socket buffers, so that nothing is lost on a slow
//! machine.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use snapgate::config::{Config, Forward};
use snapload::{Cpus, Direction, Identities, LoadConfig, PacketSizes, Progress, Rate, Report};
use testkit::gateway::{TestGateway, config, scion};
use testkit::own_address;

/// Interface of the first router; the second has the next one.
const INTERFACE: u16 = 7;

/// Returns the direction down from the address of a configured router: the gateway accepts packets only from these.
fn down(internal: SocketAddr, router: IpAddr) -> Direction {
    Direction::Down {
        internal,
        router: Some(SocketAddr::new(router, 0)),
    }
}

fn every_direction(gateway: &TestGateway, router: SocketAddr) -> [Direction; 3] {
    let internal = gateway.internal_address();
    let interface = INTERFACE;
    [
        Direction::Echo,
        Direction::Up { router, interface },
        down(internal, router.ip()),
    ]
}

/// Returns a closed loop with eight tunnels in two threads, and short trains.
fn load(gateway: &TestGateway, direction: Direction) -> LoadConfig {
    let identities = Identities::from_seed(7, 8);
    let mut load = LoadConfig::new(
        gateway.listen_address(),
        gateway.public_key().to_bytes(),
        identities,
    );
    load.direction = direction;
    load.threads = 2;
    load.cpus = Cpus::Unpinned;
    load.sizes = PacketSizes::Fixed(300);
    load.rate = Rate::Max { window: 32 };
    load.train = Some(4);
    load.warm_up = Duration::from_millis(50);
    load.duration = Duration::from_secs(100);
    load.interval = Duration::from_millis(50);
    load.drain = Duration::from_secs(60);
    load
}

/// Runs the load until it has sent enough packets, or all pre-encrypted ones.
fn run(load: &LoadConfig) -> Report {
    let mut sent = 0;
    let report = snapload::run(load, &mut |progress| {
        if let Progress::Interval(interval) = progress {
            sent += interval.counts.sent;
            if sent >= 320 {
                load.stop.set();
            }
        }
    })
    .unwrap();
    assert!(report.counts.sent >= 32, "{report:?}");
    assert_eq!(report.lost, 0, "{report:?}");
    assert_eq!(report.counts.corrupted, 0, "{report:?}");
    assert_eq!(report.counts.misdelivered, 0, "{report:?}");
    assert_eq!(report.latency.count, report.counts.received);
    report
}

/// Starts a gateway that forwards SCION, with a router for each of two threads.
fn gateway_with_routers(first: SocketAddr) -> TestGateway {
    let second = SocketAddr::new(first.ip(), first.port() + 1);
    let forward = scion(&[(INTERFACE, first), (INTERFACE + 1, second)]);
    start(Forward::Scion(forward))
}

fn start(forward: Forward) -> TestGateway {
    let config: Config = config(forward);
    TestGateway::start(&config)
}

#[test]
fn packets_from_tunnels_reach_the_routers() {
    let router = own_address();
    let gateway = gateway_with_routers(router);
    let direction = Direction::Up {
        router,
        interface: INTERFACE,
    };
    let report = run(&load(&gateway, direction));
    assert!(gateway.stop().sent_incoming_packets >= report.counts.sent);
}

#[test]
fn pre_encrypted_packets_reach_the_routers() {
    let router = own_address();
    let gateway = gateway_with_routers(router);
    let direction = Direction::Up {
        router,
        interface: INTERFACE,
    };
    let mut load = load(&gateway, direction);
    load.pre_encrypt_bytes = Some(1 << 20);
    // A fast machine would use them up in the warm-up.
    load.warm_up = Duration::ZERO;
    run(&load);
    gateway.stop();
}

#[test]
fn packets_from_routers_reach_the_tunnels() {
    let router = own_address();
    let gateway = gateway_with_routers(router);
    let direction = down(gateway.internal_address(), router.ip());
    let report = run(&load(&gateway, direction));
    assert!(gateway.stop().sent_outgoing_packets >= report.counts.sent);
}

#[test]
fn packets_to_their_own_tunnel_return_as_hairpins_and_as_echoes() {
    for forward in [
        Forward::Scion(scion(&[(INTERFACE, own_address())])),
        Forward::Echo,
    ] {
        let gateway = start(forward);
        run(&load(&gateway, Direction::Echo));
        gateway.stop();
    }
}

#[test]
fn mixed_sizes_pass_in_every_direction() {
    let router = own_address();
    let gateway = gateway_with_routers(router);
    for direction in every_direction(&gateway, router) {
        let mut load = load(&gateway, direction);
        load.sizes = PacketSizes::Imix;
        load.seed = Some(1);
        let report = run(&load);
        let mean = report.counts.received_bytes / report.counts.received;
        assert!((200..=600).contains(&mean), "{mean}");
    }
    gateway.stop();
}

#[test]
fn jumbo_packets_pass() {
    let router = own_address();
    let gateway = gateway_with_routers(router);
    let direction = Direction::Up {
        router,
        interface: INTERFACE,
    };
    let mut load = load(&gateway, direction);
    load.sizes = PacketSizes::Fixed(snapload::MAX_PACKET_BYTES);
    load.train = Some(1);
    load.rate = Rate::Max { window: 2 };
    run(&load);
    gateway.stop();
}

#[test]
fn tunnels_with_different_addresses_share_sockets() {
    let router = own_address();
    let gateway = gateway_with_routers(router);
    for direction in every_direction(&gateway, router) {
        let mut load = load(&gateway, direction);
        // Two addresses: every thread has four tunnels on one or both of them.
        load.source_ips = Some("127.0.9.0/30".parse().unwrap());
        run(&load);
    }
    gateway.stop();
}
