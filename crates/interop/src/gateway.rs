//! A gateway whose counters an asynchronous test can wait for.

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

/// Between two looks at the counters, which nobody announces.
const COUNTERS_INTERVAL: Duration = Duration::from_millis(1);

/// What a [`TestGateway`] is started with: two workers, anyone may connect, SCION without routers.
#[derive(Clone, Debug)]
pub struct GatewaySetup {
    config: Config,
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
    ///
    /// # Panics
    ///
    /// When packets do not go to SCION.
    #[must_use]
    pub fn next_hop(mut self, interface: u16, router: &Router) -> Self {
        let Forward::Scion(scion) = &mut self.config.forward else {
            panic!("a gateway without routers");
        };
        let interface = (LOCAL, interface);
        scion.next_hops.insert(interface, router.address());
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
        self.config.forward = forward;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// When it does not start.
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
    /// A gateway to be set up.
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

    /// A gateway as it comes.
    pub fn start(scenario: Scenario) -> Self {
        Self::setup(scenario).start()
    }

    /// Lets in these and nobody else from now on.
    ///
    /// # Panics
    ///
    /// When the gateway was started to let everyone in.
    pub fn replace_identities(&self, identities: &[Identity]) {
        let changes = self.gateway().replace_identities(identities);
        changes.expect("a gateway with a list of identities");
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

    /// Stops the gateway and checks that every datagram is accounted for, see
    /// [`testkit::gateway::TestGateway::finish`].
    pub fn finish(self) -> Counters {
        self.0.finish()
    }
}
