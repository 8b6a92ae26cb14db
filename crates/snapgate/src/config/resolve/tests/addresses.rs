//! Addresses of the gateway and of the routers.

use super::*;

#[test]
fn routers_of_the_topology_that_cannot_be_reached_cause_warnings() {
    let setup = Setup::new();
    let routers = |routers: &str| {
        let topology =
            format!(r#"{{ "isd_as": "1-ff00:0:110", "border_routers": {{ {routers} }} }}"#);
        setup.write("topo", &topology);
    };
    routers(
        r#""a": { "internal_addr": "10.0.0.1:31002", "interfaces": { "1": {} } },
           "b": { "internal_addr": "[2001:db8::1]:31002", "interfaces": { "2": {}, "3": {} } }"#,
    );
    let effective = setup.valid(MINIMAL);
    let interfaces: Vec<u16> = scion(&effective)
        .next_hops
        .keys()
        .map(|(_, id)| *id)
        .collect();
    assert_eq!(interfaces, [1]);
    let warnings: Vec<String> = effective.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2);
    assert!(
        warnings[0].ends_with(
            "topo: the internal address 10.0.0.5:30100 cannot reach the router [2001:db8::1]:31002 of \
             1-ff00:0:110#2: one is IPv4, the other IPv6; packets to that interface are dropped"
        ),
        "{warnings:?}"
    );
    // The interface can have another router.
    let other = format!("{MINIMAL}[next_hop]\n'1-ff00:0:110#2' = '10.0.0.2:31002'\n");
    assert_eq!(scion(&setup.valid(&other)).next_hops.len(), 2);

    routers(
        r#""a": { "internal_addr": "[2001:db8::2]:31002", "interfaces": { "1": {} } },
           "b": { "internal_addr": "[fe80::1]:31002", "interfaces": { "2": {} } }"#,
    );
    let ipv6 = MINIMAL.replace("10.0.0.5", "[2001:db8::5]");
    let warnings = setup.valid(&ipv6).warnings;
    assert!(
        warnings[0]
            .to_string()
            .contains("a link-local address without interface"),
        "{warnings:?}"
    );
    // A gateway that could reach no router at all is misconfigured.
    assert_eq!(setup.problems(MINIMAL).len(), 2);
}

#[test]
fn one_address_can_be_used_on_two_interfaces() {
    let setup = Setup::new();
    let same = "listen = ['10.0.0.5:30100']\n";
    let interfaces = |listen: &str, internal: &str| {
        format!("{MINIMAL}{same}listen_interface = '{listen}'\ninternal_interface = '{internal}'\n")
    };
    setup.valid(&interfaces("vrf-red", "vrf-blue"));
    assert_eq!(setup.problems(&interfaces("vrf-red", "vrf-red")).len(), 1);
    assert_eq!(
        setup.problems_of_addition("listen_interface = 'a/b'\n"),
        [
            "x.toml:5: listen_interface: expected the name of a network interface, such as eth0 or \
          vrf-blue, got \"a/b\" (`ip link` lists them)"
        ]
    );
}
