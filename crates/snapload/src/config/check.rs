//! Validation of a configuration.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Direction, LoadConfig, MAX_PACKET_BYTES, MAX_TRAIN, MAX_TUNNELS, PacketSizes};
use crate::error::ConfigError;

impl LoadConfig {
    /// Checks for settings that cannot work.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_gateway()?;
        self.check_tunnels()?;
        self.check_direction()?;
        self.check_traffic()?;
        self.check_times()
    }

    fn check_gateway(&self) -> Result<(), ConfigError> {
        self.check_target(self.gateway)?;
        if let Some(net) = self.source_ips
            && net.addr().is_ipv4() != self.gateway.is_ipv4()
        {
            return Err(ConfigError::SourceFamily(net));
        }
        Ok(())
    }

    /// Checks an address that receives load.
    fn check_target(&self, address: SocketAddr) -> Result<(), ConfigError> {
        let ip = address.ip();
        if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            return Err(ConfigError::BadGateway(address));
        }
        if !ip.is_loopback() && !self.allow_remote {
            return Err(ConfigError::RemoteGateway(address));
        }
        Ok(())
    }

    fn check_tunnels(&self) -> Result<(), ConfigError> {
        let tunnels = self.tunnels();
        if tunnels == 0 {
            return Err(ConfigError::NoTunnels);
        }
        if tunnels > MAX_TUNNELS {
            return Err(ConfigError::TooManyTunnels(tunnels));
        }
        let active = self.active_tunnels();
        if active == 0 || active > tunnels {
            return Err(ConfigError::BadActive { active, tunnels });
        }
        if self.threads == 0 || self.threads > active {
            return Err(ConfigError::BadThreads {
                threads: self.threads,
                tunnels: active,
            });
        }
        Ok(())
    }

    fn check_direction(&self) -> Result<(), ConfigError> {
        let last_thread = self.threads - 1;
        let fits = |first: u16| usize::from(first) + last_thread <= usize::from(u16::MAX);
        match self.direction {
            Direction::Echo => {}
            Direction::Up { router, interface } => {
                if router.port() == 0 || !fits(router.port()) {
                    return Err(ConfigError::BadRouter(router));
                }
                if interface == 0 || !fits(interface) {
                    return Err(ConfigError::BadInterface(interface));
                }
            }
            Direction::Down { internal, router } => {
                self.check_target(internal)?;
                if let Some(router) = router
                    && (!fits(router.port()) || router.is_ipv4() != internal.is_ipv4())
                {
                    return Err(ConfigError::BadRouter(router));
                }
            }
        }
        if self.direction != Direction::Echo && self.isd_as == self.remote_isd_as {
            return Err(ConfigError::SameIsdAs(self.isd_as));
        }
        Ok(())
    }

    fn check_traffic(&self) -> Result<(), ConfigError> {
        let min = self.direction.min_packet_bytes(self.gateway.ip());
        if let PacketSizes::Fixed(size) = self.sizes
            && !(min..=MAX_PACKET_BYTES).contains(&size)
        {
            return Err(ConfigError::BadSize {
                size,
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
        self.trial().check(self)
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        if self.interval < Duration::from_millis(1) {
            return Err(ConfigError::BadInterval);
        }
        if let Some(keepalive) = self.keepalive
            && (keepalive.subsec_nanos() > 0
                || !(1..=u64::from(u16::MAX)).contains(&keepalive.as_secs()))
        {
            return Err(ConfigError::BadKeepalive);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DEFAULT_ISD_AS, Rate};
    use crate::identity::Identities;

    fn config() -> LoadConfig {
        let gateway = "127.0.0.1:51820".parse().unwrap();
        LoadConfig::new(gateway, [1; 32], Identities::from_seed(1, 8))
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(config().check(), Ok(()));
    }

    #[test]
    fn remote_gateway_requires_permission() {
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
    fn gateway_without_port_or_address_is_refused() {
        let mut config = config();
        config.allow_remote = true;
        for gateway in ["127.0.0.1:0", "0.0.0.0:1", "[::]:1", "224.0.0.1:1"] {
            config.gateway = gateway.parse().unwrap();
            assert_eq!(config.check(), Err(ConfigError::BadGateway(config.gateway)));
        }
    }

    #[test]
    fn packets_smaller_than_headers_and_stamp_are_refused() {
        let mut config = config();
        config.sizes = PacketSizes::Fixed(64);
        assert_eq!(config.check(), Ok(()));
        config.sizes = PacketSizes::Fixed(63);
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
    fn train_has_1_to_64_packets() {
        let mut config = config();
        for (train, valid) in [(0, false), (1, true), (64, true), (65, false)] {
            config.train = Some(train);
            assert_eq!(config.check().is_ok(), valid, "{train}");
        }
    }

    #[test]
    fn window_holds_at_least_one_train_per_thread() {
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
    fn rate_must_be_positive_and_finite() {
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
    fn more_threads_than_tunnels_are_refused() {
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
    fn active_tunnels_range_from_the_number_of_threads_to_all() {
        let mut config = config();
        config.threads = 2;
        for (active, valid) in [(0, false), (1, false), (2, true), (8, true), (9, false)] {
            config.active = Some(active);
            assert_eq!(config.check().is_ok(), valid, "{active}");
        }
    }

    #[test]
    fn pre_encrypted_packets_must_fit_into_memory() {
        let mut config = config();
        config.rate = Rate::PerSecond(100_000.0);
        // 11 s at 100,000 packets of 1344 bytes per second.
        for (mib, valid) in [(1409, false), (1410, true)] {
            config.pre_encrypt_bytes = Some(mib << 20);
            assert_eq!(config.check().is_ok(), valid, "{mib}");
        }
        config.rate = Rate::Max { window: 512 };
        config.pre_encrypt_bytes = Some(1 << 20);
        assert_eq!(config.check(), Ok(()));
        config.duration = Duration::from_secs(121);
        assert!(matches!(
            config.check(),
            Err(ConfigError::PreEncryptedTooLong { .. })
        ));
    }

    #[test]
    fn pre_encryption_is_refused_for_direction_down() {
        let mut config = config();
        config.pre_encrypt_bytes = Some(1 << 30);
        config.direction = Direction::Down {
            internal: "127.0.0.1:30100".parse().unwrap(),
            router: None,
        };
        assert_eq!(config.check(), Err(ConfigError::NothingToPreEncrypt));
    }

    #[test]
    fn keepalive_is_a_whole_number_of_seconds() {
        let mut config = config();
        for (millis, valid) in [(0, false), (1, false), (1000, true), (1500, false)] {
            config.keepalive = Some(Duration::from_millis(millis));
            assert_eq!(config.check().is_ok(), valid, "{millis}");
        }
    }

    #[test]
    fn source_addresses_must_match_the_gateways_ip_version() {
        let mut config = config();
        config.source_ips = Some("::1/128".parse().unwrap());
        assert!(matches!(config.check(), Err(ConfigError::SourceFamily(_))));
    }

    #[test]
    fn every_thread_needs_a_router_port_and_an_interface() {
        let mut config = config();
        config.threads = 2;
        for (router, interface, valid) in [
            ("127.0.0.1:31000", 1, true),
            ("0.0.0.0:31000", 1, true),
            ("127.0.0.1:65534", 65_534, true),
            ("127.0.0.1:65535", 1, false),
            ("127.0.0.1:0", 1, false),
            ("127.0.0.1:31000", 0, false),
            ("127.0.0.1:31000", 65_535, false),
        ] {
            let router = router.parse().unwrap();
            config.direction = Direction::Up { router, interface };
            assert_eq!(config.check().is_ok(), valid, "{router} {interface}");
        }
    }

    #[test]
    fn internal_address_is_checked_like_the_listen_address() {
        let mut config = config();
        for (internal, valid) in [
            ("127.0.0.1:30100", true),
            ("127.0.0.1:0", false),
            ("192.0.2.1:30100", false),
        ] {
            config.direction = Direction::Down {
                internal: internal.parse().unwrap(),
                router: None,
            };
            assert_eq!(config.check().is_ok(), valid, "{internal}");
        }
    }

    #[test]
    fn remote_as_must_differ_unless_packets_are_echoed() {
        let mut config = config();
        config.remote_isd_as = DEFAULT_ISD_AS;
        assert_eq!(config.check(), Ok(()));
        config.direction = Direction::Up {
            router: "127.0.0.1:31000".parse().unwrap(),
            interface: 1,
        };
        assert_eq!(config.check(), Err(ConfigError::SameIsdAs(DEFAULT_ISD_AS)));
    }

    #[test]
    fn packets_with_a_path_have_a_larger_minimum_size() {
        let mut config = config();
        config.direction = Direction::Up {
            router: "127.0.0.1:31000".parse().unwrap(),
            interface: 1,
        };
        config.sizes = PacketSizes::Fixed(99);
        assert!(matches!(
            config.check(),
            Err(ConfigError::BadSize { min: 100, .. })
        ));
        config.sizes = PacketSizes::Imix;
        assert_eq!(config.check(), Ok(()));
    }
}
