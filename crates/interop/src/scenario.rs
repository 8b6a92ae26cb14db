//! Combinations of IP version and dispatch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use snapgate::config::Dispatch;

/// IP version of clients, gateway and routers, and how datagrams reach their worker.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// IP address of clients, gateway and routers.
    pub loopback: IpAddr,
    /// How a datagram reaches the worker of its tunnel.
    pub dispatch: Dispatch,
}

impl Scenario {
    /// IPv4, dispatch by the program in the kernel.
    pub const IPV4_KERNEL: Self = Self {
        loopback: IpAddr::V4(Ipv4Addr::LOCALHOST),
        dispatch: Dispatch::Kernel,
    };
    /// IPv4, dispatch by the workers.
    pub const IPV4_USER: Self = Self {
        loopback: IpAddr::V4(Ipv4Addr::LOCALHOST),
        dispatch: Dispatch::User,
    };
    /// IPv6, dispatch by the program in the kernel.
    pub const IPV6_KERNEL: Self = Self {
        loopback: IpAddr::V6(Ipv6Addr::LOCALHOST),
        dispatch: Dispatch::Kernel,
    };
    /// IPv6, dispatch by the workers.
    pub const IPV6_USER: Self = Self {
        loopback: IpAddr::V6(Ipv6Addr::LOCALHOST),
        dispatch: Dispatch::User,
    };

    /// Returns port 0 of the loopback address.
    #[must_use]
    pub const fn any_port(self) -> SocketAddr {
        SocketAddr::new(self.loopback, 0)
    }

    /// Returns port 0 of the wildcard address.
    #[must_use]
    pub const fn wildcard(self) -> SocketAddr {
        let unspecified = match self.loopback {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        SocketAddr::new(unspecified, 0)
    }
}

/// Defines one test per [`Scenario`] for each `async fn name(scenario: Scenario)`, in a module of the same name.
#[macro_export]
macro_rules! in_every_scenario {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test]
            async fn over_ipv4_with_kernel_dispatch() {
                super::$name($crate::Scenario::IPV4_KERNEL).await;
            }

            #[tokio::test]
            async fn over_ipv4_with_user_dispatch() {
                super::$name($crate::Scenario::IPV4_USER).await;
            }

            #[tokio::test]
            async fn over_ipv6_with_kernel_dispatch() {
                super::$name($crate::Scenario::IPV6_KERNEL).await;
            }

            #[tokio::test]
            async fn over_ipv6_with_user_dispatch() {
                super::$name($crate::Scenario::IPV6_USER).await;
            }
        }
    )+};
}
