//! Writes the seed inputs of the corpora: `cargo run --example seeds` in this package.
//!
//! The other files of `corpus/` were found by fuzzing from these; each one covers additional code.

use std::error::Error;
use std::fs;
use std::path::Path;

use scion_packet::build::{PacketBuilder, Segment};
use scion_packet::{HopField, InfoField, ScionAddress};

const CLIENT_PORT: u16 = 40_000;
const PEER_PORT: u16 = 50_000;

fn main() -> Result<(), Box<dyn Error>> {
    for (name, packet) in scion_packets()? {
        write("scion_view", name, &packet)?;
        write("cbpf", name, &[&GROUP_OF_THREE[..], &packet].concat())?;
    }
    for (name, datagram) in tunnel_datagrams() {
        write("cbpf", name, &datagram)?;
    }
    for (name, message) in control_plane_messages() {
        write("rpc", name, &message)?;
    }
    for (name, steps) in STEPS {
        write("datagrams", name, steps)?;
    }
    Ok(())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    fs::write(corpus.join(target).join(name), bytes)
}

/// Encodes an upstream group with a key and three workers.
const GROUP_OF_THREE: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 3];

type Named = (&'static str, Vec<u8>);

fn scion_packets() -> Result<Vec<Named>, Box<dyn Error>> {
    let address = |isd_as: &str, ip: &str| -> Result<ScionAddress, Box<dyn Error>> {
        Ok(ScionAddress {
            isd_as: isd_as.parse()?,
            ip: ip.parse()?,
        })
    };
    let client = address("1-ff00:0:110", "192.0.2.1")?;
    let client_v6 = address("1-ff00:0:110", "2001:db8::1")?;
    let peer = address("2-ff00:0:222", "2001:db8::2")?;
    let segment = |construction_direction, interfaces: &[(u16, u16)]| Segment {
        info_field: InfoField {
            construction_direction,
            segment_id: 0x1234,
            timestamp: 1_700_000_000,
            ..InfoField::default()
        },
        hop_fields: interfaces
            .iter()
            .map(|&(cons_ingress, cons_egress)| HopField {
                cons_ingress,
                cons_egress,
                expiry: 63,
                mac: [1, 2, 3, 4, 5, 6],
                ..HopField::default()
            })
            .collect(),
    };
    let path = [
        segment(false, &[(11, 0), (21, 22), (0, 31)]),
        segment(false, &[(41, 0), (0, 51)]),
        segment(true, &[(0, 61), (71, 0)]),
    ];
    let from_client = PacketBuilder::new(client, peer).with_path(&path)?;
    let to_client = PacketBuilder::new(peer, client).with_path(&path[..1])?;
    let to_client_v6 = PacketBuilder::new(peer, client_v6);

    let made = |append: &dyn Fn(&mut Vec<u8>) -> Result<(), _>| -> Result<Vec<u8>, Box<dyn Error>> {
        let mut packet = Vec::new();
        append(&mut packet).map_err(|error: scion_packet::build::BuildError| error)?;
        Ok(packet)
    };
    let sent = made(&|out| from_client.append_udp(CLIENT_PORT, PEER_PORT, b"payload", out))?;
    let asked = made(&|out| from_client.append_echo_request(CLIENT_PORT, 7, b"ping", out))?;
    let error = |kind: u8, fields: usize, quote: &[u8]| {
        let message = [&[kind, 0, 0, 0][..], &vec![0; fields], quote].concat();
        made(&|out| to_client.append_payload(202, &message, out))
    };
    let received = made(&|out| to_client.append_udp(PEER_PORT, CLIENT_PORT, b"", out))?;
    let complaint = |quote: &[u8]| {
        let message = [&[1, 4, 0, 0, 0, 0, 0, 0][..], quote].concat();
        made(&|out| from_client.append_payload(202, &message, out))
    };
    let ports = [PEER_PORT.to_be_bytes(), CLIENT_PORT.to_be_bytes()].concat();
    let extended = [
        &[201, 0, 0, 0, 17, 1, 0, 0, 0, 0, 0, 0][..],
        &ports,
        &[0, 8, 0, 0],
    ]
    .concat();
    Ok(vec![
        ("udp_from_client", sent.clone()),
        ("udp_to_client", received.clone()),
        (
            "udp_over_ipv6",
            made(&|out| to_client_v6.append_udp(PEER_PORT, CLIENT_PORT, b"x", out))?,
        ),
        (
            "udp_behind_both_extensions",
            made(&|out| to_client.append_payload(200, &extended, out))?,
        ),
        (
            "tcp",
            made(&|out| to_client.append_payload(6, &[&ports[..], &[0; 16]].concat(), out))?,
        ),
        ("echo_request", asked.clone()),
        (
            "echo_reply",
            made(&|out| to_client.append_echo_reply(CLIENT_PORT, 7, b"pong", out))?,
        ),
        ("unreachable_quoting_udp", error(1, 4, &sent)?),
        ("too_big_quoting_an_echo_request", error(2, 4, &asked)?),
        ("external_interface_down", error(5, 16, &sent[..60])?),
        ("internal_connectivity_down", error(6, 24, &sent)?),
        ("complaint", complaint(&received)?),
        ("complaint_about_a_packet_of_others", complaint(&sent)?),
    ])
}

/// Encodes datagrams to a tunnel group with a key and three workers: header, port, message.
fn tunnel_datagrams() -> Vec<Named> {
    let group = |kind: u8| [kind, 1, 2, 3, 4, 5, 6, 7, 8, 3];
    let message = |kind: u8, bytes: usize| [vec![kind, 0, 0, 0], vec![0x5a; bytes - 4]].concat();
    let over_ipv4 =
        |message: &[u8]| [&group(1)[..], &[0, 192, 0, 2, 1], &[0x9c, 0x40], message].concat();
    let over_ipv6 = |extensions: u8, message: &[u8]| {
        [
            &group(3)[..],
            &[extensions],
            &[0x20; 16],
            &[0x9c, 0x40],
            message,
        ]
        .concat()
    };
    vec![
        ("initiation_over_ipv4", over_ipv4(&message(1, 148))),
        ("response_over_ipv4", over_ipv4(&message(2, 112))),
        ("cookie_reply_over_ipv4", over_ipv4(&message(3, 64))),
        ("keepalive_over_ipv4", over_ipv4(&message(4, 32))),
        ("train_over_ipv6", over_ipv6(0, &message(4, 100))),
        (
            "keepalive_behind_ipv6_extensions",
            over_ipv6(2, &message(4, 32)),
        ),
    ]
}

/// Encodes requests to the control plane, answers of the endhost API, and the begin of a certificate.
fn control_plane_messages() -> Vec<Named> {
    let request = |path: &str, headers: &str, body: &[u8]| {
        let head = format!("RPOST {path}\ncontent-type: application/proto\n{headers}\n");
        [head.as_bytes(), body].concat()
    };
    let token = "authorization: Bearer x.y.z\n";
    let underlays = "/scion.endhost.v1.UnderlayService/ListUnderlays";
    let segments = "/scion.endhost.v1.SegmentsService/ListSegments";
    let register = "/anapaya.snap.v1.SnapControl/RegisterSnapTunIdentity";
    let registration = [&[0x0a, 32][..], &[9; 32], &[0x12, 32], &[0; 32]].concat();
    let all_headers = [
        token,
        "connect-protocol-version: 1\nconnect-timeout-ms: 5000\ncontent-encoding: identity\n",
    ]
    .concat();
    let answer = |head: &str, body: &[u8]| [format!("A{head}\n\n").as_bytes(), body].concat();
    let validity = b"\x30\x1e\x17\x0d240203000000Z\x17\x0d251231000000Z";
    let fields = [
        &b"\xa0\x03\x02\x01\x02\x02\x01\x01\x30\x00\x30\x00"[..],
        validity,
    ]
    .concat();
    let nested = |content: &[u8]| [&[0x30, content.len() as u8][..], content].concat();
    let certificate = [b"C", &nested(&nested(&fields))[..]].concat();
    vec![
        (
            "underlays",
            request(underlays, token, b"\x08\x80\x80\x80\x80\x10"),
        ),
        (
            "segments",
            request(segments, token, b"\x08\x01\x10\x02\x18\x40\x22\x01p"),
        ),
        (
            "paths",
            request(
                "/scion.endhost.v1.PathService/ListPaths",
                token,
                b"\x18\xff\xff\xff\xff\x0f",
            ),
        ),
        (
            "data_plane",
            request(
                "/anapaya.snap.v1.SnapControl/GetSnapDataPlaneAddress",
                token,
                b"",
            ),
        ),
        (
            "registration",
            request(register, &all_headers, &registration),
        ),
        (
            "registration_of_a_short_key",
            request(register, token, &registration[..20]),
        ),
        (
            "registration_with_unknown_fields",
            request(
                register,
                token,
                &[
                    &registration[..],
                    b"\x7a\x03new\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00",
                ]
                .concat(),
            ),
        ),
        ("no_token", request(register, "", &registration)),
        (
            "compressed",
            request(register, "content-encoding: gzip\n", &registration),
        ),
        ("get", b"RGET /\n\n".to_vec()),
        (
            "answer",
            answer(
                "200\ncontent-type: application/proto",
                b"\x0a\x03xyz\x22\x01p",
            ),
        ),
        (
            "answer_of_another_type",
            answer("200\ncontent-type: text/html", b"<html>"),
        ),
        (
            "error",
            answer(
                "400\ncontent-type: application/json",
                br#"{"code":"not_found","message":"x"}"#,
            ),
        ),
        ("certificate", certificate),
    ]
}

// The first byte of each step, see `next_step` in `datagrams.rs`.
const ARRIVE: u8 = 0;
const DELIVER: u8 = 1;
const INITIATE: u8 = 2;
const SEND: u8 = 3;
const OUTGOING: u8 = 4;
const DUPLICATE: u8 = 5;
const DAMAGE: u8 = 7;
const ELSEWHERE: u8 = 8;
const FORGE: u8 = 9;
const GARBAGE: u8 = 10;
const REVOKE: u8 = 11;
const GRANT: u8 = 12;
const RESTART: u8 = 13;
const TIMERS: u8 = 14;

const STEPS: [(&str, &[u8]); 8] = [
    (
        "data_both_ways",
        &[
            SEND, 0, 40, ARRIVE, 0, OUTGOING, 0, 40, OUTGOING, 1, 9, DELIVER, SEND, 1, 0, ARRIVE, 0,
        ],
    ),
    (
        "a_rekey_with_data_in_between",
        &[
            INITIATE, 0, ARRIVE, 0, OUTGOING, 0, 9, DELIVER, ARRIVE, 0, SEND, 0, 9, ARRIVE, 0,
            DELIVER,
        ],
    ),
    (
        "replays_from_everywhere",
        &[
            INITIATE, 0, DUPLICATE, 0, ELSEWHERE, 0, 1, ELSEWHERE, 0, 3, ARRIVE, 0, SEND, 0, 9,
            DUPLICATE, 0, ELSEWHERE, 0, 1, ARRIVE, 0, DELIVER,
        ],
    ),
    (
        "damaged_and_forged_messages",
        &[
            INITIATE, 0, DAMAGE, 0, 0, 3, INITIATE, 0, FORGE, 0, 50, 4, 1, 2, 3, 4, SEND, 1, 20,
            FORGE, 0, 8, 2, 255, 255, SEND, 1, 20, DAMAGE, 0, 1, 0,
        ],
    ),
    (
        "a_third_client_wants_a_place",
        &[
            INITIATE, 2, ARRIVE, 0, DELIVER, TIMERS, 0, 20, INITIATE, 2, ARRIVE, 0, DELIVER,
            ARRIVE, 0,
        ],
    ),
    (
        "a_revoked_client_comes_back",
        &[
            OUTGOING, 0, 9, REVOKE, 0, SEND, 0, 9, ARRIVE, 0, OUTGOING, 0, 9, GRANT, 0, INITIATE,
            0, ARRIVE, 0, DELIVER, ARRIVE, 0, OUTGOING, 0, 9, DELIVER,
        ],
    ),
    (
        "a_restart_and_packets_that_wait",
        &[
            RESTART, 0, TIMERS, 80, 70, OUTGOING, 0, 9, OUTGOING, 0, 8, DELIVER, ARRIVE, 0,
            DELIVER, INITIATE, 0, ARRIVE, 0, DELIVER, ARRIVE, 0, DELIVER,
        ],
    ),
    (
        "garbage_and_a_long_silence",
        &[
            GARBAGE, 0, 6, 4, 0, 0, 0, 1, 2, GARBAGE, 3, 4, 1, 0, 0, 0, TIMERS, 0, 255, TIMERS, 0,
            255,
        ],
    ),
];
