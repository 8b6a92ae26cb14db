//! A neighbour table that is full.
//!
//! The table is one for all network namespaces of the host, so this test is a program of its own: while it runs, no
//! other test can resolve a new neighbour.

use std::net::SocketAddr;

use snapgate::config::Forward;
use testkit::gateway::{TestGateway, config, scion, workers};
use testkit::packets::{to_remote, within_as};
use testkit::{Router, in_namespace, shell};

/// More hosts than `net.ipv4.neigh.default.gc_thresh3` allows by default (1,024).
const HOSTS: u32 = 3_000;

#[test]
fn a_full_neighbour_table_costs_only_packets_to_new_hosts() {
    in_namespace(
        "a_full_neighbour_table_costs_only_packets_to_new_hosts",
        || {
            shell(
                "ip link add here0 type veth peer name there0
                 ip link set here0 up
                 ip link set there0 up
                 ip address add 10.20.0.1/16 dev here0",
            );
            let router = Router::bind_to("10.20.0.1:0".parse().unwrap());
            let mut forward = scion(&[(7, router.address())]);
            forward.internal = "10.20.0.1:0".parse().unwrap();
            forward.local_prefixes = vec!["10.20.0.0/16".parse().unwrap()];
            let mut config = config(Forward::Scion(forward));
            config.workers = workers(1);
            let gateway = TestGateway::start(&config);
            let mut client = gateway.client();
            let packet = to_remote(client.address(), 7);
            for host in 0..HOSTS {
                let [.., high, low] = (host + 256).to_be_bytes();
                let unused = SocketAddr::from(([10, 20, high, low], 4000));
                let to_host = within_as(client.address(), unused);
                client.send(&to_host);
                if host.is_multiple_of(10) {
                    client.send(&packet);
                    assert_eq!(router.receive(), packet);
                }
            }
            let total = gateway.stop();
            assert_eq!(
                total.sent_incoming_packets + total.total_dropped(),
                u64::from(HOSTS + HOSTS / 10)
            );
        },
    );
}
