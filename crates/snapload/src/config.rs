//! What a run shall do.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use scion_packet::IsdAs;

use crate::error::ConfigError;
use crate::identity::Identities;
use crate::inner_packet;
use crate::stamp::U48_END;

/// The largest inner packet: a UDP datagram over IPv4 (65,507 bytes) less SNAPtun's 32 bytes.
pub const MAX_PACKET_BYTES: usize = 65_507 - 32;

/// The longest train: the kernel takes no more datagrams in one segmented send (UDP_MAX_SEGMENTS,
/// include/linux/udp.h).
pub const MAX_TRAIN: u32 = 64;

/// Packets in flight with [`Rate::Max`] unless told otherwise: enough for a gateway to work on
/// while the generator works, and little enough for default socket buffers to hold.
pub const DEFAULT_WINDOW: u32 = 512;

/// ISD-AS of the packets unless told otherwise: 1-ff00:0:110, of the range for examples and tests.
pub const DEFAULT_ISD_AS: IsdAs = IsdAs::from_u64(0x0001_ff00_0000_0110);

/// The train length of [`LoadConfig::train`] `None` with [`Rate::Max`].
const DEFAULT_TRAIN: u32 = 16;

/// The highest rate: a packet a nanosecond, the resolution of the schedule.
const MAX_RATE_PPS: u64 = 1_000_000_000;

/// The longest run. Scheduled times are counted in nanoseconds in 48 bits, and connecting and
/// draining take their time as well.
const MAX_HOURS: u64 = 72;

const _: () = assert!(MAX_HOURS * 3600 * 1_000_000_000 < U48_END);

/// Everything a run needs to know. Start from [`LoadConfig::new`] and change fields.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Where the gateway listens for SNAPtun.
    pub gateway: SocketAddr,
    /// The gateway's X25519 public key.
    pub gateway_public_key: [u8; 32],
    /// One tunnel per identity, each on its own socket.
    pub identities: Identities,
    /// How many threads share the tunnels.
    pub threads: usize,
    /// Where the threads run.
    pub cpus: Cpus,
    /// Size of the SCION packet in the tunnel, in bytes.
    pub size: usize,
    /// How fast packets are sent.
    pub rate: Rate,
    /// How many packets are sent back to back on one tunnel. `None`: 1 with
    /// [`Rate::PerSecond`], which spaces all packets evenly, and 16 with [`Rate::Max`].
    pub train: Option<u32>,
    /// How long packets are sent and counted.
    pub duration: Duration,
    /// How long packets are sent before that without being counted.
    pub warm_up: Duration,
    /// How long replies are waited for after the last packet; what is then missing is lost.
    pub drain: Duration,
    /// How often [`Progress::Interval`](crate::Progress::Interval) is reported.
    pub interval: Duration,
    /// How long a tunnel may take from its first handshake message to being connected.
    pub connect_timeout: Duration,
    /// How long a handshake message waits for its answer before another is sent.
    pub handshake_retry: Duration,
    /// The addresses the tunnels are bound to, in turn. `None`: the one the operating system
    /// chooses towards the gateway.
    pub source_ips: Option<IpNet>,
    /// Source and destination ISD-AS of the packets.
    pub isd_as: IsdAs,
    /// Whether the gateway may be on another machine. A load generator that is pointed at the
    /// wrong address does harm there, so this takes a decision.
    pub allow_remote: bool,
}

/// How fast packets are sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rate {
    /// Open loop: this many packets a second over all tunnels, each at its scheduled time,
    /// whatever comes back.
    PerSecond(f64),
    /// Closed loop: a packet is sent when another came back, with at most this many in flight
    /// over all tunnels. Finds what a gateway sustains with that many packets in its queues;
    /// latencies are those of full queues.
    Max {
        /// Packets in flight over all tunnels, at least one train per thread.
        window: u32,
    },
}

/// Where the threads run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cpus {
    /// Where the operating system puts them.
    Unpinned,
    /// Each on its own CPU, from the last one down: gateways count from the first one up.
    FromLast,
    /// On these CPUs, in turn.
    List(Vec<usize>),
}

impl LoadConfig {
    /// A run of one random tunnel that sends 1000 packets of 1200 bytes a second for 10 seconds.
    #[must_use]
    pub fn new(gateway: SocketAddr, gateway_public_key: [u8; 32], identities: Identities) -> Self {
        Self {
            gateway,
            gateway_public_key,
            identities,
            threads: 1,
            cpus: Cpus::FromLast,
            size: 1200,
            rate: Rate::PerSecond(1000.0),
            train: None,
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(1),
            drain: Duration::from_secs(1),
            interval: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(10),
            handshake_retry: Duration::from_secs(1),
            source_ips: None,
            isd_as: DEFAULT_ISD_AS,
            allow_remote: false,
        }
    }

    /// The public keys of the tunnels: what the gateway has to authorize.
    #[must_use]
    pub fn public_keys(&self) -> Vec<[u8; 32]> {
        self.identities.public_keys()
    }

    /// The size of the smallest packet that can be sent to `gateway`: SCION and UDP header and
    /// the mark that tells packets apart. 64 bytes over IPv4, 88 over IPv6.
    #[must_use]
    pub fn min_packet_bytes(gateway: SocketAddr) -> usize {
        inner_packet::min_bytes(gateway.ip())
    }

    /// The length of trains that this configuration results in.
    #[must_use]
    pub fn effective_train(&self) -> u32 {
        match (self.train, self.rate) {
            (Some(train), _) => train,
            (None, Rate::PerSecond(_)) => 1,
            (None, Rate::Max { .. }) => DEFAULT_TRAIN,
        }
    }

