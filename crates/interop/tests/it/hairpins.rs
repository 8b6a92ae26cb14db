//! Tests of hairpins: packets from one tunnel to another.

use scion_packet::build::PacketBuilder;
use snapgate_interop::{Scenario, SnapTunClient, TestGateway, in_every_scenario};
use testkit::packets::packet;

in_every_scenario!(clients_of_the_same_and_of_different_workers_exchange_packets);

async fn clients_of_the_same_and_of_different_workers_exchange_packets(scenario: Scenario) {
    let gateway = TestGateway::start(scenario);
    let Neighbours {
        one,
        same_worker,
        other_worker,
    } = Neighbours::connect(&gateway).await;

    let talks = [
        (&one, &one),
        (&one, &same_worker),
        (&same_worker, &one),
        (&one, &other_worker),
        (&other_worker, &one),
        (&same_worker, &other_worker),
    ];
    for (from, to) in talks {
        talk(from, to).await;
    }

    let total = gateway.finish();
    assert_eq!(
        (total.hairpins_within_worker, total.hairpins_between_workers),
        (3, 3)
    );
    assert_eq!(
        (total.sent_outgoing_packets, total.sent_incoming_packets),
        (6, 0)
    );
    assert_eq!(total.total_dropped(), 0);
}

#[tokio::test]
async fn an_ipv4_client_and_an_ipv6_client_exchange_packets() {
    let scenario = Scenario::IPV4_KERNEL;
    let gateway = TestGateway::setup(scenario)
        .listen(&[
            Scenario::IPV4_KERNEL.any_port(),
            Scenario::IPV6_KERNEL.any_port(),
        ])
        .start();
    let [ipv4, ipv6] = gateway.gateway().local_addresses().tunnels[..] else {
        panic!("two listen addresses");
    };
    let old = SnapTunClient::connect_to(&gateway, ipv4).await;
    let new = SnapTunClient::connect_to(&gateway, ipv6).await;

    talk(&old, &new).await;
    talk(&new, &old).await;

    assert_eq!(gateway.finish().total_dropped(), 0);
}

/// Sends a packet from one client to another, both in the AS of the gateway, and waits for its arrival.
async fn talk(from: &SnapTunClient, to: &SnapTunClient) {
    let between = PacketBuilder::new(from.scion_address(), to.scion_address());
    let (source, destination) = (from.address().port(), to.address().port());
    let sent = packet(|out| between.append_udp(source, destination, b"hello", out));
    from.send(&sent).await;
    assert_eq!(to.receive().await, sent);
}

/// Three clients of a gateway with two workers.
struct Neighbours {
    one: SnapTunClient,
    same_worker: SnapTunClient,
    other_worker: SnapTunClient,
}

impl Neighbours {
    /// Connects clients until one worker has two and the other has one, because the dispatch key is random.
    async fn connect(gateway: &TestGateway) -> Self {
        let mut of_worker = [Vec::new(), Vec::new()];
        while of_worker.iter().any(Vec::is_empty) || of_worker.iter().all(|few| few.len() < 2) {
            let client = SnapTunClient::connect(gateway).await;
            let tunnels = 1 + of_worker
                .iter()
                .map(|clients| clients.len() as u64)
                .sum::<u64>();
            gateway
                .until("its tunnel", |total| total.tunnels == tunnels)
                .await;
            let is_of_worker_1 = gateway.counters()[1].tunnels > of_worker[1].len() as u64;
            of_worker[usize::from(is_of_worker_1)].push(client);
        }
        of_worker.sort_by_key(Vec::len);
        let [mut few, mut many] = of_worker;
        let (Some(one), Some(same_worker), Some(other_worker)) =
            (many.pop(), many.pop(), few.pop())
        else {
            panic!("one worker with two clients, and one with one");
        };
        Self {
            one,
            same_worker,
            other_worker,
        }
    }
}
