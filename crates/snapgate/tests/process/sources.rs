//! Sources of packets to the internal address.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use scion_packet::build::PacketBuilder;
use scion_packet::scmp::UnreachableCode;
use scion_packet::{IsdAs, PolicyViolation, ScionAddress, ScmpError};
use snapgate::config::{Dispatch, Forward, InternalFrom};
use snapgate::drop_reason::{AdmissionError, DropReason};
use testkit::gateway::{TestGateway, config, scion};
use testkit::packets::{LOCAL, REMOTE, from_remote, local, packet, within_as};
use testkit::{Client, Router, in_namespace, own_address, shell};

const FOREIGN_SOURCE: DropReason = DropReason::Admission(AdmissionError::ForeignSource);
const FOREIGN_QUOTE: DropReason = DropReason::Policy(PolicyViolation::ForeignQuote);

/// Four hosts of one network.
#[derive(Clone, Copy)]
struct Hosts {
    gateway: IpAddr,
    router: IpAddr,
    neighbour: IpAddr,
    stranger: IpAddr,
}

impl Hosts {
    /// IPv4 addresses of loopback that no other test uses.
    fn of_loopback() -> Self {
        let [gateway, router, neighbour, stranger] = [(); 4].map(|()| own_address().ip());
        Self {
            gateway,
            router,
            neighbour,
            stranger,
        }
    }

    /// IPv6 addresses, added to loopback, which has only one by default.
    fn of_namespace() -> Self {
        let [gateway, router, neighbour, stranger] = ["fd00::1", "fd00::2", "fd00::3", "fd00::4"]
            .map(|ip| {
                shell(&format!("ip address add {ip}/128 dev lo nodad"));
                ip.parse().unwrap()
            });
        Self {
            gateway,
            router,
            neighbour,
            stranger,
        }
    }

    fn start(
        self,
        dispatch: Dispatch,
        router: &Router,
        internal_from: InternalFrom,
    ) -> TestGateway {
        let mut forward = scion(&[(7, router.address())]);
        forward.internal = SocketAddr::new(self.gateway, 0);
        forward.internal_from = internal_from;
        let mut config = config(Forward::Scion(forward));
        config.listen = vec![SocketAddr::new(self.gateway, 0)];
        config.dispatch = dispatch;
        TestGateway::start(&config)
    }
}

/// A UDP packet to `client` with the source address `source` in `isd_as`.
fn udp(isd_as: IsdAs, source: SocketAddr, client: SocketAddr) -> Vec<u8> {
    let ip = source.ip();
    let builder = PacketBuilder::new(ScionAddress { isd_as, ip }, local(client.ip()));
    packet(|out| builder.append_udp(source.port(), client.port(), b"hello", out))
}

/// An SCMP error from `sender` to `client` about a packet from `client` to `quoted`.
fn error(sender: SocketAddr, client: SocketAddr, quoted: SocketAddr) -> Vec<u8> {
    let mut packet = Vec::new();
    let unreachable = ScmpError::DestinationUnreachable {
        code: UnreachableCode::PortUnreachable,
    };
    unreachable.append(
        local(sender.ip()),
        local(client.ip()),
        &within_as(client, quoted),
        &mut packet,
    );
    packet
}

