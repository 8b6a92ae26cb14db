//! A gateway whose counters a test can wait for, and which must add up in the end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use snapgate::config::{
    Authorization, Config, CpuPinning, Dispatch, Forward, InternalFrom, ScionForward,
    ScmpErrorLimits, ShardConfig, SocketOptions, WorkerCount, WorkerReason,
};
use snapgate::counters::Counters;
use snapgate::drop_reason::DropReason;
use snapgate::gateway::Gateway;
use snapgate::identities::Identity;
use snapgate::keys::{PrivateKey, PublicKey};

use crate::packets::HOME;
use crate::{Router, Scenario, in_time, private_key};

/// Between two looks at the counters, which nobody announces.
const COUNTERS_INTERVAL: Duration = Duration::from_millis(1);

/// What a [`TestGateway`] is started with: two workers, anyone may connect, SCION without routers.
#[derive(Clone, Debug)]
pub struct GatewaySetup {
    config: Config,
    internal: SocketAddr,
    next_hops: HashMap<u16, SocketAddr>,
    forward: Option<Forward>,
}

impl GatewaySetup {
    /// Listens here instead of on a free port of loopback.
    #[must_use]
    pub fn listen(mut self, addresses: &[SocketAddr]) -> Self {
        self.config.listen = addresses.to_vec();
        self
    }

    /// Has this key instead of a new one.
    #[must_use]
    pub fn private_key(mut self, key: PrivateKey) -> Self {
        self.config.private_key = key;
        self
    }

    /// Lets in nobody but these.
    #[must_use]
    pub fn only(mut self, identities: &[Identity]) -> Self {
        self.config.authorization = Authorization::Identities(identities.to_vec());
        self
    }

    /// Puts a router behind an interface.
    #[must_use]
    pub fn next_hop(mut self, interface: u16, router: &Router) -> Self {
        self.next_hops.insert(interface, router.address());
        self
    }

    /// Answers every handshake initiation that has no cookie with one.
    #[must_use]
    pub const fn demand_cookies(mut self) -> Self {
        self.config.limits.handshakes_per_ip_per_second = 0;
        self
    }

    /// Lets another identity have the address of a tunnel from which nothing came for so long.
    #[must_use]
    pub const fn silent_after(mut self, silence: Duration) -> Self {
        self.config.limits.silent_after = silence;
        self
    }

    /// Sends what comes out of tunnels elsewhere than to SCION.
    #[must_use]
    pub fn forward(mut self, forward: Forward) -> Self {
        self.forward = Some(forward);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(mut self) -> TestGateway {
        self.config.forward = self.forward.unwrap_or_else(|| {
            let next_hops = self.next_hops.into_iter();
            Forward::Scion(ScionForward {
                internal: self.internal,
                next_hops: next_hops
                    .map(|(interface, router)| ((HOME, interface), router))
                    .collect(),
                local_isd_as: vec![HOME],
                local_prefixes: Vec::new(),
                internal_from: InternalFrom::default(),
                scmp_error_limits: ScmpErrorLimits::default(),
            })
        });
        let public_key = self.config.private_key.public_key();
        let gateway = Gateway::start(&self.config).expect("the gateway starts");
        TestGateway {
            gateway,
            public_key,
            dispatch: self.config.dispatch,
        }
    }
}

/// A running gateway.
#[must_use = "a test ends with `finish`, which checks the counters"]
pub struct TestGateway {
    gateway: Gateway,
    public_key: PublicKey,
    dispatch: Dispatch,
}

impl TestGateway {
    /// A gateway to be set up.
    #[must_use]
    pub fn setup(scenario: Scenario) -> GatewaySetup {
        GatewaySetup {
            config: Config {
                listen: vec![scenario.any_port()],
                workers: WorkerCount {
                    count: const { NonZeroUsize::new(2).expect("2 is not 0") },
                    reason: WorkerReason::Configured,
                },
                cpus: CpuPinning::Unpinned,
                private_key: private_key(),
                authorization: Authorization::AnyIdentity,
                state_dir: None,
                forward: Forward::Sink,
                dispatch: scenario.dispatch,
                sockets: SocketOptions {
                    receive_buffer_bytes: 1 << 20,
                    send_buffer_bytes: 1 << 20,
                    ..SocketOptions::default()
                },
                limits: ShardConfig::default(),
                remembered_identities: 1024,
                handshake_timestamp_tolerance: Duration::from_secs(7200),
                metrics: None,
            },
            internal: scenario.any_port(),
            next_hops: HashMap::new(),
            forward: None,
        }
    }

    /// A gateway as it comes.
    pub fn start(scenario: Scenario) -> Self {
        Self::setup(scenario).start()
    }

    /// The key that clients need to know.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// Where clients send, with the real port.
    #[must_use]
    pub fn listen_address(&self) -> SocketAddr {
        self.gateway.listen_addrs()[0]
    }

    /// All addresses where clients send.
    #[must_use]
    pub fn listen_addresses(&self) -> &[SocketAddr] {
        self.gateway.listen_addrs()
    }

    /// Where routers send.
    ///
    /// # Panics
    ///
    /// When the gateway does not forward to SCION.
    #[must_use]
    pub fn internal_address(&self) -> SocketAddr {
        self.gateway
            .internal_addr()
            .expect("a gateway that forwards to SCION")
    }

    /// Lets in these and nobody else from now on.
    ///
    /// # Panics
    ///
    /// When the gateway was started to let everyone in.
    pub fn replace_identities(&self, identities: &[Identity]) {
        let changes = self.gateway.replace_identities(identities);
        changes.expect("a gateway with a list of identities");
    }

    /// What each worker counted.
    #[must_use]
    pub fn workers(&self) -> Vec<Counters> {
        self.gateway.counters()
    }

    /// What all workers counted together.
    #[must_use]
    pub fn total(&self) -> Counters {
        sum(&self.workers())
    }

    /// Waits until the counters of all workers together are as described, and returns them.
    ///
    /// # Panics
    ///
    /// When they never are.
    pub async fn until(&self, what: &str, holds: impl Fn(&Counters) -> bool) -> Counters {
        let poll = async {
            let mut interval = tokio::time::interval(COUNTERS_INTERVAL);
            loop {
                let total = self.total();
                if holds(&total) {
                    return total;
                }
                interval.tick().await;
            }
        };
        in_time(what, poll).await
    }

    /// Waits until so many datagrams have been dropped for `reason`.
    ///
    /// # Panics
    ///
    /// When they never are.
    pub async fn until_dropped(&self, reason: DropReason, packets: u64) -> Counters {
        let what = format!("{packets} packets dropped for {reason:?}");
        self.until(&what, |total| total.dropped[reason.index()] == packets)
            .await
    }

    /// Stops the gateway and checks that every datagram is accounted for: in each worker and over
    /// all of them, with nothing lost on the way and nothing lost in the kernel. With dispatch in
    /// the kernel, no datagram may have come to a worker that does not own its tunnel.
    ///
    /// # Panics
    ///
    /// When they are not.
    pub fn finish(self) -> Counters {
        if let Ok(failure) = self.gateway.failures().try_recv() {
            panic!("{failure}");
        }
        let workers = self.gateway.stop().workers;
        for worker in &workers {
            assert!(worker.balance(), "{worker:#?}");
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
        if self.dispatch == Dispatch::Kernel {
            assert_eq!(total.handovers, 0, "{total:#?}");
        }
        total
    }
}

fn sum(workers: &[Counters]) -> Counters {
    let mut total = Counters::default();
    workers.iter().for_each(|worker| total.add(worker));
    total
}
