//! Tests of packets from routers to tunnels.

use scion_packet::build::PacketBuilder;
use scion_packet::scmp::{ProblemCode, UnreachableCode};
use scion_packet::upper_layer::SCMP;
use scion_packet::{ScionAddress, ScmpError};
use snapgate_interop::{Router, Scenario, SnapTunClient, TestGateway, in_every_scenario};
use testkit::packets::{Extensions, FAR_HOST, FAR_PORT, leaving_by, packet, with_extensions};

/// Types of SCMP errors that `scion-packet` does not write, and the number of bytes before their quote (SCMP
/// specification): external interface down, internal connectivity down.
const OTHER_ERRORS: [(u8, usize); 2] = [(5, 20), (6, 28)];

in_every_scenario!(answers_reach_their_client, a_burst_arrives_in_order,);

async fn answers_reach_their_client(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario).next_hop(1, &router).start();
    let clients = [
        SnapTunClient::connect(&gateway).await,
        SnapTunClient::connect(&gateway).await,
        SnapTunClient::connect(&gateway).await,
    ];

    let mut packets = 0;
    for client in &clients {
        for (kind, answer) in answers_to(client) {
            router.send_to(&gateway, &answer).await;
            assert_eq!(client.receive().await, answer, "{kind}");
            packets += 1;
        }
    }

    assert!(clients.iter().all(SnapTunClient::has_received_everything));
    let total = gateway.finish();
    assert_eq!(total.received_outgoing_packets, packets);
    assert_eq!(total.sent_outgoing_packets, packets);
    assert_eq!(total.total_dropped(), 0);
}

async fn a_burst_arrives_in_order(scenario: Scenario) {
    let router = Router::start(scenario).await;
    let gateway = TestGateway::setup(scenario).next_hop(1, &router).start();
    let client = SnapTunClient::connect(&gateway).await;
    let port = client.address().port();
    let to_client = PacketBuilder::new(FAR_HOST, client.scion_address());

    let burst: Vec<_> = (0..32)
        .map(|number| packet(|out| to_client.append_udp(FAR_PORT, port, &[number; 1200], out)))
        .collect();
    for sent in &burst {
        router.send_to(&gateway, sent).await;
    }
    for sent in &burst {
        assert_eq!(client.receive().await, *sent);
    }

    assert_eq!(gateway.finish().total_dropped(), 0);
}

/// Returns every kind of packet that a client may receive, with its name.
fn answers_to(client: &SnapTunClient) -> Vec<(String, Vec<u8>)> {
    let port = client.address().port();
    let here = client.scion_address();
    let to_client = PacketBuilder::new(FAR_HOST, here);

    let mut bare = vec![
        (
            "UDP",
            packet(|out| to_client.append_udp(FAR_PORT, port, b"answer", out)),
        ),
        (
            "empty UDP",
            packet(|out| to_client.append_udp(FAR_PORT, port, b"", out)),
        ),
        (
            "echo request",
            packet(|out| to_client.append_echo_request(port, 1, b"ping", out)),
        ),
        (
            "echo reply",
            packet(|out| to_client.append_echo_reply(port, 2, b"pong", out)),
        ),
    ];
    for quote in packets_of(here, port) {
        bare.extend(scmp_errors(&to_client, here, &quote).map(|error| ("SCMP error", error)));
    }

    let with_all_extensions = |(kind, bare): (&str, Vec<u8>)| {
        Extensions::ALL.map(|extensions| {
            let answer = with_extensions(&to_client, &bare, extensions);
            (format!("{kind}, extensions: {extensions:?}"), answer)
        })
    };
    bare.into_iter().flat_map(with_all_extensions).collect()
}

/// Returns packets of a client, to be quoted in SCMP errors.
fn packets_of(client: ScionAddress, port: u16) -> Vec<Vec<u8>> {
    let path = leaving_by(1, client);
    let udp = packet(|out| path.append_udp(port, FAR_PORT, b"question", out));
    let request = packet(|out| path.append_echo_request(port, 3, b"ping", out));
    Extensions::ALL
        .into_iter()
        .map(|extensions| with_extensions(&path, &udp, extensions))
        .chain([request])
        .collect()
}

/// Returns an SCMP error of every type about `quote`.
fn scmp_errors(
    to_client: &PacketBuilder,
    client: ScionAddress,
    quote: &[u8],
) -> impl Iterator<Item = Vec<u8>> {
    let errors = [
        ScmpError::DestinationUnreachable {
            code: UnreachableCode::PortUnreachable,
        },
        ScmpError::PacketTooBig { mtu: 1280 },
        ScmpError::ParameterProblem {
            code: ProblemCode::UnknownConsEgress,
            pointer: 36,
        },
    ]
    .map(|error| {
        let mut answer = Vec::new();
        error.append(FAR_HOST, client, quote, &mut answer);
        answer
    });
    let others = OTHER_ERRORS.map(|(message_type, header_bytes)| {
        let mut message = vec![0; header_bytes];
        message[0] = message_type;
        message.extend_from_slice(quote);
        packet(|out| to_client.append_payload(SCMP, &message, out))
    });
    errors.into_iter().chain(others)
}
