//! Routers and hosts of the local network that do not answer ARP or neighbour discovery, and slow links.
//!
//! Packets for such a host wait in the kernel and fill the send buffer of their socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use snaptun::protocol::DATA_OVERHEAD_BYTES;
use testkit::forge::Datagram;
use testkit::messages::{Mac1, initiation};
use testkit::packets::{FAR_PORT, LOCAL, leaving_by, local, packet, to_remote, within_as};
use testkit::{
    Client, Flood, GatewayProcess, GatewaySetup, IpVersion, Metrics, Namespace, Router, Veth,
    identity, may_make_namespaces, wait_until,
};
use udp_shards::Dispatch;

const TRAIN: usize = 64;
const ROUTER_PORT: u16 = 31_002;
const HOST_PORT: u16 = 30_041;

/// All kinds of gateways.
const CASES: [(IpVersion, Dispatch); 4] = [
    (IpVersion::V4, Dispatch::Kernel),
    (IpVersion::V4, Dispatch::User),
    (IpVersion::V6, Dispatch::Kernel),
    (IpVersion::V6, Dispatch::User),
];

/// A gateway and its local network: all other hosts are addresses of one namespace. Addresses that it does not have do
/// not answer.
pub(crate) struct Lan {
    pub(crate) hosts: Namespace,
    link: Veth,
    pub(crate) gateway: GatewayProcess,
    pub(crate) client: Client,
}

impl Lan {
    /// Starts a gateway with the routers 1 to 4 behind the interfaces 1 to 4, and a client. Only router 4 exists.
    pub(crate) fn new(version: IpVersion, dispatch: Dispatch) -> Self {
        Self::start(version, |setup| {
            let internal = SocketAddr::new(ip(version, 0, 1), 30_100);
            let setup = setup
                .dispatch(dispatch)
                .forward("scion")
                .argument(format!("--internal={internal}"))
                .argument(format!("--local-prefix={}", prefix(version)))
                // What the kernel grants without CAP_NET_ADMIN by default.
                .argument("--send-buffer=212992");
            (1..=4).fold(setup, |setup, number| {
                let router = router(version, number);
                setup.argument(format!("--next-hop={LOCAL}#{number}={router}"))
            })
        })
    }

    /// Starts a gateway and a client.
    fn start(version: IpVersion, settings: impl FnOnce(GatewaySetup) -> GatewaySetup) -> Self {
        let [gateway_host, hosts] = [(); 2].map(|()| Namespace::new());
        let link = Veth::between(&gateway_host, &hosts);
        link.left.add_address(&with_length(ip(version, 0, 1)));
        for (group, number) in [(0, 2), (1, 4)] {
            link.right
                .add_address(&with_length(ip(version, group, number)));
        }
        let setup = GatewaySetup::new(env!("CARGO_BIN_EXE_snapgate"))
            .namespace(&gateway_host)
            .listen(SocketAddr::new(ip(version, 0, 1), 51_820))
            .workers(1);
        let gateway = settings(setup).start();
        let bind = SocketAddr::new(ip(version, 0, 2), 0);
        let client = hosts.run(|| {
            Client::connect(
                &identity(),
                bind,
                gateway.listen_address(),
                gateway.public_key(),
            )
        });
        Self {
            hosts,
            link,
            gateway,
            client,
        }
    }

    /// Gives the network the address of a host or router, and opens a socket there.
    pub(crate) fn add(&self, address: SocketAddr) -> Router {
        self.link.right.add_address(&with_length(address.ip()));
        self.open(address)
    }

    fn open(&self, address: SocketAddr) -> Router {
        self.hosts.run(|| Router::bind_to(address))
    }

    /// Sends packets of one length through the tunnel, in trains.
    pub(crate) fn send(&mut self, packets: &[Vec<u8>]) {
        let fitting = 60_000 / (packets[0].len() + DATA_OVERHEAD_BYTES);
        for train in packets.chunks(TRAIN.min(fitting)) {
            let tunnel = self.client.tunnel();
            let train: Vec<_> = train.iter().map(|packet| tunnel.encrypt(packet)).collect();
            self.client.send_train(&train);
        }
    }

