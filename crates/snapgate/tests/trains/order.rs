//! Messages of a train are judged separately, whatever the first one is.

use snaptun::protocol::DATA_OVERHEAD_BYTES;
use testkit::messages::{self, Mac1};
use testkit::{
    Client, GatewayProcess, GatewaySetup, IpVersion, Namespace, SessionIndexes, identity,
    may_make_namespaces,
};
use udp_shards::Dispatch;

/// Trains of each kind.
const TRAINS: usize = 20;
/// Forged messages per train, each before a packet of the client.
const FORGED_PER_TRAIN: usize = 8;

/// The message before each packet of the client.
#[derive(Clone, Copy, Debug)]
enum First {
    GarbageThatBeginsAsData,
    Garbage,
    OneByte,
    Initiation,
    InitiationWithRightMac1,
    Response,
    CookieReply,
    Data,
}

const ALL: [First; 8] = [
    First::GarbageThatBeginsAsData,
    First::Garbage,
    First::OneByte,
    First::Initiation,
    First::InitiationWithRightMac1,
    First::Response,
    First::CookieReply,
    First::Data,
];

impl First {
    fn message(self, session: SessionIndexes, gateway: &GatewayProcess) -> Vec<u8> {
        match self {
            Self::GarbageThatBeginsAsData => vec![4, 0, 0, 0, 1],
            Self::Garbage => messages::garbage(200),
            Self::OneByte => vec![1],
            Self::Initiation => messages::initiation(1, Mac1::Wrong),
            Self::InitiationWithRightMac1 => {
                messages::initiation(1, Mac1::Right(gateway.public_key()))
            }
            Self::Response => messages::response(1, session.to_gateway, Mac1::Wrong),
            Self::CookieReply => messages::cookie_reply(session.to_gateway),
            Self::Data => messages::data(session.to_gateway, u64::MAX / 2, 300),
        }
    }
}

/// All messages of a train except the last have the same length, so the client's packets are as long as the forged
/// message. If that is too short for a packet, it ends the train, after the packets.
fn train(client: &mut Client, forged: &[u8], number: usize) -> Vec<Vec<u8>> {
    let Some(room) = forged.len().checked_sub(DATA_OVERHEAD_BYTES + 1) else {
        let packets = (0..FORGED_PER_TRAIN).map(|_| vec![number as u8; 1]);
        let mut train: Vec<_> = packets
            .map(|packet| client.tunnel().encrypt(&packet))
            .collect();
        train.push(forged.to_vec());
        return train;
    };
    (0..FORGED_PER_TRAIN)
        .flat_map(|_| {
            let packet = vec![number as u8; room + 1];
            [forged.to_vec(), client.tunnel().encrypt(&packet)]
        })
        .collect()
}

fn lost_behind(first: First, version: IpVersion, dispatch: Dispatch) -> usize {
    let listen = match version {
        IpVersion::V4 => "127.0.0.1:51820",
        IpVersion::V6 => "[::1]:51820",
    };
    let identity = identity();
    let host = Namespace::new();
    let gateway = GatewaySetup::new(env!("CARGO_BIN_EXE_snapgate"))
        .namespace(&host)
        .listen(listen.parse().unwrap())
        .identities(&[&identity])
        .workers(2)
        .dispatch(dispatch)
        .start();
    let mut client = host.run(|| gateway.connect(&identity));
    let forged = first.message(client.tunnel().session(), &gateway);
    let mut received = 0;
    for number in 0..TRAINS {
        let train = train(&mut client, &forged, number);
        client.send_train(&train);
        // Each packet is answered, or the test returns the number of missing answers.
        for _ in 0..FORGED_PER_TRAIN {
            let Some(packet) = next_packet(&mut client) else {
                return TRAINS * FORGED_PER_TRAIN - received;
            };
            assert_eq!(packet[0], number as u8);
            received += 1;
        }
    }
    gateway.kill();
    0
}

/// Returns the next packet out of the tunnel. Cookie replies to the forged initiations are ignored.
fn next_packet(client: &mut Client) -> Option<Vec<u8>> {
    const COOKIE_REPLY: u8 = 3;
    loop {
        let datagram = client.receive_datagram()?;
        if datagram[0] == COOKIE_REPLY {
            continue;
        }
        if let Some(packet) = client.handle(&datagram) {
            return Some(packet);
        }
    }
}

#[test]
fn no_first_message_of_a_train_costs_a_packet_after_it() {
    if !may_make_namespaces("no_first_message_of_a_train_costs_a_packet_after_it") {
        return;
    }
    let mut wrong = String::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        for dispatch in [Dispatch::Kernel, Dispatch::User] {
            for first in ALL {
                let lost = lost_behind(first, version, dispatch);
                if lost > 0 {
                    wrong += &format!("{first:?}, {version:?}, {dispatch:?}: {lost} lost\n");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
