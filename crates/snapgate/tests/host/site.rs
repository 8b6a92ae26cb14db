//! A gateway between clients and routers, on links that a test can break.
//!
//! ```text
//! clients 10.1.0.2, fd00:1::2 --- 10.1.0.1, fd00:1::1 gateway 10.2.0.1 --- 10.2.0.2 routers
//!         10.11.0.2 (behind a route)                                       10.12.0.2 (behind a route)
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use testkit::packets::{LOCAL, from_remote, to_remote};
use testkit::{
    Client, GatewayProcess, Namespace, Router, Veth, identity, may_make_namespaces, wait_until,
};

/// A client on the gateway's link.
pub(crate) const NEAR_CLIENT: &str = "10.1.0.2";
/// A client on the gateway's link, over IPv6.
pub(crate) const NEAR_CLIENT_V6: &str = "fd00:1::2";
/// A client behind the route [`FAR_CLIENTS`].
pub(crate) const FAR_CLIENT: &str = "10.11.0.2";

/// Arguments of `ip route` for the route to the far client.
pub(crate) const FAR_CLIENTS: &str = "10.11.0.0/24 via 10.1.0.2";
/// Arguments of `ip route` for the route to the far router.
pub(crate) const FAR_ROUTERS: &str = "10.12.0.0/24 via 10.2.0.2";

/// Time in which a packet arrives that is not lost. A lost one is sent again after it.
const ARRIVAL_TIME: Duration = Duration::from_millis(200);

/// A running gateway that forwards to SCION, with its network.
pub(crate) struct Site {
    pub(crate) gateway: GatewayProcess,
    pub(crate) gateway_host: Namespace,
    pub(crate) clients: Namespace,
    pub(crate) router_host: Namespace,
    /// `left` is the gateway's port.
    pub(crate) client_link: Veth,
    /// `left` is the gateway's port.
    pub(crate) router_link: Veth,
    /// On the gateway's link.
    pub(crate) near: Hop,
    /// Behind the route [`FAR_ROUTERS`].
    pub(crate) far: Hop,
}

/// A router and its interface.
pub(crate) struct Hop {
    pub(crate) router: Router,
    pub(crate) interface: u16,
}

impl Site {
    /// Starts a gateway. Returns `None` if the test is skipped.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if !may_make_namespaces(test) {
            return None;
        }
        let [clients, gateway_host, router_host] = [(); 3].map(|()| Namespace::new());
        let client_link = connect_clients(&gateway_host, &clients);
        let router_link = connect_routers(&gateway_host, &router_host);
        clients.shell("ip address add 10.11.0.2/32 dev lo");
        router_host.shell("ip address add 10.12.0.2/32 dev lo");
        gateway_host.shell(&format!(
            "ip route add {FAR_CLIENTS}; ip route add {FAR_ROUTERS}"
        ));
        let bind = |address: &str| {
            let address = address.parse().unwrap();
            router_host.run(|| Router::bind_to(address))
        };
        let (near, far) = (bind("10.2.0.2:31002"), bind("10.12.0.2:31002"));
        let gateway = crate::gateway()
            .namespace(&gateway_host)
            .listen("10.1.0.1:51820".parse().unwrap())
            .listen("[fd00:1::1]:51820".parse().unwrap())
            .forward("scion")
            .argument("--internal=10.2.0.1:30100")
            .argument(format!("--next-hop={LOCAL}#1={}", near.address()))
            .argument(format!("--next-hop={LOCAL}#2={}", far.address()))
            .start();
        Some(Self {
            gateway,
            gateway_host,
            clients,
            router_host,
            client_link,
            router_link,
            near: Hop {
                router: near,
                interface: 1,
            },
            far: Hop {
                router: far,
                interface: 2,
            },
        })
    }

    /// Connects a client at `ip`.
    pub(crate) fn connect(&self, ip: &str) -> Client {
        let ip: IpAddr = ip.parse().unwrap();
        let mut listen = self.gateway.listen_addresses().iter();
        let listen = *listen.find(|at| at.is_ipv4() == ip.is_ipv4()).unwrap();
        let bind = SocketAddr::new(ip, 0);
        let key = self.gateway.public_key();
        self.clients
            .run(|| Client::connect(&identity(), bind, listen, key))
    }

    /// Sends a packet from `client` to the router and one back. Both must arrive.
    pub(crate) fn exchange(&self, client: &mut Client, hop: &Hop) {
        let packet = to_remote(client.address(), hop.interface);
        client.send(&packet);
        assert_eq!(hop.router.receive(), packet);
        self.send_back(client, hop, 1);
        assert_eq!(client.receive(), from_remote(client.address()));
    }

    /// Sends packets from `client` to the router, and back, until one arrives each way. Later ones may still be under way.
    pub(crate) fn wait_until_served(&self, client: &mut Client, hop: &Hop) {
        let packet = to_remote(client.address(), hop.interface);
        wait_until("a packet at the router", || {
            client.send(&packet);
            hop.router.receive_within(ARRIVAL_TIME)
        });
        wait_until("a packet at the client", || {
            self.send_back(client, hop, 1);
            client.receive_within(ARRIVAL_TIME)
        });
    }

    /// Sends packets from the router to `client`, without waiting for them.
    pub(crate) fn send_back(&self, client: &Client, hop: &Hop, packets: u64) {
        let packet = from_remote(client.address());
        for _ in 0..packets {
            hop.router.send_to(&packet, internal());
        }
    }

    /// Returns the number of handshakes that the gateway answered.
    pub(crate) fn handshakes(&self) -> u64 {
        self.gateway.metrics().sum("snapgate_handshakes_total")
    }

    /// Waits until the gateway has dropped `packets` packets because it could not send them, all for `reason`, and none
    /// for another.
    pub(crate) fn wait_for_send_drops(&self, reason: &str, packets: u64) {
        let metrics = self.gateway.wait_for_metrics(reason, |metrics| {
            metrics.sum("snapgate_dropped_packets_total") >= packets
        });
        assert_eq!(metrics.dropped("send", reason), packets, "{metrics}");
        assert_eq!(
            metrics.sum("snapgate_dropped_packets_total"),
            packets,
            "{metrics}"
        );
        metrics.assert_balanced();
    }
}

/// The gateway's internal address.
pub(crate) fn internal() -> SocketAddr {
    "10.2.0.1:30100".parse().unwrap()
}

/// Makes the link between the gateway and its clients.
pub(crate) fn connect_clients(gateway: &Namespace, clients: &Namespace) -> Veth {
    let link = Veth::between(gateway, clients);
    link.left.add_address("10.1.0.1/24");
    link.left.add_address("fd00:1::1/64");
    link.right.add_address("10.1.0.2/24");
    link.right.add_address("fd00:1::2/64");
    link
}

/// Makes the link between the gateway and its routers.
pub(crate) fn connect_routers(gateway: &Namespace, routers: &Namespace) -> Veth {
    let link = Veth::between(gateway, routers);
    link.left.add_address("10.2.0.1/24");
    link.right.add_address("10.2.0.2/24");
    link
}