    fn to_router(&self, number: u16) -> Vec<u8> {
        to_remote(self.client.address(), number)
    }

    pub(crate) fn to_host(&self, host: SocketAddr) -> Vec<u8> {
        within_as(self.client.address(), host)
    }

    /// Waits until the gateway has received all packets that the client sent.
    fn wait_for_received(&self, packets: usize) -> Metrics {
        // The handshake has two messages.
        let wanted = 2 + packets as u64;
        let labels = [("direction", "incoming")];
        self.gateway
            .wait_for_metrics("all packets at the gateway", |metrics| {
                metrics.sum_where("snapgate_received_packets_total", &labels) >= wanted
            })
    }
}

/// Returns an address of the local network: group 0 has the gateway and the client, 1 the routers, 2 and 3 hosts.
fn ip(version: IpVersion, group: u16, number: u16) -> IpAddr {
    match version {
        IpVersion::V4 => Ipv4Addr::new(10, 1, group as u8, number as u8).into(),
        IpVersion::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, group, number).into(),
    }
}

fn with_length(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(_) => format!("{ip}/16"),
        IpAddr::V6(_) => format!("{ip}/64"),
    }
}

/// The prefix of the groups 2 and 3.
fn prefix(version: IpVersion) -> &'static str {
    match version {
        IpVersion::V4 => "10.1.2.0/23",
        IpVersion::V6 => "fd00::2:0/111",
    }
}

pub(crate) fn router(version: IpVersion, number: u16) -> SocketAddr {
    SocketAddr::new(ip(version, 1, number), ROUTER_PORT)
}

pub(crate) fn host(version: IpVersion, number: u16) -> SocketAddr {
    SocketAddr::new(ip(version, 2 + number / 200, 1 + number % 200), HOST_PORT)
}

fn dropped(metrics: &Metrics, reason: &str) -> u64 {
    metrics.sum_where("snapgate_dropped_packets_total", &[("reason", reason)])
}

/// Waits until `wanted` packets have arrived.
fn assert_all_arrive(what: &str, router: &Router, wanted: usize) {
    let mut arrived = 0;
    wait_until(what, || {
        arrived += router.discard_received();
        (arrived >= wanted).then_some(())
    });
    assert_eq!(arrived, wanted, "{what}");
}

#[test]
fn routers_that_do_not_answer_cost_another_no_packet() {
    const ROUNDS: usize = 80;
    if !may_make_namespaces("routers_that_do_not_answer_cost_another_no_packet") {
        return;
    }
    for (version, dispatch) in CASES {
        let mut lan = Lan::new(version, dispatch);
        let live = lan.open(router(version, 4));
        for round in 1..=ROUNDS {
            for number in 1..=3 {
                lan.send(&vec![lan.to_router(number); TRAIN]);
            }
            lan.send(&[lan.to_router(4)]);
            lan.wait_for_received(round * (3 * TRAIN + 1));
        }
        let what = format!("the packets of the live router, {version:?}, {dispatch:?}");
        assert_all_arrive(&what, &live, ROUNDS);
        lan.gateway.kill();
    }
}

#[test]
fn a_router_that_returns_is_served_again() {
    if !may_make_namespaces("a_router_that_returns_is_served_again") {
        return;
    }
    for (version, dispatch) in CASES {
        let mut lan = Lan::new(version, dispatch);
        lan.send(&vec![lan.to_router(1); 32 * TRAIN]);
        lan.wait_for_received(32 * TRAIN);
        let returned = lan.add(router(version, 1));
        wait_until("a packet at the router that returned", || {
            lan.send(&[lan.to_router(1)]);
            (returned.discard_received() > 0).then_some(())
        });
        lan.gateway.kill();
    }
}

