//! Network of the gateway, its clients and the attacker.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use testkit::{Host, IpVersion, Network};

/// Addresses of tunnels on loopback.
const TUNNEL_IPS: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 64, 0, 0), 16));

/// Number of tunnels on loopback.
const TUNNELS_ON_LOOPBACK: usize = 100;

/// Round trips per second of all tunnels.
const ROUND_TRIPS_ON_LOOPBACK: f64 = 20_000.0;
const ROUND_TRIPS_IN_NETWORK: f64 = 5_000.0;

/// Number of consecutive packets per tunnel. The load busy-waits if the next packet is due within 60 µs, so with single
/// packets it would leave no CPU time to the attacker.
const TRAIN_ON_LOOPBACK: u32 = 4;

/// Network of the gateway, its clients and the attacker.
pub(crate) enum Site {
    /// All in the network namespace of this process.
    Loopback,
    /// In namespaces around a router, with links that merge datagrams of the same addresses, as network cards do.
    Network(Box<Hosts>),
}

pub(crate) struct Hosts {
    gateway: Host,
    client: Host,
    attacker: Host,
    _network: Network,
}

impl Site {
    /// Returns loopback, or creates a network of namespaces if `in_namespaces`.
    ///
    /// # Panics
    ///
    /// If a requirement of namespaces is not met, see [`testkit::missing_requirements`].
    pub(crate) fn new(in_namespaces: bool) -> Self {
        if !in_namespaces {
            return Self::Loopback;
        }
        let mut network = Network::new();
        let [gateway, client, attacker] = [(); 3].map(|()| network.add_host());
        gateway.link.emulate_network_cards();
        Self::Network(Box::new(Hosts {
            gateway,
            client,
            attacker,
            _network: network,
        }))
    }

    /// Calls `body` in the namespace of the gateway. Processes that it starts end when it returns.
    pub(crate) fn at_gateway<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        self.at(|hosts| &hosts.gateway, body)
    }

    /// Calls `body` in the namespace of the clients.
    pub(crate) fn at_client<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        self.at(|hosts| &hosts.client, body)
    }

    /// Calls `body` in the namespace of the attacker.
    pub(crate) fn at_attacker<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        self.at(|hosts| &hosts.attacker, body)
    }

    fn at<T: Send>(&self, host: fn(&Hosts) -> &Host, body: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Loopback => body(),
            Self::Network(hosts) => host(hosts).namespace.run(body),
        }
    }

    /// Returns the address of the gateway.
    pub(crate) fn gateway_ip(&self) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST.into(),
            Self::Network(hosts) => hosts.gateway.ip(IpVersion::V4),
        }
    }

    /// Returns the address of clients that are not part of the load.
    pub(crate) fn client_ip(&self, on_loopback: Ipv4Addr) -> IpAddr {
        match self {
            Self::Loopback => on_loopback.into(),
            Self::Network(hosts) => hosts.client.ip(IpVersion::V4),
        }
    }

    /// Returns the addresses of the load's tunnels, which share an unconnected socket.
    pub(crate) fn tunnel_ips(&self) -> IpNet {
        match self {
            Self::Loopback => TUNNEL_IPS,
            Self::Network(hosts) => hosts.client.ip(IpVersion::V4).into(),
        }
    }

    pub(crate) fn tunnels(&self) -> usize {
        match self {
            Self::Loopback => TUNNELS_ON_LOOPBACK,
            Self::Network(_) => 1,
        }
    }

    pub(crate) fn round_trips_per_second(&self) -> f64 {
        match self {
            Self::Loopback => ROUND_TRIPS_ON_LOOPBACK,
            Self::Network(_) => ROUND_TRIPS_IN_NETWORK,
        }
    }

    pub(crate) fn train(&self) -> u32 {
        match self {
            Self::Loopback => TRAIN_ON_LOOPBACK,
            Self::Network(_) => 1,
        }
    }

    /// Returns the number of datagrams lost by the gateway's link, which never reached the gateway or its clients.
    pub(crate) fn lost_by_link(&self) -> u64 {
        match self {
            Self::Loopback => 0,
            Self::Network(hosts) => {
                let [host, router] = [&hosts.gateway.link.left, &hosts.gateway.link.right]
                    .map(|port| port.counters());
                host.receive_drops + host.send_drops + router.receive_drops + router.send_drops
            }
        }
    }
}
