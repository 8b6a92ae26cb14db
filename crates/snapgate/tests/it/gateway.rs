//! A gateway for a test.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Instant;

use ana_gotatun::x25519::PublicKey;
use snapgate::config::{
    Authorization, Config, Forward, InternalFrom, ScionForward, ScmpErrorLimits, ShardConfig,
    WorkerCount, WorkerReason,
};
use snapgate::counters::Counters;
use snapgate::gateway::Gateway;
use snapgate::keys::PrivateKey;

use crate::client::{Client, PATIENCE};

/// A running gateway and what its clients need to know.
pub(crate) struct TestGateway {
    pub(crate) gateway: Gateway,
    pub(crate) key: PublicKey,
}

/// Two workers on an ephemeral port of IPv4 loopback, open to any identity.
pub(crate) fn config(forward: Forward) -> Config {
    let listen = "127.0.0.1:0".parse().unwrap();
    let private_key = PrivateKey::generate().unwrap();
    Config {
        workers: workers(2),
        limits: ShardConfig {
            handshakes_per_ip_per_second: 10_000,
            ..ShardConfig::default()
        },
        ..Config::new(listen, private_key, Authorization::AnyIdentity, forward)
    }
}

pub(crate) fn workers(count: usize) -> WorkerCount {
    let count = NonZeroUsize::new(count).unwrap();
    WorkerCount {
        count,
        reason: WorkerReason::Configured,
    }
}

/// Forwarding for 1-ff00:0:110, whose interface 7 leads to `router`.
pub(crate) fn scion(router: SocketAddr) -> ScionForward {
    let isd_as = "1-ff00:0:110".parse().unwrap();
    ScionForward {
        internal: "127.0.0.1:0".parse().unwrap(),
        next_hops: [((isd_as, 7), router)].into(),
        local_isd_as: vec![isd_as],
        local_prefixes: Vec::new(),
        internal_from: InternalFrom::default(),
        scmp_error_limits: ScmpErrorLimits::default(),
    }
}

/// An address that stays free when a socket leaves it. `number` is different for every test.
///
/// The IP address is this process's own. The port and its successors are below those that the kernel gives to
/// sockets bound to port 0 (`ip_local_port_range`), which are those of all other tests, on wildcard addresses too.
/// And no test of this program starts a process, which would have a copy of the socket for a moment.
pub(crate) fn own_address(number: u8) -> SocketAddr {
    let [_, high, low, _] = (std::process::id() << 8).to_be_bytes();
    let ip = Ipv4Addr::new(127, 128 | high, low, number);
    SocketAddr::from((ip, 31_000))
}

impl TestGateway {
    pub(crate) fn start(config: &Config) -> Self {
        let key = PublicKey::from(&config.private_key.to_secret());
        Self {
            gateway: Gateway::start(config).unwrap(),
            key,
        }
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.gateway.listen_addrs()[0]
    }

    pub(crate) fn client(&self) -> Client {
        self.client_at(SocketAddr::new(self.listen().ip(), 0))
    }

    pub(crate) fn client_at(&self, address: SocketAddr) -> Client {
        Client::connect(&address.to_string(), self.listen(), &self.key)
    }

    /// The sum of all workers' counters.
    pub(crate) fn total(&self) -> Counters {
        let mut total = Counters::default();
        for worker in self.gateway.counters() {
            total.add(&worker);
        }
        total
    }

    /// Waits until the counters are as wanted, and returns them.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&Counters) -> bool) -> Counters {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let total = self.total();
            if wanted(&total) {
                return total;
            }
            assert!(
                Instant::now() < deadline,
                "{what} did not happen: {total:#?}"
            );
            std::thread::yield_now();
        }
    }

    /// Stops the gateway; every worker's counters must balance.
    pub(crate) fn stop(self) -> Counters {
        let summary = self.gateway.stop();
        for worker in &summary.workers {
            assert!(worker.balance(), "a worker lost count: {worker:#?}");
        }
        summary.total()
    }
}