#[test]
fn hosts_that_do_not_exist_cost_others_no_packet() {
    const ROUNDS: usize = 60;
    const DEAD: u16 = 200;
    if !may_make_namespaces("hosts_that_do_not_exist_cost_others_no_packet") {
        return;
    }
    for (version, dispatch) in CASES {
        let mut lan = Lan::new(version, dispatch);
        let live_router = lan.open(router(version, 4));
        let live_host = lan.add(host(version, DEAD));
        for round in 1..=ROUNDS {
            let packets: Vec<_> = (0..=DEAD)
                .map(|number| lan.to_host(host(version, number)))
                .collect();
            lan.send(&packets);
            lan.send(&[lan.to_router(4)]);
            lan.wait_for_received(round * (packets.len() + 1));
        }
        let case = format!("{version:?}, {dispatch:?}");
        assert_all_arrive(
            &format!("those of the router, {case}"),
            &live_router,
            ROUNDS,
        );
        assert_all_arrive(&format!("those of the host, {case}"), &live_host, ROUNDS);
        lan.gateway.kill();
    }
}

#[test]
fn a_host_that_does_not_answer_is_given_up_and_served_when_it_returns() {
    if !may_make_namespaces("a_host_that_does_not_answer_is_given_up_and_served_when_it_returns") {
        return;
    }
    for (version, dispatch) in CASES {
        let mut lan = Lan::new(version, dispatch);
        let address = host(version, 0);
        wait_until("packets dropped as unresolved", || {
            lan.send(&vec![lan.to_host(address); TRAIN]);
            (dropped(&lan.gateway.metrics(), "unresolved") > 0).then_some(())
        });
        let metrics = lan
            .gateway
            .wait_for_metrics("the host to be counted", |metrics| {
                metrics.sum("snapgate_unresolved_hosts") == 1
            });
        // While the host was tried, its packets became too old in the queue.
        assert!(dropped(&metrics, "too_old") > 0, "{metrics}");

        let returned = lan.add(address);
        wait_until("a packet at the host that returned", || {
            lan.send(&[lan.to_host(address)]);
            (returned.discard_received() > 0).then_some(())
        });
        lan.gateway.kill();
    }
}

#[test]
fn a_host_is_served_beside_more_hosts_that_do_not_exist_than_there_are_sockets() {
    const DEAD: u16 = 390;
    const SOCKETS_MAX: u64 = 1 + 4 + 256;
    let test = "a_host_is_served_beside_more_hosts_that_do_not_exist_than_there_are_sockets";
    if !may_make_namespaces(test) {
        return;
    }
    for (version, dispatch) in CASES {
        let mut lan = Lan::new(version, dispatch);
        let live = lan.add(host(version, DEAD));
        let dead: Vec<_> = (0..DEAD)
            .map(|number| lan.to_host(host(version, number)))
            .collect();
        let (mut most_sockets, mut most_unresolved, mut received) = (0, 0, 0);
        wait_until(
            "packets at the live host beside hosts that were given up",
            || {
                lan.send(&dead);
                lan.send(&[lan.to_host(host(version, DEAD))]);
                let metrics = lan.gateway.metrics();
                most_sockets = metrics.sum("snapgate_send_lanes").max(most_sockets);
                most_unresolved = metrics
                    .sum("snapgate_unresolved_hosts")
                    .max(most_unresolved);
                received += live.discard_received();
                (received > 0 && most_unresolved > 0).then_some(())
            },
        );
        assert!(most_sockets <= SOCKETS_MAX, "{most_sockets}");
        lan.gateway.kill();
    }
}

