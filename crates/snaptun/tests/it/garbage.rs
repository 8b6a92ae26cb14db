//! Datagrams that are not SNAPtun messages.

use snaptun::{DropReason, Endpoint};

use crate::clock::new_shard;
use testkit::shard::In;

/// Returns the drop reason for zeros after this type; `tunnel` is true for the address of a tunnel.
fn expected(message_type: u8, len: usize, tunnel: bool) -> DropReason {
    match (message_type, len, tunnel) {
        // A mac1 of zeros is wrong.
        (1, 148, _) => DropReason::InvalidMac,
        (2, 112, true) | (3, 64, true) => DropReason::Unsolicited,
        (4, 32.., true) => DropReason::NoSession,
        (2, 112, false) | (3, 64, false) | (4, 32.., false) => DropReason::NoTunnel,
        _ => DropReason::Malformed,
    }
}

#[test]
fn every_length_and_type_has_its_reason() {
    let mut shard = new_shard();
    let client = shard.connected_client(1);
    let unknown = Endpoint {
        remote: "10.9.9.9:9".parse().unwrap(),
        ..client.endpoint
    };
    for (from, tunnel) in [(client.endpoint, true), (unknown, false)] {
        for len in 0..=200 {
            for message_type in 0..=255 {
                let mut datagram = vec![0; len];
                if let Some(first) = datagram.first_mut() {
                    *first = message_type;
                }
                // Without a first byte there is no type.
                let reason = match len {
                    0 => DropReason::Malformed,
                    _ => expected(message_type, len, tunnel),
                };
                let fate = shard.incoming(&datagram, from);
                assert_eq!(
                    fate,
                    In::Dropped(reason),
                    "type {message_type}, {len} bytes"
                );
            }
        }
    }
    assert!(shard.sent.is_empty());
    assert_eq!(shard.server.tunnel_count(), 1);
}

#[test]
fn reserved_bytes_are_zero() {
    let mut shard = new_shard();
    let mut client = shard.connected_client(1);
    for byte in 1..4 {
        let mut datagram = client.data(b"data");
        datagram[byte] = 1;
        let fate = shard.incoming(&datagram, client.endpoint);
        assert_eq!(fate, In::Dropped(DropReason::Malformed));
    }
}
