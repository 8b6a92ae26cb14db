//! Addresses of the gateway's host that are removed and return.

use testkit::packets::to_remote;

use crate::site::{FAR_CLIENT, FAR_CLIENTS, NEAR_CLIENT, NEAR_CLIENT_V6, Site};

const PACKETS: u64 = 20;

#[test]
fn a_listen_address_that_is_removed_and_returns_serves_the_same_tunnels() {
    let Some(site) =
        Site::start("a_listen_address_that_is_removed_and_returns_serves_the_same_tunnels")
    else {
        return;
    };
    let (mut far, mut other) = (site.connect(FAR_CLIENT), site.connect(NEAR_CLIENT_V6));
    let link = site.client_link.left.name();
    // Clients are still reachable, by another address of the gateway.
    site.gateway_host
        .sysctl("ipv4/conf/all/promote_secondaries", "1");
    site.gateway_host.shell(&format!(
        "ip address add 10.1.0.9/24 dev {link}
         ip address del 10.1.0.1/24 dev {link}
         ip route replace {FAR_CLIENTS}"
    ));
    for _ in 0..PACKETS {
        site.send_back(&far, &site.near, 1);
        site.exchange(&mut other, &site.near);
    }
    site.wait_for_send_drops("unreachable", PACKETS);

    site.client_link.left.add_address("10.1.0.1/24");
    site.wait_until_served(&mut far, &site.near);
    assert_eq!(site.handshakes(), 2);
}

#[test]
fn an_internal_address_that_is_removed_and_returns_serves_the_same_routers() {
    let Some(site) =
        Site::start("an_internal_address_that_is_removed_and_returns_serves_the_same_routers")
    else {
        return;
    };
    let mut client = site.connect(NEAR_CLIENT);
    let link = site.router_link.left.name();
    site.gateway_host
        .shell(&format!("ip address del 10.2.0.1/24 dev {link}"));
    for _ in 0..PACKETS {
        client.send(&to_remote(client.address(), site.near.interface));
    }
    site.wait_for_send_drops("unreachable", PACKETS);

    site.router_link.left.add_address("10.2.0.1/24");
    site.wait_until_served(&mut client, &site.near);
}

#[test]
fn ipv4_clients_are_served_while_ipv6_is_switched_off() {
    let Some(site) = Site::start("ipv4_clients_are_served_while_ipv6_is_switched_off") else {
        return;
    };
    let (mut v4, mut v6) = (site.connect(NEAR_CLIENT), site.connect(NEAR_CLIENT_V6));
    site.exchange(&mut v6, &site.near);

    site.gateway_host.sysctl("ipv6/conf/all/disable_ipv6", "1");
    for _ in 0..PACKETS {
        site.send_back(&v6, &site.near, 1);
        site.exchange(&mut v4, &site.near);
    }
    site.wait_for_send_drops("unreachable", PACKETS);

    site.gateway_host.sysctl("ipv6/conf/all/disable_ipv6", "0");
    site.client_link.left.add_address("fd00:1::1/64");
    site.wait_until_served(&mut v6, &site.near);
    assert_eq!(site.handshakes(), 2);
}