/// Checks the default: routers may send any packet, hosts of the AS their own packets, and other hosts none.
fn check_default(hosts: Hosts, dispatch: Dispatch) {
    let router = Router::bind_to((hosts.router, 0).into());
    let gateway = hosts.start(dispatch, &router, InternalFrom::default());
    let internal = gateway.internal_address();
    let other_port = Router::bind_to((hosts.router, 0).into());
    let [neighbour, stranger] =
        [hosts.neighbour, hosts.stranger].map(|ip| UdpSocket::bind((ip, 0)).unwrap());
    let at_neighbour = neighbour.local_addr().unwrap();
    let at_stranger = stranger.local_addr().unwrap();
    // Clients of both workers.
    let mut clients: Vec<Client> = (0..8)
        .map(|_| gateway.client_at((hosts.gateway, 0).into()))
        .collect();

    for client in &mut clients {
        let to = client.address();
        let refused = [
            from_remote(to),
            udp(LOCAL, at_neighbour, to),
            udp(REMOTE, at_stranger, to),
        ];
        for packet in &refused {
            stranger.send_to(packet, internal).unwrap();
        }
        let about_another = error(at_neighbour, to, at_stranger);
        neighbour.send_to(&about_another, internal).unwrap();

        let own = [
            udp(LOCAL, at_neighbour, to),
            error(at_neighbour, to, at_neighbour),
        ];
        for packet in &own {
            neighbour.send_to(packet, internal).unwrap();
            assert_eq!(client.receive(), *packet);
        }
        let of_others = [
            from_remote(to),
            udp(LOCAL, at_neighbour, to),
            error(at_neighbour, to, at_stranger),
        ];
        for packet in &of_others {
            for sender in [&router, &other_port] {
                sender.send_to(packet, internal);
                assert_eq!(client.receive(), *packet);
            }
        }
    }

    gateway.wait_for("the count of everything", |total| {
        total.sent_outgoing_packets + total.total_dropped() == 8 * 12
    });
    let total = gateway.stop();
    let dropped = |reason: DropReason| total.dropped[reason.index()];
    assert_eq!(dropped(FOREIGN_SOURCE), 8 * 3);
    assert_eq!(dropped(FOREIGN_QUOTE), 8);
    assert_eq!(total.sent_outgoing_packets, 8 * 8);
    if dispatch == Dispatch::Kernel {
        assert_eq!(total.handovers, 0);
    }
}

/// Checks that `--internal-from` lets the stranger send what routers may.
fn check_opened(hosts: Hosts, dispatch: Dispatch) {
    let prefix = InternalFrom::Prefixes(vec![hosts.stranger.into()]);
    for internal_from in [prefix, InternalFrom::Any] {
        let router = Router::bind_to((hosts.router, 0).into());
        let gateway = hosts.start(dispatch, &router, internal_from.clone());
        let internal = gateway.internal_address();
        let mut client = gateway.client_at((hosts.gateway, 0).into());
        let packet = from_remote(client.address());
        let neighbour = UdpSocket::bind((hosts.neighbour, 0)).unwrap();
        let stranger = Router::bind_to((hosts.stranger, 0).into());

        for sender in [&stranger, &router] {
            sender.send_to(&packet, internal);
            assert_eq!(client.receive(), packet);
        }
        neighbour.send_to(&packet, internal).unwrap();
        let is_open = internal_from == InternalFrom::Any;
        if is_open {
            assert_eq!(client.receive(), packet);
        }
        gateway.wait_for("the fate of the neighbour's packet", |total| {
            total.dropped[FOREIGN_SOURCE.index()] == u64::from(!is_open)
                && total.sent_outgoing_packets == 2 + u64::from(is_open)
        });
        gateway.stop();
    }
}

#[test]
fn strangers_are_refused_over_ipv4_with_kernel_dispatch() {
    check_default(Hosts::of_loopback(), Dispatch::Kernel);
}

#[test]
fn strangers_are_refused_over_ipv4_with_user_dispatch() {
    check_default(Hosts::of_loopback(), Dispatch::User);
}

#[test]
fn strangers_are_refused_over_ipv6() {
    in_namespace("sources::strangers_are_refused_over_ipv6", || {
        let hosts = Hosts::of_namespace();
        check_default(hosts, Dispatch::Kernel);
        check_default(hosts, Dispatch::User);
    });
}

#[test]
fn internal_from_opens_the_internal_address_over_ipv4() {
    check_opened(Hosts::of_loopback(), Dispatch::Kernel);
    check_opened(Hosts::of_loopback(), Dispatch::User);
}

#[test]
fn internal_from_opens_the_internal_address_over_ipv6() {
    in_namespace(
        "sources::internal_from_opens_the_internal_address_over_ipv6",
        || {
            let hosts = Hosts::of_namespace();
            check_opened(hosts, Dispatch::Kernel);
            check_opened(hosts, Dispatch::User);
        },
    );
}
