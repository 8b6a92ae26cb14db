//! Interfaces that go down, lose their cable, change their name or MTU, or are replaced.

use testkit::packets::{
    FAR_PORT, arriving_at, from_remote, leaving_by, local, packet, to_remote, within_as,
};

use crate::site::{NEAR_CLIENT, NEAR_CLIENT_V6, Site, connect_clients, connect_routers, internal};

const PACKETS: u64 = 20;

/// Length of a payload that fits into the default MTU of 1,500 bytes, but not into [`LOW_MTU`].
const LONG: usize = 1_300;
/// At least 1,280: below that, the kernel takes IPv6 away from the interface.
const LOW_MTU: u32 = 1_300;

#[test]
fn clients_are_served_again_after_their_link_was_down() {
    let Some(site) = Site::start("clients_are_served_again_after_their_link_was_down") else {
        return;
    };
    let mut clients = [site.connect(NEAR_CLIENT), site.connect(NEAR_CLIENT_V6)];
    let link = site.client_link.left.name();
    site.gateway_host.shell(&format!("ip link set {link} down"));
    for client in &clients {
        site.send_back(client, &site.near, PACKETS);
    }
    site.wait_for_send_drops("unreachable", 2 * PACKETS);

    // The kernel removed the IPv6 addresses.
    site.gateway_host.shell(&format!("ip link set {link} up"));
    site.client_link.left.add_address("fd00:1::1/64");
    for client in &mut clients {
        site.wait_until_served(client, &site.near);
    }
    assert_eq!(site.handshakes(), 2);
}

#[test]
fn clients_reach_each_other_while_the_link_to_the_routers_is_down() {
    let Some(site) = Site::start("clients_reach_each_other_while_the_link_to_the_routers_is_down")
    else {
        return;
    };
    let (mut client, mut other) = (site.connect(NEAR_CLIENT), site.connect(NEAR_CLIENT));
    let link = site.router_link.left.name();
    site.gateway_host.shell(&format!("ip link set {link} down"));
    let packet = to_remote(client.address(), site.near.interface);
    let neighbourly = within_as(client.address(), other.address());
    for _ in 0..PACKETS {
        client.send(&packet);
        client.send(&neighbourly);
        assert_eq!(other.receive(), neighbourly);
    }
    site.wait_for_send_drops("unreachable", PACKETS);

    site.gateway_host.shell(&format!("ip link set {link} up"));
    site.wait_until_served(&mut client, &site.near);
}

/// The kernel takes the packets and loses them.
#[test]
fn packets_to_a_link_without_a_carrier_count_as_sent() {
    let Some(site) = Site::start("packets_to_a_link_without_a_carrier_count_as_sent") else {
        return;
    };
    let mut client = site.connect(NEAR_CLIENT);
    let cable = site.client_link.right.name();
    site.clients.shell(&format!("ip link set {cable} down"));
    site.send_back(&client, &site.near, PACKETS);
    let metrics = site.gateway.wait_for_metrics("the packets", |metrics| {
        let to_tunnels = [("direction", "outgoing")];
        metrics.sum_where("snapgate_sent_packets_total", &to_tunnels) == PACKETS
    });
    assert_eq!(metrics.sum("snapgate_dropped_packets_total"), 0);

    site.clients.shell(&format!("ip link set {cable} up"));
    site.wait_until_served(&mut client, &site.near);
    assert_eq!(site.handshakes(), 1);
}

#[test]
fn renamed_interfaces_change_nothing() {
    let Some(site) = Site::start("renamed_interfaces_change_nothing") else {
        return;
    };
    let mut clients = [site.connect(NEAR_CLIENT), site.connect(NEAR_CLIENT_V6)];
    for (link, name) in [(&site.client_link, "lan7"), (&site.router_link, "wan7")] {
        // Before Linux 6.3, the kernel renames interfaces only while they are down.
        site.gateway_host.shell(&format!(
            "ip link set {old} down; ip link set {old} name {name}; ip link set {name} up",
            old = link.left.name()
        ));
    }
    site.gateway_host
        .shell("ip address add fd00:1::1/64 dev lan7 nodad");
    for client in &mut clients {
        site.wait_until_served(client, &site.near);
    }
    assert_eq!(site.handshakes(), 2);
}

