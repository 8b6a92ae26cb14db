//! Gateway inside the test process, for asynchronous tests.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use snapgate::config::{Authorization, Config, Forward, ShardConfig, SocketOptions};
use snapgate::counters::Counters;
use snapgate::drop_reason::DropReason;
use snapgate::identities::Identity;
use snapgate::keys::PrivateKey;
use testkit::gateway::{config, scion};
use testkit::packets::LOCAL;

use crate::{Router, Scenario, in_time};

/// Interval at which [`TestGateway::until`] polls the counters.
const COUNTERS_INTERVAL: Duration = Duration::from_millis(1);

/// Settings of a [`TestGateway`]. Default: two workers, any identity, SCION without routers.
#[derive(Clone, Debug)]
pub struct GatewaySetup {
    config: Config,
}

impl GatewaySetup {
    /// Sets the listen addresses, instead of a free port of loopback.
    #[must_use]
    pub fn listen(mut self, addresses: &[SocketAddr]) -> Self {
        self.config.listen = addresses.to_vec();
        self
    }

    /// Sets the private key, instead of a new one.
    #[must_use]
    pub fn private_key(mut self, key: PrivateKey) -> Self {
        self.config.private_key = key;
        self
    }

    /// Admits only `identities`.
    #[must_use]
    pub fn only(mut self, identities: &[Identity]) -> Self {
        self.config.authorization = Authorization::Identities(identities.to_vec());
        self
    }

    /// Adds a router behind an interface.
    #[must_use]
    pub fn next_hop(mut self, interface: u16, router: &Router) -> Self {
        let Forward::Scion(scion) = &mut self.config.forward else {
            panic!("the gateway does not forward to SCION");
        };
        let interface = (LOCAL, interface);
        scion.next_hops.insert(interface, router.address());
        self
    }

    /// Answers every handshake initiation without a cookie with a cookie reply.
    #[must_use]
    pub const fn demand_cookies(mut self) -> Self {
        self.config.limits.handshakes_per_ip_per_second = 0;
        self
    }

    /// Sets the silence after which another identity may take over the address of a tunnel.
    #[must_use]
    pub const fn silent_after(mut self, silence: Duration) -> Self {
        self.config.limits.silent_after = silence;
        self
    }

    /// Sets the destination of packets from tunnels, instead of SCION.
    #[must_use]
    pub fn forward(mut self, forward: Forward) -> Self {
        self.config.forward = forward;
        self
    }

    /// Starts the gateway.
    pub fn start(self) -> TestGateway {
        TestGateway(testkit::gateway::TestGateway::start(&self.config))
    }
}

/// A running gateway.
#[must_use = "a test ends with `finish`, which checks the counters"]
pub struct TestGateway(testkit::gateway::TestGateway);

impl Deref for TestGateway {
    type Target = testkit::gateway::TestGateway;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl TestGateway {
    /// Returns the default settings in a scenario.
    #[must_use]
    pub fn setup(scenario: Scenario) -> GatewaySetup {
        let mut scion = scion(&[]);
        scion.internal = scenario.any_port();
        GatewaySetup {
            config: Config {
                listen: vec![scenario.any_port()],
                dispatch: scenario.dispatch,
                sockets: SocketOptions {
                    receive_buffer_bytes: 1 << 20,
                    send_buffer_bytes: 1 << 20,
                    ..SocketOptions::default()
                },
                limits: ShardConfig::default(),
                remembered_identities: 1024,
                ..config(Forward::Scion(scion))
            },
        }
    }

    /// Starts a gateway with the default settings.
    pub fn start(scenario: Scenario) -> Self {
        Self::setup(scenario).start()
    }

    /// Replaces the admitted identities of a gateway that was set up with [`GatewaySetup::only`].
    pub fn replace_identities(&self, identities: &[Identity]) {
        let changes = self.gateway().replace_identities(identities);
        changes.expect("the gateway has a list of identities");
    }

    /// Waits until `holds` returns true for the sum of all workers' counters, and returns that sum.
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

    /// Waits until `packets` datagrams have been dropped for `reason`, and returns the sum of all workers' counters.
    pub async fn until_dropped(&self, reason: DropReason, packets: u64) -> Counters {
        let what = format!("{packets} packets dropped for {reason:?}");
        self.until(&what, |total| total.dropped[reason.index()] == packets)
            .await
    }

    /// Stops the gateway and checks that every datagram is accounted for
    /// ([`testkit::gateway::TestGateway::finish`]).
    pub fn finish(self) -> Counters {
        self.0.finish()
    }
}
