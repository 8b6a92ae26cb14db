//! Routes that are withdrawn or forbid a destination, and return.

use testkit::packets::to_remote;

use crate::site::{FAR_CLIENT, FAR_CLIENTS, FAR_ROUTERS, NEAR_CLIENT, Site};

const PACKETS: u64 = 50;

/// Checks that packets to the far router are dropped for `reason` after the shell command `breaks` and served after
/// `repairs`, and that packets to the near router are served throughout.
fn check_far_router(test: &str, breaks: &str, repairs: &str, reason: &str) {
    let Some(site) = Site::start(test) else {
        return;
    };
    let mut client = site.connect(NEAR_CLIENT);
    site.exchange(&mut client, &site.far);

    site.gateway_host.shell(breaks);
    let packet = to_remote(client.address(), site.far.interface);
    for _ in 0..PACKETS {
        client.send(&packet);
        site.exchange(&mut client, &site.near);
    }
    site.wait_for_send_drops(reason, PACKETS);

    site.gateway_host.shell(repairs);
    site.wait_until_served(&mut client, &site.far);
    assert_eq!(site.handshakes(), 1);
}

#[test]
fn a_withdrawn_default_route_costs_only_its_destinations() {
    let Some(site) = Site::start("a_withdrawn_default_route_costs_only_its_destinations") else {
        return;
    };
    let default = "default via 10.2.0.2";
    site.gateway_host.shell(&format!(
        "ip route del {FAR_ROUTERS}; ip route add {default}"
    ));
    let mut client = site.connect(NEAR_CLIENT);
    site.exchange(&mut client, &site.far);

    site.gateway_host.shell(&format!("ip route del {default}"));
    let packet = to_remote(client.address(), site.far.interface);
    for _ in 0..PACKETS {
        client.send(&packet);
        site.exchange(&mut client, &site.near);
    }
    site.wait_for_send_drops("unreachable", PACKETS);

    site.gateway_host.shell(&format!("ip route add {default}"));
    site.wait_until_served(&mut client, &site.far);
}

#[test]
fn a_withdrawn_route_to_clients_costs_only_their_packets() {
    let Some(site) = Site::start("a_withdrawn_route_to_clients_costs_only_their_packets") else {
        return;
    };
    let (mut far, mut near) = (site.connect(FAR_CLIENT), site.connect(NEAR_CLIENT));
    site.exchange(&mut far, &site.near);

    site.gateway_host
        .shell(&format!("ip route del {FAR_CLIENTS}"));
    for _ in 0..PACKETS {
        site.send_back(&far, &site.near, 1);
        site.exchange(&mut near, &site.near);
    }
    site.wait_for_send_drops("unreachable", PACKETS);

    site.gateway_host
        .shell(&format!("ip route add {FAR_CLIENTS}"));
    site.wait_until_served(&mut far, &site.near);
    assert_eq!(site.handshakes(), 2);
}

#[test]
fn an_unreachable_route_costs_only_its_destinations() {
    check_far_router(
        "an_unreachable_route_costs_only_its_destinations",
        "ip route add unreachable 10.12.0.2",
        "ip route del unreachable 10.12.0.2",
        "unreachable",
    );
}

#[test]
fn a_prohibiting_route_counts_as_not_permitted() {
    check_far_router(
        "a_prohibiting_route_counts_as_not_permitted",
        "ip route add prohibit 10.12.0.2",
        "ip route del prohibit 10.12.0.2",
        "not_permitted",
    );
}

#[test]
fn a_prohibiting_rule_counts_as_not_permitted() {
    check_far_router(
        "a_prohibiting_rule_counts_as_not_permitted",
        "ip rule add to 10.12.0.2 prohibit",
        "ip rule del to 10.12.0.2 prohibit",
        "not_permitted",
    );
}

/// The kernel answers EINVAL.
#[test]
fn a_blackhole_route_counts_as_other() {
    check_far_router(
        "a_blackhole_route_counts_as_other",
        "ip route add blackhole 10.12.0.2",
        "ip route del blackhole 10.12.0.2",
        "other",
    );
}
