//! Routers that are closed and return.

use std::fs;
use std::net::{SocketAddr, UdpSocket};

use testkit::packets::to_remote;
use testkit::{Namespace, Router, wait_until};

use crate::site::{NEAR_CLIENT, Site};

const PACKETS: u64 = 500;

/// Returns the number of "destination unreachable" messages received in the namespace of the calling thread.
fn unreachable_messages() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let names = lines.next().unwrap().split(' ');
    let values = lines.next().unwrap().split(' ');
    let (_, value) = names
        .zip(values)
        .find(|(name, _)| *name == "InDestUnreachs")
        .unwrap();
    value.parse().unwrap()
}

/// Opens a router at the address of one that was closed, as soon as no process that is being started has a copy of the
/// old socket.
fn reopen(host: &Namespace, address: SocketAddr) -> Router {
    host.run(|| {
        wait_until("the router's port", || UdpSocket::bind(address).ok());
        Router::bind_to(address)
    })
}

#[test]
fn a_storm_of_icmp_errors_from_a_closed_router_costs_only_its_packets() {
    let Some(mut site) =
        Site::start("a_storm_of_icmp_errors_from_a_closed_router_costs_only_its_packets")
    else {
        return;
    };
    // Every packet is answered.
    site.router_host.sysctl("ipv4/icmp_ratemask", "0");
    let mut client = site.connect(NEAR_CLIENT);
    let address = site.far.router.address();
    // Replaced by one that nothing is sent to.
    site.far.router = Router::bind();
    let packet = to_remote(client.address(), site.far.interface);
    for _ in 0..PACKETS {
        client.send(&packet);
        site.exchange(&mut client, &site.near);
    }
    wait_until("ICMP errors", || {
        let received = site.gateway_host.run(unreachable_messages);
        (received >= PACKETS / 2).then_some(())
    });
    let metrics = site.gateway.metrics();
    assert_eq!(metrics.sum("snapgate_dropped_packets_total"), 0);
    metrics.assert_balanced();

    site.far.router = reopen(&site.router_host, address);
    site.wait_until_served(&mut client, &site.far);
}
