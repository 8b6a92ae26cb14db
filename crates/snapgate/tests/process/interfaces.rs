//! Sockets that are bound to network interfaces, as in VRFs.

use std::net::SocketAddr;

use testkit::packets::{from_remote, to_remote};
use testkit::{
    Client, GatewayProcess, Namespace, Router, Veth, identity, in_namespace, may_make_namespaces,
    shell,
};

/// Address of the gateway on both of its links, for tunnels and towards SCION.
const GATEWAY: &str = "10.0.0.1:30100";

/// Address of the client, and of the router on the other link.
const OTHER: &str = "10.0.0.2";

/// A gateway between two links with the same addresses, which only the interfaces tell apart.
struct Network {
    gateway: Namespace,
    to_client: Veth,
    client: Namespace,
    to_router: Veth,
    router: Namespace,
}

impl Network {
    fn new() -> Self {
        let [gateway, client, router] = [(); 3].map(|()| Namespace::new());
        for which in ["all", "default"] {
            gateway.sysctl(&format!("ipv4/conf/{which}/rp_filter"), "0");
        }
        let to_client = Veth::between(&gateway, &client);
        let to_router = Veth::between(&gateway, &router);
        for link in [&to_client, &to_router] {
            link.left.add_address("10.0.0.1/24");
            link.right.add_address(&format!("{OTHER}/24"));
        }
        Self {
            gateway,
            to_client,
            client,
            to_router,
            router,
        }
    }

    fn start(&self, workers: usize) -> GatewayProcess {
        let [listen, internal] = [&self.to_client, &self.to_router].map(|link| link.left.name());
        crate::gateway()
            .namespace(&self.gateway)
            .workers(workers)
            .forward("scion")
            .listen(GATEWAY.parse().unwrap())
            .argument(format!("--listen-interface={listen}"))
            .argument(format!("--internal={GATEWAY}"))
            .argument(format!("--internal-interface={internal}"))
            .argument(format!("--next-hop=1-ff00:0:110#7={OTHER}:31002"))
            .start()
    }

    fn connect(&self, gateway: &GatewayProcess) -> Client {
        let bind = format!("{OTHER}:0").parse().unwrap();
        let key = gateway.public_key();
        self.client
            .run(|| Client::connect(&identity(), bind, gateway.listen_address(), key))
    }

    fn bind_router(&self) -> Router {
        let address: SocketAddr = format!("{OTHER}:31002").parse().unwrap();
        self.router.run(|| Router::bind_to(address))
    }
}

/// Sends a packet in each direction.
fn exchange(client: &mut Client, router: &Router) {
    let packet = to_remote(client.address(), 7);
    client.send(&packet);
    assert_eq!(router.receive(), packet);
    let answer = from_remote(client.address());
    router.send_to(&answer, GATEWAY.parse().unwrap());
    assert_eq!(client.receive(), answer);
}

#[test]
fn tunnels_and_scion_can_be_on_interfaces_with_equal_addresses() {
    if !may_make_namespaces(
        "interfaces::tunnels_and_scion_can_be_on_interfaces_with_equal_addresses",
    ) {
        return;
    }
    let network = Network::new();
    let router = network.bind_router();
    for workers in [1, 2] {
        let gateway = network.start(workers);
        for _ in 0..4 {
            exchange(&mut network.connect(&gateway), &router);
        }
        let metrics = gateway.metrics();
        assert_eq!(metrics.sum("snapgate_dropped_packets_total"), 0);
        assert_eq!(metrics.sum("snapgate_handover_packets_total"), 0);
        gateway.kill();
    }
}

#[test]
fn an_interface_can_be_renamed_and_ends_the_gateway_when_it_is_replaced() {
    if !may_make_namespaces(
        "interfaces::an_interface_can_be_renamed_and_ends_the_gateway_when_it_is_replaced",
    ) {
        return;
    }
    let network = Network::new();
    let router = network.bind_router();
    let gateway = network.start(1);
    let mut client = network.connect(&gateway);
    exchange(&mut client, &router);

    let name = network.to_client.left.name();
    network.gateway.shell(&format!(
        "ip link set {name} down
         ip link set {name} name renamed0
         ip link set renamed0 up"
    ));
    exchange(&mut client, &router);

    network.gateway.shell(&format!(
        "ip link del renamed0
         ip link add {name} type veth peer name peer0"
    ));
    let ended = gateway.wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let error = ended.log.lines().last().unwrap();
    let start = format!("error: the interface {name} was deleted and created again");
    assert!(error.starts_with(&start), "{ended:?}");
}

#[test]
fn a_missing_interface_is_reported() {
    in_namespace("interfaces::a_missing_interface_is_reported", || {
        shell("ip link add here0 type veth peer name there0 && ip link set here0 up");
        let mut gateway = crate::gateway()
            .listen("0.0.0.0:51820".parse().unwrap())
            .argument("--listen-interface=here0")
            .start();
        shell("ip link del here0");
        gateway.wait_for_log("interface missing interface=here0");
    });
}
