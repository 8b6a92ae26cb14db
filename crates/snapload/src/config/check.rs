//! What is wrong with a configuration.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Direction, LoadConfig, MAX_PACKET_BYTES, MAX_TRAIN, MAX_TUNNELS, PacketSizes};
use crate::error::ConfigError;

impl LoadConfig {
    /// Looks for what cannot work.
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

    /// Checks an address that load is sent to.
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
    fn active_tunnels_are_some_of_all_and_enough_for_all_threads() {
        let mut config = config();
        config.threads = 2;
        for (active, valid) in [(0, false), (1, false), (2, true), (8, true), (9, false)] {
            config.active = Some(active);
            assert_eq!(config.check().is_ok(), valid, "{active}");
        }
    }

    #[test]
    fn packets_encrypted_beforehand_fit_into_the_memory_allowed() {
        let mut config = config();
        config.rate = Rate::PerSecond(100_000.0);
        // 11 s of 1344 bytes.
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
    fn there_is_nothing_to_encrypt_beforehand_on_the_way_down() {
        let mut config = config();
        config.pre_encrypt_bytes = Some(1 << 30);
        config.direction = Direction::Down {
            internal: "127.0.0.1:30100".parse().unwrap(),
            router: None,
        };
        assert_eq!(config.check(), Err(ConfigError::NothingToPreEncrypt));
    }

    #[test]
    fn a_keepalive_is_whole_seconds() {
        let mut config = config();
        for (millis, valid) in [(0, false), (1, false), (1000, true), (1500, false)] {
            config.keepalive = Some(Duration::from_millis(millis));
            assert_eq!(config.check().is_ok(), valid, "{millis}");
        }
    }

    #[test]
    fn source_addresses_are_of_the_gateways_ip_version() {
        let mut config = config();
        config.source_ips = Some("::1/128".parse().unwrap());
        assert!(matches!(config.check(), Err(ConfigError::SourceFamily(_))));
    }

    #[test]
    fn every_thread_has_a_router_with_a_port_and_an_interface() {
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
    fn the_internal_address_is_a_target_like_the_listen_address() {
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
    fn the_other_side_is_in_another_as() {
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
    fn packets_of_a_path_need_more_room() {
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
