//! The SNAP: a gateway process with a control plane, in the network of PocketSCION.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, DirBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use scion_stack::url::Url;
use testkit::{GatewayProcess, GatewaySetup, Metrics};
use tokio::task::block_in_place;

use crate::network::{Network, NetworkAddresses, SNAP_AS, SNAP_INTERFACES};
use crate::{Application, Issuer, Relay, Subscriber, Token, in_time};

/// Lifetime of tokens that do not end during a test.
const LONG: Duration = Duration::from_secs(3600);

/// First UDP and TCP ports of gateways with IPv6 addresses, which all use `::1`. Below `ip_local_port_range`.
const IPV6_PORTS: u16 = 20_000;

/// Ports of one gateway.
const PORTS: u16 = 4;

/// Settings of a [`Snap`]. Default: IPv4, plain HTTP, and tokens of one issuer.
pub struct SnapSetup {
    gateway: GatewaySetup,
    /// Addresses for tunnels, for SCION routers and for RPCs.
    listen: SocketAddr,
    internal: SocketAddr,
    control_plane: SocketAddr,
    scheme: &'static str,
    issuer: Issuer,
    has_key: bool,
}

impl SnapSetup {
    /// Creates the settings of a SNAP whose gateway is the `snapgate` command in `SNAPGATE_BIN`, or in the release
    /// directory of the tests' target directory.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "every call chooses other addresses"
    )]
    pub fn new() -> Self {
        let gateway = GatewaySetup::new(snapgate())
            .only_registered_identities()
            .forward("scion")
            .workers(2);
        let listen = gateway.listen_addresses()[0];
        Self::at(gateway, listen)
    }

    /// Creates the settings of a SNAP with IPv6 addresses.
    #[must_use]
    pub fn ipv6() -> Self {
        let range = u16::try_from(std::process::id() % 2500).expect("a small number");
        let listen = SocketAddr::from((Ipv6Addr::LOCALHOST, IPV6_PORTS + range * PORTS));
        let setup = Self::new();
        Self::at(setup.gateway.listen(listen), listen)
    }

    fn at(gateway: GatewaySetup, listen: SocketAddr) -> Self {
        let port = |offset| SocketAddr::new(listen.ip(), listen.port() + offset);
        Self {
            // Port 1 serves metrics.
            internal: port(2),
            control_plane: port(3),
            gateway,
            listen,
            scheme: "http",
            issuer: Issuer::new(),
            has_key: true,
        }
    }

    /// Returns the issuer of tokens.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Returns the IP address of all sockets of the gateway.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.listen.ip()
    }

    /// Returns the path of a file in the gateway's working directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.gateway.path(name)
    }

    /// Accepts tokens by the keys of a JWK set in a file, instead of by the key of [`Self::issuer`].
    #[must_use]
    pub fn jwk_set(mut self, name: &str) -> Self {
        self.has_key = false;
        let file = self.path(name);
        self.argument(&format!("--token-jwks={}", file.display()))
    }

    /// Serves RPCs over TLS, with a certificate and a key in the gateway's working directory.
    #[must_use]
    pub fn tls(mut self, certificate: &str, key: &str) -> Self {
        self.scheme = "https";
        let [certificate, key] = [certificate, key].map(|name| self.path(name));
        self.argument(&format!(
            "--control-plane-certificate={}",
            certificate.display()
        ))
        .argument(&format!("--control-plane-private-key={}", key.display()))
    }

    /// Adds an argument of `snapgate run`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.gateway = self.gateway.argument(argument);
        self
    }

    /// Starts the network and the gateway.
    pub async fn start(self) -> Snap {
        let ip = match self.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let network = Network::start(self.internal, NetworkAddresses::free_ports(ip)).await;
        let endhost_api = Relay::start(network.addresses().snap_endhost_api).await;
        let state = self.path("state");
        // Users that could write to it could replace the socket in it.
        let created = DirBuilder::new().mode(0o700).create(&state);
        created.expect("a directory");

        let mut gateway = self.gateway;
        for interface in SNAP_INTERFACES {
            let router = network.addresses().snap_router;
            gateway = gateway.argument(format!("--next-hop={SNAP_AS}#{interface}={router}"));
        }
        if self.has_key {
            let key = gateway.path("token.pem");
            fs::write(&key, self.issuer.public_key_pem()).expect("a key file");
            gateway = gateway.argument(format!("--token-key={}", key.display()));
        }
        let gateway = gateway
            .argument(format!("--internal={}", self.internal))
            .argument(format!("--control-plane={}", self.control_plane))
            .argument(format!("--endhost-api=http://{}", endhost_api.address()))
            .argument(format!("--state-dir={}", state.display()));
        let url = format!("{}://{}", self.scheme, self.control_plane);
        let mut snap = Snap {
            setup: gateway,
            process: None,
            url: url.parse().expect("a URL"),
            issuer: self.issuer,
            network,
            endhost_api,
        };
        snap.start_gateway();
        snap
    }
}

