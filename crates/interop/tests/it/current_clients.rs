//! A shard without sockets and the tunnels of current clients: `ana-gotatun` 0.2.1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use gotatun_client::noise::rate_limiter::RateLimiter;
use gotatun_client::noise::{Tunn, TunnResult};
use gotatun_client::packet::{Packet, WgKind};
use gotatun_client::x25519::{PublicKey, StaticSecret};
use snaptun::{Consumed, Endpoint, ShardConfig, Via};
use testkit::shard::{In, Out, Shard};

struct OldClient {
    tunn: Tunn,
    endpoint: Endpoint,
}

impl OldClient {
    fn new(shard: &Shard) -> Self {
        let remote: SocketAddr = "192.0.2.7:4321".parse().unwrap();
        let secret = StaticSecret::from([7; 32]);
        let public = PublicKey::from(&secret);
        shard.registry.grant(public.to_bytes(), 1, None);
        let limiter = Arc::new(RateLimiter::new(&public, 20));
        let gateway = PublicKey::from(Shard::public_key().to_bytes());
        // As in snap-tun 0.8.6: a keepalive every 10 s.
        let tunn = Tunn::new(secret, gateway, None, Some(10), 0, limiter, remote);
        OldClient {
            tunn,
            endpoint: Endpoint {
                remote,
                via: Via::default(),
            },
        }
    }

    fn initiation(&mut self) -> Vec<u8> {
        to_bytes(self.tunn.format_handshake_initiation(true).unwrap())
    }

    fn data(&mut self, packet: &[u8]) -> Vec<u8> {
        let Some(message) = self.tunn.handle_outgoing_packet(Packet::copy_from(packet)) else {
            panic!("no session");
        };
        to_bytes(message)
    }

    fn receive(&mut self, datagram: &[u8]) -> TunnResult {
        let message = Packet::copy_from(datagram).try_into_wg().unwrap();
        self.tunn.handle_incoming_packet(message)
    }

    /// Handles the shard's response and returns the client's keepalive.
    fn complete(&mut self, shard: &mut Shard) -> Vec<u8> {
        let response = shard.sent.pop_front().unwrap();
        assert!(shard.sent.is_empty());
        match self.receive(&response.packet) {
            TunnResult::WriteToNetwork(WgKind::Data(keepalive)) => to_bytes(keepalive),
            result => panic!("the client did not accept the response: {result:?}"),
        }
    }

    fn assert_data_both_ways(&mut self, shard: &mut Shard) {
        for len in [1, 17, 1400] {
            let packet = vec![len as u8; len];
            let datagram = self.data(&packet);
            let fate = shard.incoming(&datagram, self.endpoint);
            assert_eq!(fate, In::Delivered(packet.clone(), 1));

            assert_eq!(
                shard.outgoing(&packet, self.endpoint.remote),
                Out::Encapsulated(1)
            );
            let datagram = shard.sent.pop_front().unwrap().packet;
            let TunnResult::WriteToTunnel(received) = self.receive(&datagram) else {
                panic!("the client did not accept the data");
            };
            assert_eq!(received[..], packet[..]);
        }
    }
}

fn to_bytes(message: impl Into<Packet>) -> Vec<u8> {
    message.into().to_vec()
}

#[test]
fn an_old_client_connects_learns_its_address_and_rekeys() {
    let mut shard = Shard::new(Instant::now(), ShardConfig::default());
    let mut client = OldClient::new(&shard);
    for new_tunnel in [true, false, false] {
        let initiation = client.initiation();
        let fate = shard.incoming(&initiation, client.endpoint);
        assert_eq!(
            fate,
            In::Consumed(Consumed::HandshakeAnswered { new_tunnel })
        );
        let keepalive = client.complete(&mut shard);
        let fate = shard.incoming(&keepalive, client.endpoint);
        assert_eq!(fate, In::Consumed(Consumed::Keepalive));
        assert_eq!(
            client.tunn.get_initiator_remote_sockaddr(),
            Some(client.endpoint.remote)
        );
        client.assert_data_both_ways(&mut shard);
    }
}

#[test]
fn waiting_packets_reach_an_old_client_in_order() {
    let mut shard = Shard::new(Instant::now(), ShardConfig::default());
    let mut client = OldClient::new(&shard);
    let initiation = client.initiation();
    shard.incoming(&initiation, client.endpoint);
    let keepalive = client.complete(&mut shard);
    for n in 0..10u8 {
        assert_eq!(
            shard.outgoing(&[n], client.endpoint.remote),
            Out::Waiting(1)
        );
    }
    shard.incoming(&keepalive, client.endpoint);
    for n in 0..10u8 {
        let datagram = shard.sent.pop_front().unwrap().packet;
        let TunnResult::WriteToTunnel(received) = client.receive(&datagram) else {
            panic!("the client did not accept the data");
        };
        assert_eq!(received[..], [n]);
    }
}
