//! Gateway inside the test process.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use snapgate::config::{
    Authorization, Config, Dispatch, Forward, InternalFrom, ScionForward, ScmpErrorLimits,
    ShardConfig, WorkerCount, WorkerReason,
};
use snapgate::counters::Counters;
use snapgate::gateway::Gateway;
use snapgate::keys::PrivateKey;
use x25519_dalek::PublicKey;

use crate::packets::LOCAL;
use crate::{Client, Metrics, http, identity, wait_until};

/// Returns a configuration with two workers on a free port of IPv4 loopback, open to any identity.
#[must_use]
pub fn config(forward: Forward) -> Config {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let private_key = PrivateKey::generate().expect("random numbers");
    Config {
        workers: workers(2),
        limits: ShardConfig {
            handshakes_per_ip_per_second: 10_000,
            ..ShardConfig::default()
        },
        ..Config::new(listen, private_key, Authorization::AnyIdentity, forward)
    }
}

/// Returns a configured number of workers.
#[must_use]
pub const fn workers(count: usize) -> WorkerCount {
    WorkerCount {
        count: NonZeroUsize::new(count).expect("at least one worker"),
        reason: WorkerReason::Configured,
    }
}

/// Returns SCION forwarding for [`LOCAL`] from a free port of IPv4 loopback, with one router per interface.
#[must_use]
pub fn scion(next_hops: &[(u16, SocketAddr)]) -> ScionForward {
    let next_hops = next_hops.iter();
    ScionForward {
        internal: SocketAddr::from(([127, 0, 0, 1], 0)),
        interface: None,
        next_hops: next_hops
            .map(|&(interface, router)| ((LOCAL, interface), router))
            .collect(),
        local_isd_as: vec![LOCAL],
        local_prefixes: Vec::new(),
        internal_from: InternalFrom::default(),
        scmp_error_limits: ScmpErrorLimits::default(),
    }
}

/// A running gateway, with checks of its counters.
pub struct TestGateway {
    gateway: Gateway,
    public_key: PublicKey,
    dispatch: Dispatch,
}

impl TestGateway {
    /// Starts a gateway.
    #[must_use]
    pub fn start(config: &Config) -> Self {
        Self {
            gateway: Gateway::start(config)
                .unwrap_or_else(|error| panic!("the gateway does not start: {error}")),
            public_key: PublicKey::from(&config.private_key.to_secret()),
            dispatch: config.dispatch,
        }
    }

    /// Returns the gateway.
    #[must_use]
    pub const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Returns the public key of the gateway.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Returns the first listen address, with its actual port.
    #[must_use]
    pub fn listen_address(&self) -> SocketAddr {
        self.gateway.local_addresses().tunnels[0]
    }

    /// Returns the internal address towards SCION, with its actual port.
    #[must_use]
    pub fn internal_address(&self) -> SocketAddr {
        self.gateway
            .local_addresses()
            .internal
            .expect("a gateway that forwards to SCION")
    }

    /// Connects a client with a new identity, at a free port of the IP address of the first listen address.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_at(SocketAddr::new(self.listen_address().ip(), 0))
    }

    /// Connects a client with a new identity at `address`; port 0 picks a free port.
    #[must_use]
    pub fn client_at(&self, address: SocketAddr) -> Client {
        let listen = self.listen_address();
        Client::connect(&identity(), address, listen, &self.public_key)
    }

    /// Returns the counters of each worker.
    #[must_use]
    pub fn counters(&self) -> Vec<Counters> {
        self.gateway.counters()
    }

    /// Returns the sum of all workers' counters.
    #[must_use]
    pub fn total(&self) -> Counters {
        sum(&self.counters())
    }

    /// Waits until `wanted` returns true for the sum of all workers' counters, and returns that sum.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Counters) -> bool) -> Counters {
        wait_until(what, || Some(self.total()).filter(&wanted))
    }

    /// Returns the status code and body of `GET path` at the metrics address.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String) {
        let address = self.gateway.local_addresses().metrics;
        let address = address.expect("a metrics address");
        http::get(address, path).expect("an HTTP response of the gateway")
    }

    /// Scrapes the metrics.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::of_response(self.get("/metrics"))
    }

    /// Stops the gateway and returns the sum of all workers' counters.
    ///
    /// # Panics
    ///
    /// If the counters of a worker do not balance.
    pub fn stop(self) -> Counters {
        sum(&self.stop_workers())
    }

    /// Stops the gateway and checks that every datagram is accounted for, in each worker and over all workers: none is
    /// in flight, and none was lost in the kernel. With kernel dispatch, no datagram may have reached a worker that
    /// does not own its tunnel.
    ///
    /// # Panics
    ///
    /// If one of these checks fails.
    pub fn finish(self) -> Counters {
        if let Ok(failure) = self.gateway.failures().try_recv() {
            panic!("{failure}");
        }
        let dispatch = self.dispatch;
        let workers = self.stop_workers();
        for worker in &workers {
            assert_eq!(worker.in_flight(), 0, "{worker:#?}");
        }
        let total = sum(&workers);
        assert_eq!(
            total.received(),
            total.delivered() + total.sent() + total.total_dropped(),
            "{total:#?}"
        );
        assert_eq!(total.given_packets, total.taken_packets, "{total:#?}");
        assert_eq!(total.originated_lost, 0, "{total:#?}");
        assert_eq!(
            (
                total.kernel_drops_data,
                total.kernel_drops_handshake,
                total.kernel_drops_upstream
            ),
            (0, 0, 0)
        );
        if dispatch == Dispatch::Kernel {
            assert_eq!(total.handovers, 0, "{total:#?}");
        }
        total
    }

    fn stop_workers(self) -> Vec<Counters> {
        let workers = self.gateway.stop().workers;
        for worker in &workers {
            assert!(worker.balance(), "counters do not balance: {worker:#?}");
        }
        workers
    }
}

fn sum(workers: &[Counters]) -> Counters {
    let mut total = Counters::default();
    workers.iter().for_each(|worker| total.add(worker));
    total
}
