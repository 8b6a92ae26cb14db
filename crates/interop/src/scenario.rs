//! What every test runs under.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use snapgate::config::Dispatch;

/// Over which IP version clients, gateway and routers talk, and who brings a datagram to its
/// worker.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The address of everyone.
    pub loopback: IpAddr,
    /// Who brings a datagram to the worker of its tunnel.
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

    /// Any free port of the loopback address.
    #[must_use]
    pub const fn any_port(self) -> SocketAddr {
        SocketAddr::new(self.loopback, 0)
    }

    /// Any free port of all addresses.
    #[must_use]
    pub const fn wildcard(self) -> SocketAddr {
        let unspecified = match self.loopback {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        SocketAddr::new(unspecified, 0)
    }
}

/// Makes one test for each [`Scenario`] of every function named, in a module of the same name. Each
/// is an `async fn name(scenario: Scenario)`.
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