    /// Looks for what cannot work.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_gateway()?;
        self.check_tunnels()?;
        self.check_traffic()?;
        self.check_times()
    }

    fn check_gateway(&self) -> Result<(), ConfigError> {
        let ip = self.gateway.ip();
        if self.gateway.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            return Err(ConfigError::BadGateway(self.gateway));
        }
        if !ip.is_loopback() && !self.allow_remote {
            return Err(ConfigError::RemoteGateway(self.gateway));
        }
        if let Some(net) = self.source_ips
            && net.addr().is_ipv4() != ip.is_ipv4()
        {
            return Err(ConfigError::SourceFamily(net));
        }
        Ok(())
    }

    fn check_tunnels(&self) -> Result<(), ConfigError> {
        let tunnels = self.identities.len();
        if tunnels == 0 {
            return Err(ConfigError::NoTunnels);
        }
        if u32::try_from(tunnels).is_err() {
            return Err(ConfigError::TooManyTunnels(tunnels));
        }
        if self.threads == 0 || self.threads > tunnels {
            return Err(ConfigError::BadThreads {
                threads: self.threads,
                tunnels,
            });
        }
        Ok(())
    }

    fn check_traffic(&self) -> Result<(), ConfigError> {
        let min = Self::min_packet_bytes(self.gateway);
        if !(min..=MAX_PACKET_BYTES).contains(&self.size) {
            return Err(ConfigError::BadSize {
                size: self.size,
                min,
                max: MAX_PACKET_BYTES,
            });
        }
        let train = self.effective_train();
        if train == 0 || train > MAX_TRAIN {
            return Err(ConfigError::BadTrain {
                train,
                max: MAX_TRAIN,
            });
        }
        match self.rate {
            Rate::PerSecond(pps) if !(pps > 0.0 && pps <= MAX_RATE_PPS as f64) => {
                Err(ConfigError::BadRate { max: MAX_RATE_PPS })
            }
            Rate::Max { window } => {
                let min = u32::try_from(self.threads)
                    .unwrap_or(u32::MAX)
                    .saturating_mul(train);
                if window < min {
                    Err(ConfigError::BadWindow { window, min })
                } else {
                    Ok(())
                }
            }
            Rate::PerSecond(_) => Ok(()),
        }
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        let longest = Duration::from_secs(MAX_HOURS * 3600);
        if self.duration.is_zero() || self.duration.saturating_add(self.warm_up) > longest {
            return Err(ConfigError::BadDuration {
                max_hours: MAX_HOURS,
            });
        }
        if self.interval < Duration::from_millis(1) {
            return Err(ConfigError::BadInterval);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> LoadConfig {
        let gateway = "127.0.0.1:51820".parse().unwrap();
        LoadConfig::new(gateway, [1; 32], Identities::from_seed(1, 8))
    }

    #[test]
    fn the_defaults_are_a_valid_run() {
        assert_eq!(config().check(), Ok(()));
    }

    #[test]
    fn a_gateway_elsewhere_takes_a_decision() {
        let mut config = config();
        config.gateway = "192.0.2.1:51820".parse().unwrap();
        assert_eq!(
            config.check(),
            Err(ConfigError::RemoteGateway(config.gateway))
        );
        config.allow_remote = true;
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn a_gateway_without_port_or_address_is_refused_even_when_remote_is_allowed() {
        let mut config = config();
        config.allow_remote = true;
        for gateway in ["127.0.0.1:0", "0.0.0.0:1", "[::]:1", "224.0.0.1:1"] {
            config.gateway = gateway.parse().unwrap();
            assert_eq!(config.check(), Err(ConfigError::BadGateway(config.gateway)));
        }
    }

    #[test]
    fn packets_hold_at_least_their_headers_and_stamp() {
        let mut config = config();
        config.size = 64;
        assert_eq!(config.check(), Ok(()));
        config.size = 63;
        assert!(matches!(
            config.check(),
            Err(ConfigError::BadSize { min: 64, .. })
        ));
        config.gateway = "[::1]:51820".parse().unwrap();
        assert!(matches!(
            config.check(),
            Err(ConfigError::BadSize { min: 88, .. })
        ));
    }

    #[test]
    fn a_train_is_1_to_64_packets() {
        let mut config = config();
        for (train, valid) in [(0, false), (1, true), (64, true), (65, false)] {
            config.train = Some(train);
            assert_eq!(config.check().is_ok(), valid, "{train}");
        }
    }

    #[test]
    fn a_window_holds_a_train_for_every_thread() {
        let mut config = config();
        config.threads = 4;
        config.rate = Rate::Max { window: 64 };
        assert_eq!(config.check(), Ok(()));
        config.rate = Rate::Max { window: 63 };
        assert_eq!(
            config.check(),
            Err(ConfigError::BadWindow {
                window: 63,
                min: 64
            })
        );
    }

    #[test]
    fn a_rate_is_a_positive_number() {
        let mut config = config();
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            config.rate = Rate::PerSecond(rate);
            assert!(
                matches!(config.check(), Err(ConfigError::BadRate { .. })),
                "{rate}"
            );
        }
    }

    #[test]
    fn there_are_no_more_threads_than_tunnels() {
        let mut config = config();
        config.threads = 9;
        assert_eq!(
            config.check(),
            Err(ConfigError::BadThreads {
                threads: 9,
                tunnels: 8
            })
        );
    }

    #[test]
    fn source_addresses_are_of_the_gateways_ip_version() {
        let mut config = config();
        config.source_ips = Some("::1/128".parse().unwrap());
        assert!(matches!(config.check(), Err(ConfigError::SourceFamily(_))));
    }
}