#[test]
fn interfaces_that_are_deleted_and_made_again_carry_the_same_tunnels() {
    let Some(site) =
        Site::start("interfaces_that_are_deleted_and_made_again_carry_the_same_tunnels")
    else {
        return;
    };
    let mut clients = [site.connect(NEAR_CLIENT), site.connect(NEAR_CLIENT_V6)];
    let delete = |link: &str| site.gateway_host.shell(&format!("ip link del {link}"));
    delete(site.client_link.left.name());
    for client in &clients {
        site.send_back(client, &site.near, PACKETS);
    }
    site.wait_for_send_drops("unreachable", 2 * PACKETS);
    delete(site.router_link.left.name());

    connect_clients(&site.gateway_host, &site.clients);
    connect_routers(&site.gateway_host, &site.router_host);
    for client in &mut clients {
        site.wait_until_served(client, &site.near);
    }
    assert_eq!(site.handshakes(), 2);
}

/// Until the kernel has asked for the new address, packets are lost; a neighbour that announces it is found at once.
#[test]
fn neighbours_that_change_their_hardware_address_are_found_again() {
    let Some(site) = Site::start("neighbours_that_change_their_hardware_address_are_found_again")
    else {
        return;
    };
    // Shortens the time for which the kernel keeps an address that does not answer.
    for setting in ["delay_first_probe_time", "base_reachable_time"] {
        for link in [&site.client_link, &site.router_link] {
            let name = link.left.name();
            site.gateway_host
                .sysctl(&format!("ipv4/neigh/{name}/{setting}"), "1");
        }
    }
    let mut client = site.connect(NEAR_CLIENT);
    site.exchange(&mut client, &site.near);
    for port in [&site.client_link.right, &site.router_link.right] {
        port.namespace().shell(&format!(
            "ip link set {} address 02:00:00:00:00:07",
            port.name()
        ));
    }
    site.wait_until_served(&mut client, &site.near);
    assert_eq!(site.handshakes(), 1);
    let metrics = site.gateway.metrics();
    assert_eq!(metrics.sum("snapgate_dropped_packets_total"), 0);
}

#[test]
fn packets_longer_than_a_lowered_mtu_are_counted_and_others_arrive() {
    let Some(site) = Site::start("packets_longer_than_a_lowered_mtu_are_counted_and_others_arrive")
    else {
        return;
    };
    let mut client = site.connect(NEAR_CLIENT);
    let address = client.address();
    let payload = [7; LONG];
    let to_router = leaving_by(site.near.interface, local(address.ip()));
    let to_router = packet(|out| to_router.append_udp(address.port(), FAR_PORT, &payload, out));
    let to_client = arriving_at(local(address.ip()));
    let to_client = packet(|out| to_client.append_udp(FAR_PORT, address.port(), &payload, out));

    // One after the other: a virtual link does not receive packets longer than its MTU either.
    let port = &site.router_link.left;
    port.set_mtu(LOW_MTU);
    for _ in 0..PACKETS {
        client.send(&to_router);
        site.exchange(&mut client, &site.near);
    }
    site.wait_for_send_drops("message_too_long", PACKETS);
    port.set_mtu(1_500);

    let port = &site.client_link.left;
    port.set_mtu(LOW_MTU);
    for _ in 0..PACKETS {
        site.near.router.send_to(&to_client, internal());
        site.exchange(&mut client, &site.near);
    }
    site.wait_for_send_drops("message_too_long", 2 * PACKETS);
    port.set_mtu(1_500);

    client.send(&to_router);
    assert_eq!(site.near.router.receive(), to_router);
    site.near.router.send_to(&to_client, internal());
    assert_eq!(client.receive(), to_client);
}

#[test]
fn switching_offloads_off_and_on_loses_nothing() {
    let Some(site) = Site::start("switching_offloads_off_and_on_loses_nothing") else {
        return;
    };
    let mut client = site.connect(NEAR_CLIENT);
    let answer = from_remote(client.address());
    for is_on in [false, true] {
        for link in [&site.client_link, &site.router_link] {
            link.left.set_segmentation_offload(is_on);
        }
        site.send_back(&client, &site.near, PACKETS);
        for _ in 0..PACKETS {
            assert_eq!(client.receive(), answer);
        }
        site.exchange(&mut client, &site.near);
    }
    let metrics = site.gateway.metrics();
    assert_eq!(metrics.sum("snapgate_dropped_packets_total"), 0);
}