/// A running SNAP. Drop kills the gateway and stops the network.
pub struct Snap {
    setup: GatewaySetup,
    process: Option<GatewayProcess>,
    url: Url,
    issuer: Issuer,
    network: Network,
    endhost_api: Relay,
}

impl Snap {
    /// Starts a SNAP with the default settings.
    pub async fn start() -> Self {
        SnapSetup::new().start().await
    }

    /// Returns the URL of the control plane.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the issuer whose tokens are accepted.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Returns the SCION network.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the connection from the gateway to the endhost API.
    #[must_use]
    pub const fn endhost_api(&self) -> &Relay {
        &self.endhost_api
    }

    /// Returns the path of a file in the gateway's working directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.setup.path(name)
    }

    /// Returns a token that does not end during a test, of a new subscriber.
    #[must_use]
    pub fn token(&self) -> Token {
        self.issuer.token(Subscriber::new(), LONG)
    }

    /// Connects an application with a token of its own.
    pub async fn application(&self) -> Application {
        self.application_with(&self.token()).await
    }

    /// Connects an application with `token`.
    pub async fn application_with(&self, token: &Token) -> Application {
        match self.try_application(token).await {
            Ok(application) => application,
            Err(error) => panic!("an application cannot connect: {error}"),
        }
    }

    /// Connects an application with `token`.
    ///
    /// # Errors
    ///
    /// The error of the stack and its causes.
    pub async fn try_application(&self, token: &Token) -> Result<Application, String> {
        in_time("an application", Application::connect(&self.url, token)).await
    }

    /// Starts an application in the other AS.
    pub async fn remote_application(&self) -> Application {
        Application::without_snap(&self.network.udp_endhost_api()).await
    }

    /// Starts the gateway, and waits until it is ready.
    pub fn start_gateway(&mut self) {
        assert!(self.process.is_none(), "the gateway runs");
        self.process = Some(block_in_place(|| self.setup.start()));
    }

    /// Kills the gateway.
    pub fn kill_gateway(&mut self) {
        let process = self.process.take().expect("a running gateway");
        block_in_place(|| process.kill());
    }

    /// Runs `snapgate registrations ARGUMENTS`, and returns its standard output.
    ///
    /// # Panics
    ///
    /// If it fails, with its standard error.
    #[must_use]
    pub fn registrations(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(snapgate());
        command
            .arg("registrations")
            .args(arguments)
            .arg("--state-dir")
            .arg(self.path("state"));
        let output = block_in_place(|| command.output()).expect("the command runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {error}");
        String::from_utf8(output.stdout).expect("output in UTF-8")
    }

    /// Scrapes the metrics.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        block_in_place(|| self.gateway().metrics())
    }

    /// Scrapes the metrics until `holds` returns true, and returns that scrape.
    pub fn wait_for_metrics(&self, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
        block_in_place(|| self.gateway().wait_for_metrics(what, holds))
    }

    /// Returns the drop counters that are not 0, by `stage/reason`, summed over the workers. Drops of the kernel are
    /// `kernel/SOCKET`.
    #[must_use]
    pub fn drops(&self) -> BTreeMap<String, u64> {
        let metrics = self.metrics();
        metrics.assert_balanced();
        let mut drops = BTreeMap::new();
        for (sample, value) in metrics.non_zero() {
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let label = |wanted: &str| {
                let labels = labels.trim_end_matches('}').split(',');
                let mut values = labels.filter_map(|label| label.strip_prefix(wanted));
                values.next().unwrap_or_default().trim_matches('"')
            };
            let reason = match name {
                "snapgate_dropped_packets_total" => {
                    format!("{}/{}", label("stage="), label("reason="))
                }
                "snapgate_kernel_dropped_packets_total" => format!("kernel/{}", label("socket=")),
                _ => continue,
            };
            *drops.entry(reason).or_default() += value as u64;
        }
        drops
    }

    /// Checks that the gateway has dropped nothing.
    ///
    /// # Panics
    ///
    /// If it has.
    pub fn assert_no_drops(&self) {
        assert_eq!(self.drops(), BTreeMap::new());
    }

    fn gateway(&self) -> &GatewayProcess {
        self.process.as_ref().expect("a running gateway")
    }
}

/// Returns the `snapgate` command: `SNAPGATE_BIN`, or `release/snapgate` in the target directory of the tests.
///
/// # Panics
///
/// If it does not exist.
#[must_use]
pub fn snapgate() -> PathBuf {
    let program = env::var_os("SNAPGATE_BIN").map_or_else(default_program, PathBuf::from);
    assert!(
        program.is_file(),
        "{} not found: run `cargo build --release -p snapgate` with the target directory of the tests, or set \
         SNAPGATE_BIN",
        program.display()
    );
    // The gateway has another working directory.
    program.canonicalize().expect("a path")
}

/// Returns `release/snapgate` in the target directory of the tests, whose programs are in `debug/deps`.
fn default_program() -> PathBuf {
    let test = env::current_exe().expect("the program of the test");
    let target = test.ancestors().nth(3).expect("a target directory");
    target.join("release/snapgate")
}