/// Returns the number of stamped packets that arrive until the first one without a stamp, and the age of the oldest.
fn receive_stamped(router: &Router, start: Instant) -> (usize, Duration) {
    let (mut received, mut oldest) = (0, Duration::ZERO);
    loop {
        let packet = router.receive();
        let now = start.elapsed();
        let Some(stamp) = packet.len().checked_sub(STAMPED_BYTES) else {
            return (received, oldest);
        };
        let stamp = u64::from_be_bytes(packet[stamp..][..8].try_into().unwrap());
        oldest = oldest.max(now.saturating_sub(Duration::from_micros(stamp)));
        received += 1;
    }
}

/// Length of a payload that begins with the time at which it was sent.
const STAMPED_BYTES: usize = 1100;

#[test]
fn packets_do_not_become_old_on_a_slow_link() {
    /// 12 MB, which take 10 s on the link.
    const PACKETS: usize = 10_000;
    /// The gateway's limit is half a second; a busy machine adds to it.
    const AGE_MAX: Duration = Duration::from_secs(3);
    if !may_make_namespaces("packets_do_not_become_old_on_a_slow_link") {
        return;
    }
    for (version, dispatch) in CASES {
        let mut lan = Lan::new(version, dispatch);
        let live = lan.open(router(version, 4));
        lan.link.left.namespace().shell(&format!(
            "tc qdisc add dev {} root tbf rate 10mbit burst 32kb limit 100mb",
            lan.link.left.name()
        ));
        let start = Instant::now();
        let from = lan.client.address();
        let builder = leaving_by(4, local(from.ip()));
        let receiver = std::thread::spawn(move || receive_stamped(&live, start));
        for _ in 0..PACKETS / TRAIN {
            let mut payload = [0; STAMPED_BYTES];
            payload[..8].copy_from_slice(&(start.elapsed().as_micros() as u64).to_be_bytes());
            let packet = packet(|out| builder.append_udp(from.port(), FAR_PORT, &payload, out));
            lan.send(&vec![packet; TRAIN]);
        }
        lan.wait_for_received(PACKETS / TRAIN * TRAIN);
        let metrics = lan.gateway.wait_for_metrics("an empty queue", |metrics| {
            metrics.sum("snapgate_in_flight_packets") == 0
        });
        assert!(dropped(&metrics, "too_old") > 0, "{metrics}");
        wait_until("the end of the receiver", || {
            lan.send(&[lan.to_router(4)]);
            receiver.is_finished().then_some(())
        });
        let (received, oldest) = receiver.join().unwrap();
        assert!(received > 0, "nothing arrived");
        assert!(oldest < AGE_MAX, "{version:?}, {dispatch:?}: {oldest:?}");
        lan.gateway.kill();
    }
}

#[test]
fn handshakes_from_addresses_that_do_not_answer_cost_clients_no_packet() {
    const PACKETS: u32 = 300;
    let test = "handshakes_from_addresses_that_do_not_answer_cost_clients_no_packet";
    if !may_make_namespaces(test) {
        return;
    }
    for version in [IpVersion::V4, IpVersion::V6] {
        let mut lan = Lan::start(version, |setup| {
            setup
                .forward("echo")
                .argument("--send-buffer=64KiB")
                // Every initiation gets a cookie reply.
                .argument("--handshakes-per-second=1")
        });
        let listen = lan.gateway.listen_address();
        let forged = (0..100)
            .map(|number| {
                let message = initiation(number.into(), Mac1::Right(lan.gateway.public_key()));
                Datagram::new(host(version, number), listen, &message).to_ip_packet()
            })
            .collect();
        let flood = Flood::start(&lan.hosts, 2_000, forged);
        lan.gateway.wait_for_metrics("cookie replies", |metrics| {
            metrics.sum("snapgate_cookies_demanded_total") > 1_000
        });
        for number in 0..PACKETS {
            lan.client.send(&number.to_be_bytes());
            assert_eq!(lan.client.receive(), number.to_be_bytes(), "{version:?}");
        }
        let metrics = lan.gateway.metrics();
        assert!(flood.stop() > 0);
        assert_eq!(dropped(&metrics, "too_old"), 0, "{metrics}");
        lan.gateway.kill();
    }
}
