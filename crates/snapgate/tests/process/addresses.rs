//! Addresses of the gateway's host that are missing, lost or unusable, and clients with unusable addresses.

use std::net::{SocketAddr, SocketAddrV6};

use nix::sys::signal::Signal;
use snapgate::config::Forward;
use snapgate::gateway::{Gateway, StartError};
use testkit::gateway::{TestGateway, config, scion};
use testkit::packets::from_remote;
use testkit::{
    Client, Namespace, Port, Router, Veth, identity, in_namespace, may_make_namespaces, shell,
};

const PORT: u16 = 51820;

#[test]
fn an_address_that_the_host_gets_later_is_waited_for() {
    in_namespace(
        "addresses::an_address_that_the_host_gets_later_is_waited_for",
        || {
            shell("ip link add late0 type veth peer name peer0 && ip link set late0 up");
            for (listen, arguments, arrival) in [
                (
                    "10.8.0.1:51820",
                    &[][..],
                    "ip address add 10.8.0.1/32 dev lo",
                ),
                ("[fd00::8]:51820", &[], "ip address add fd00::8/128 dev lo"),
                (
                    "10.9.0.1:51820",
                    &["--listen-interface=late1"],
                    "ip link add late1 type veth peer name peer1 && ip address add 10.9.0.1/32 dev late1",
                ),
            ] {
                let mut setup = crate::gateway().listen(listen.parse().unwrap());
                for argument in arguments {
                    setup = setup.argument(*argument);
                }
                let mut gateway = setup.spawn();
                gateway.wait_for_log(&format!(
                    "address not available, waiting for it address={listen}"
                ));
                shell(arrival);
                gateway.wait_for_log("address available");
                gateway.wait_for_log(&format!("listening for tunnels address={listen}"));
            }
        },
    );
}

#[test]
fn a_signal_ends_the_wait_for_an_address() {
    let mut gateway = crate::gateway()
        .listen("192.0.2.1:51820".parse().unwrap())
        .spawn();
    gateway.wait_for_log("address not available, waiting for it");
    gateway.signal(Signal::SIGTERM);
    let ended = gateway.wait();
    assert!(!ended.log.contains("error:"), "{ended:?}");
}

#[test]
fn an_address_that_the_host_never_gets_is_an_error_with_a_remedy() {
    let ended = crate::gateway()
        .listen("192.0.2.1:51820".parse().unwrap())
        .spawn()
        .wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let waits = ended
        .log
        .matches("address not available, waiting for it")
        .count();
    assert_eq!(waits, 1, "{ended:?}");
    let error = ended.log.lines().last().unwrap();
    assert!(
        error.starts_with("error: cannot listen: cannot bind a socket for 192.0.2.1:51820")
            && error.contains("ip address shows them"),
        "{ended:?}"
    );
}

#[test]
fn the_broadcast_address_of_a_network_is_refused() {
    in_namespace(
        "addresses::the_broadcast_address_of_a_network_is_refused",
        || {
            shell(
                "ip link add here0 type veth peer name there0
             ip link set here0 up
             ip link set there0 up
             ip address add 10.8.0.1/24 broadcast + dev here0",
            );
            let mut config = config(Forward::Echo);
            let mut start = |listen: &str| {
                config.listen = vec![listen.parse().unwrap()];
                Gateway::start(&config).map(drop)
            };
            assert!(matches!(
                start("10.8.0.255:51820"),
                Err(StartError::Broadcast(_))
            ));
            for usable in ["10.8.0.1:51820", "0.0.0.0:51820", "127.0.0.1:51820"] {
                start(usable).unwrap();
            }
        },
    );
}

/// Downloads through a wildcard listener while `lost`, which the client uses, is replaced by `new`.
fn download_while_the_address_is_replaced(listen: &str, client: &str, lost: &str, new: &str) {
    let at = |address: &str| -> SocketAddr { address.parse().unwrap() };
    shell(&format!("ip address add {lost} dev lo"));
    let router = Router::bind();
    let mut config = config(Forward::Scion(scion(&[(7, router.address())])));
    config.listen = vec![at(listen)];
    let gateway = TestGateway::start(&config);
    let (ip, _) = lost.split_once('/').unwrap();
    let used = SocketAddr::new(ip.parse().unwrap(), gateway.listen_address().port());
    let mut client = Client::connect(&identity(), at(client), used, gateway.public_key());
    client.let_gateway_move();
    let packet = from_remote(client.address());
    let download = |client: &mut Client, packets: usize| {
        for _ in 0..packets {
            router.send_to(&packet, gateway.internal_address());
        }
        for _ in 0..packets {
            assert_eq!(client.receive(), packet);
        }
    };
    download(&mut client, 50);
    shell(&format!("ip address del {lost} dev lo"));
    shell(&format!("ip address add {new} dev lo"));
    download(&mut client, 50);
    download(&mut client, 50);
    // The address returns, and within a second it is the source again.
    shell(&format!("ip address add {lost} dev lo"));
    download(&mut client, 50);
    assert_eq!(gateway.finish().total_dropped(), 0);
}

#[test]
fn a_client_that_only_receives_is_served_after_the_address_of_the_host_was_replaced() {
    in_namespace(
        "addresses::a_client_that_only_receives_is_served_after_the_address_of_the_host_was_replaced",
        || {
            download_while_the_address_is_replaced(
                "0.0.0.0:0",
                "127.0.0.1:0",
                "10.8.0.1/32",
                "10.8.0.2/32",
            );
            download_while_the_address_is_replaced(
                "[::]:0",
                "[::1]:0",
                "fd00::8/128",
                "fd00::9/128",
            );
        },
    );
}

/// Returns a link-local address of the port with the index of its interface.
fn link_local(port: &Port, ip: &str, udp_port: u16) -> SocketAddr {
    let shown = port
        .namespace()
        .shell(&format!("ip -oneline link show dev {}", port.name()));
    let (index, _) = shown.split_once(':').unwrap();
    SocketAddrV6::new(
        ip.parse().unwrap(),
        udp_port,
        0,
        index.trim().parse().unwrap(),
    )
    .into()
}

#[test]
fn a_client_with_a_link_local_address_is_refused_with_the_reason() {
    if !may_make_namespaces(
        "addresses::a_client_with_a_link_local_address_is_refused_with_the_reason",
    ) {
        return;
    }
    let [at_gateway, at_client] = [(); 2].map(|()| Namespace::new());
    let link = Veth::between(&at_gateway, &at_client);
    link.left.add_address("fe80::1/64");
    link.right.add_address("fe80::2/64");
    let gateway = crate::gateway()
        .namespace(&at_gateway)
        .listen(SocketAddr::new("::".parse().unwrap(), PORT))
        .start();
    let client = at_client.run(|| {
        Client::new(
            &identity(),
            link_local(&link.right, "fe80::2", 0),
            link_local(&link.right, "fe80::1", PORT),
            gateway.public_key(),
        )
    });
    let mut client = client;
    client.initiate();
    gateway.wait_for_metrics("the refused client", |metrics| {
        let labels = [("stage", "receive"), ("reason", "link_local_client")];
        metrics.sum_where("snapgate_dropped_packets_total", &labels) == 1
    });
    assert_eq!(client.discard_received(), 0);
    assert_eq!(gateway.metrics().sum("snapgate_tunnels"), 0);
}
