//! Load on snapgate in every direction.
//!
//! Loads are closed loops, whose small windows fit into the smallest socket buffers, so that
//! nothing is lost however slow the machine is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use snapgate::config::{
    Authorization, Config, Forward, InternalFrom, ScionForward, ScmpErrorLimits, ShardConfig,
    WorkerCount, WorkerReason,
};
use snapgate::counters::Counters;
use snapgate::gateway::Gateway;
use snapgate::keys::{PrivateKey, PublicKey};
use snapload::{
    Cpus, DEFAULT_ISD_AS, Direction, Identities, LoadConfig, PacketSizes, Progress, Rate, Report,
};

/// The interface of the first router; the second router's follows.
const INTERFACE: u16 = 7;

/// A gateway with two workers on a free port of IPv4 loopback, open to any identity.
struct TestGateway {
    gateway: Gateway,
    public_key: PublicKey,
}

impl TestGateway {
    fn start(forward: Forward) -> Self {
        let private_key = PrivateKey::generate().unwrap();
        let public_key = private_key.public_key();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config {
            workers: WorkerCount {
                count: NonZeroUsize::new(2).unwrap(),
                reason: WorkerReason::Configured,
            },
            limits: ShardConfig {
                handshakes_per_ip_per_second: 10_000,
                ..ShardConfig::default()
            },
            ..Config::new(listen, private_key, Authorization::AnyIdentity, forward)
        };
        Self {
            gateway: Gateway::start(&config).unwrap(),
            public_key,
        }
    }

    /// A gateway that forwards SCION, with a router for each of two threads.
    fn with_routers(first: SocketAddr) -> Self {
        let second = SocketAddr::new(first.ip(), first.port() + 1);
        Self::start(Forward::Scion(ScionForward {
            internal: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            next_hops: [
                ((DEFAULT_ISD_AS, INTERFACE), first),
                ((DEFAULT_ISD_AS, INTERFACE + 1), second),
            ]
            .into(),
            local_isd_as: vec![DEFAULT_ISD_AS],
            local_prefixes: Vec::new(),
            internal_from: InternalFrom::default(),
            scmp_error_limits: ScmpErrorLimits::default(),
        }))
    }

    fn internal_address(&self) -> SocketAddr {
        self.gateway.internal_addr().unwrap()
    }

    /// Stops the gateway; every worker's counters must balance.
    fn stop(self) -> Counters {
        let summary = self.gateway.stop();
        for worker in &summary.workers {
            assert!(worker.balance(), "a worker lost count: {worker:#?}");
        }
        summary.total()
    }
}

/// An address that stays free when a socket leaves it, as does the next port. `number` is different for every test.
///
/// The IP address is this process's own. The ports are below those that the kernel gives to sockets bound to port 0
/// (`ip_local_port_range`). No test of this program starts a process, which would have a copy of the socket for a
/// moment.
fn own_address(number: u8) -> SocketAddr {
    let [_, high, low, _] = (std::process::id() << 8).to_be_bytes();
    let ip = Ipv4Addr::new(127, 128 | high, low, number);
    SocketAddr::from((ip, 31_000))
}

/// From routers at the address of those that the gateway has, for it takes packets of no others.
fn down(internal: SocketAddr, router: IpAddr) -> Direction {
    Direction::Down {
        internal,
        router: Some(SocketAddr::new(router, 0)),
    }
}

fn every_direction(gateway: &TestGateway, router: SocketAddr) -> [Direction; 3] {
    let interface = INTERFACE;
    [
        Direction::Echo,
        Direction::Up { router, interface },
        down(gateway.internal_address(), router.ip()),
    ]
}

/// A closed loop with eight tunnels in two threads, and small trains.
fn load(gateway: &TestGateway, direction: Direction) -> LoadConfig {
    let identities = Identities::from_seed(7, 8);
    let listen = gateway.gateway.listen_addrs()[0];
    let mut load = LoadConfig::new(listen, *gateway.public_key.as_bytes(), identities);
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

/// Runs the load until enough packets have been sent, or all that were encrypted beforehand.
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

#[test]
fn packets_of_tunnels_reach_the_routers_of_the_generator() {
    let router = own_address(1);
    let gateway = TestGateway::with_routers(router);
    let direction = Direction::Up {
        router,
        interface: INTERFACE,
    };
    let report = run(&load(&gateway, direction));
    assert!(gateway.stop().sent_incoming_packets >= report.counts.sent);
}

#[test]
fn packets_encrypted_beforehand_reach_the_routers() {
    let router = own_address(7);
    let gateway = TestGateway::with_routers(router);
    let direction = Direction::Up {
        router,
        interface: INTERFACE,
    };
    let mut load = load(&gateway, direction);
    load.pre_encrypt_bytes = Some(1 << 20);
    // A fast machine would use them up before they are counted.
    load.warm_up = Duration::ZERO;
    run(&load);
    gateway.stop();
}

#[test]
fn packets_of_the_generators_routers_reach_the_tunnels() {
    let gateway = TestGateway::with_routers(own_address(2));
    let direction = down(gateway.internal_address(), own_address(2).ip());
    let report = run(&load(&gateway, direction));
    assert!(gateway.stop().sent_outgoing_packets >= report.counts.sent);
}

#[test]
fn packets_to_their_own_tunnel_come_back_as_hairpins_and_as_echoes() {
    for gateway in [
        TestGateway::with_routers(own_address(3)),
        TestGateway::start(Forward::Echo),
    ] {
        run(&load(&gateway, Direction::Echo));
        gateway.stop();
    }
}

#[test]
fn a_mix_of_sizes_passes_in_every_direction() {
    let router = own_address(4);
    let gateway = TestGateway::with_routers(router);
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
    let router = own_address(5);
    let gateway = TestGateway::with_routers(router);
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
fn tunnels_that_differ_by_address_share_sockets() {
    let router = own_address(6);
    let gateway = TestGateway::with_routers(router);
    for direction in every_direction(&gateway, router) {
        let mut load = load(&gateway, direction);
        // Two addresses: every thread has four tunnels on one or both of them.
        load.source_ips = Some("127.0.9.0/30".parse().unwrap());
        run(&load);
    }
    gateway.stop();
}
