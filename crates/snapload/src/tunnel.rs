//! Client side of one SNAPtun tunnel, without I/O.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ana_gotatun::noise::index_table::IndexTable;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::noise::{TimerParams, Tunn, TunnResult};
use ana_gotatun::packet::{Packet, WgKind};
use bytes::BytesMut;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::config::LoadConfig;

/// Handshake messages are repeated up to this fraction of the retry time later, so that many tunnels do not repeat
/// theirs at once.
const RETRY_JITTER_DIVISOR: u32 = 4;

/// State that the tunnels of one thread share.
pub(crate) struct Peer {
    pub(crate) gateway: SocketAddr,
    gateway_public_key: PublicKey,
    handshake_retry: Duration,
    keepalive_seconds: Option<u16>,
    index_table: IndexTable,
    rate_limiter: Arc<RateLimiter>,
}

impl Peer {
    pub(crate) fn new(config: &LoadConfig) -> Self {
        let gateway_public_key = PublicKey::from(config.gateway_public_key);
        Self {
            gateway: config.gateway,
            gateway_public_key,
            handshake_retry: config.handshake_retry,
            keepalive_seconds: config.keepalive.map(|period| period.as_secs() as u16),
            index_table: IndexTable::from_os_rng(),
            // A client needs no rate limit: it has one peer, on a connected socket.
            rate_limiter: Arc::new(RateLimiter::new(&gateway_public_key, u64::MAX)),
        }
    }
}

/// Result of handling a datagram from the gateway.
pub(crate) enum Handled {
    /// A data message with this packet.
    Delivered(Packet),
    /// No action needed: a keepalive, or an answer that came too late.
    Nothing,
    /// A completed handshake. Send `confirm`.
    Connected {
        /// Keepalive that confirms the session.
        confirm: Packet,
        /// The tunnel's own address as seen by the gateway.
        address: Option<SocketAddr>,
    },
    /// A handshake initiation of the gateway. Send this response.
    Answer(Packet),
    /// A cookie reply. Send this handshake message, which contains the cookie.
    CookieDemanded(Option<Packet>),
    /// Refused: replayed, not authentic, or of an unknown session.
    Refused,
}

/// Client side of one tunnel.
pub(crate) struct Tunnel {
    tunn: Tunn,
    /// A cookie came since the last handshake, so a second one is not answered at once.
    has_fresh_cookie: bool,
}

impl Tunnel {
    pub(crate) fn new(secret: StaticSecret, peer: &Peer) -> Self {
        let mut tunn = Tunn::new(
            secret,
            peer.gateway_public_key,
            None,
            peer.keepalive_seconds,
            peer.index_table.clone(),
            Arc::clone(&peer.rate_limiter),
            peer.gateway,
        );
        let retry = peer.handshake_retry;
        tunn.dangerously_set_timer_params(TimerParams {
            rekey_timeout: retry..=retry.saturating_add(retry / RETRY_JITTER_DIVISOR),
            ..TimerParams::default()
        });
        Self {
            tunn,
            has_fresh_cookie: false,
        }
    }

    /// Returns the message that begins a handshake, unless one is in progress.
    pub(crate) fn start_handshake(&mut self) -> Option<Packet> {
        self.tunn
            .format_handshake_initiation(false)
            .map(Packet::from)
    }

    /// Returns the message that begins a handshake in place of the one in progress.
    pub(crate) fn restart_handshake(&mut self) -> Option<Packet> {
        self.tunn
            .format_handshake_initiation(true)
            .map(Packet::from)
    }

    /// Encrypts `packet`. Without a session the packet is lost, and the error contains the handshake message to send,
    /// unless it was sent before.
    pub(crate) fn encapsulate(&mut self, packet: Packet) -> Result<Packet, Option<Packet>> {
        match self.tunn.encapsulate_with_session(packet) {
            Ok(sealed) => Ok(sealed.into()),
            Err(_) => Err(self.start_handshake()),
        }
    }

    /// Handles a datagram from the gateway.
    pub(crate) fn handle_datagram(&mut self, datagram: BytesMut) -> Handled {
        let Ok(message) = Packet::from_bytes(datagram).try_into_wg() else {
            return Handled::Refused;
        };
        let is_response = matches!(message, WgKind::HandshakeResp(_));
        let is_cookie = matches!(message, WgKind::CookieReply(_));
        match self.tunn.handle_incoming_packet(message) {
            TunnResult::WriteToTunnel(packet) if packet.is_empty() => Handled::Nothing,
            TunnResult::WriteToTunnel(packet) => Handled::Delivered(packet),
            TunnResult::WriteToNetwork(confirm) if is_response => {
                self.has_fresh_cookie = false;
                let address = self.tunn.get_initiator_remote_sockaddr();
                Handled::Connected {
                    confirm: confirm.into(),
                    address,
                }
            }
            TunnResult::WriteToNetwork(answer) => Handled::Answer(answer.into()),
            TunnResult::Done if is_cookie => Handled::CookieDemanded(self.retry_with_cookie()),
            TunnResult::Done => Handled::Nothing,
            TunnResult::Err(_) => Handled::Refused,
        }
    }

    /// Returns the handshake message with the new cookie: at once for the first cookie of a handshake, and by the timer
    /// for later ones, so that misunderstanding peers do not flood each other.
    fn retry_with_cookie(&mut self) -> Option<Packet> {
        if std::mem::replace(&mut self.has_fresh_cookie, true) {
            return None;
        }
        self.restart_handshake()
    }

    /// Returns the message that the timers want to send. Call it a few times per second.
    pub(crate) fn update_timers(&mut self) -> Option<Packet> {
        match self.tunn.update_timers() {
            Ok(message) => message.map(Packet::from),
            // The handshake expired after 90 s without an answer; the next packet starts another.
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identities;

    struct Gateway {
        tunn: Tunn,
        limiter: RateLimiter,
        public_key: [u8; 32],
    }

    const CLIENT: &str = "198.51.100.7:4242";

    /// Returns a gateway that knows the client, and the client. `limit`: handshakes per second without a cookie.
    fn pair(limit: u64) -> (Gateway, Tunnel) {
        let gateway_secret = StaticSecret::from([1; 32]);
        let gateway_public = PublicKey::from(&gateway_secret);
        let client_secret = StaticSecret::from([2; 32]);
        let tunn = Tunn::new(
            gateway_secret,
            PublicKey::from(&client_secret),
            None,
            None,
            IndexTable::from_os_rng(),
            Arc::new(RateLimiter::new(&gateway_public, u64::MAX)),
            CLIENT.parse().unwrap(),
        );
        let limiter = RateLimiter::new(&gateway_public, limit);
        let gateway = Gateway {
            tunn,
            limiter,
            public_key: gateway_public.to_bytes(),
        };
        let address = "198.51.100.1:51820".parse().unwrap();
        let config = LoadConfig::new(address, gateway.public_key, Identities::from_seed(1, 1));
        let peer = Peer::new(&config);
        (gateway, Tunnel::new(client_secret, &peer))
    }

    impl Gateway {
        fn handle(&mut self, packet: &Packet) -> Option<BytesMut> {
            let packet = Packet::from_bytes(BytesMut::from(&packet[..]));
            let reply = match self.limiter.verify_packet(CLIENT.parse().unwrap(), packet) {
                Ok(message) => self.tunn.handle_incoming_packet(message),
                Err(result) => result,
            };
            match reply {
                TunnResult::WriteToNetwork(message) => {
                    Some(BytesMut::from(&Packet::from(message)[..]))
                }
                TunnResult::WriteToTunnel(packet) if packet.is_empty() => None,
                TunnResult::WriteToTunnel(packet) => {
                    let echo = self.tunn.handle_outgoing_packet(packet, None).unwrap();
                    Some(BytesMut::from(&Packet::from(echo)[..]))
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn inner(bytes: &[u8]) -> Packet {
        Packet::from_bytes(BytesMut::from(bytes))
    }

    fn connect(gateway: &mut Gateway, tunnel: &mut Tunnel) {
        let reply = gateway.handle(&tunnel.start_handshake().unwrap()).unwrap();
        let Handled::Connected { confirm, address } = tunnel.handle_datagram(reply) else {
            panic!("not connected");
        };
        assert_eq!(address, Some(CLIENT.parse().unwrap()));
        assert!(gateway.handle(&confirm).is_none());
    }

    #[test]
    fn tunnel_connects_and_learns_its_address() {
        let (mut gateway, mut tunnel) = pair(u64::MAX);
        connect(&mut gateway, &mut tunnel);
    }

    #[test]
    fn echoed_packet_is_delivered() {
        let (mut gateway, mut tunnel) = pair(u64::MAX);
        connect(&mut gateway, &mut tunnel);
        let sealed = tunnel
            .encapsulate(inner(b"hello"))
            .unwrap_or_else(|_| panic!("no session"));
        let Handled::Delivered(packet) = tunnel.handle_datagram(gateway.handle(&sealed).unwrap())
        else {
            panic!("not delivered");
        };
        assert_eq!(&packet[..], b"hello");
    }

    #[test]
    fn replayed_datagram_is_refused() {
        let (mut gateway, mut tunnel) = pair(u64::MAX);
        connect(&mut gateway, &mut tunnel);
        let sealed = tunnel
            .encapsulate(inner(b"hello"))
            .unwrap_or_else(|_| panic!("no session"));
        let echo = gateway.handle(&sealed).unwrap();
        assert!(matches!(
            tunnel.handle_datagram(echo.clone()),
            Handled::Delivered(_)
        ));
        assert!(matches!(tunnel.handle_datagram(echo), Handled::Refused));
    }

    #[test]
    fn packets_without_a_session_start_one_handshake() {
        let (_, mut tunnel) = pair(u64::MAX);
        assert!(matches!(tunnel.encapsulate(inner(b"early")), Err(Some(_))));
        assert!(matches!(tunnel.encapsulate(inner(b"early")), Err(None)));
    }

    #[test]
    fn first_cookie_is_answered_at_once() {
        let (mut gateway, mut tunnel) = pair(0);
        let cookie = gateway.handle(&tunnel.start_handshake().unwrap()).unwrap();
        let Handled::CookieDemanded(Some(again)) = tunnel.handle_datagram(cookie) else {
            panic!("no second attempt");
        };
        let reply = gateway.handle(&again).unwrap();
        assert!(matches!(
            tunnel.handle_datagram(reply),
            Handled::Connected { .. }
        ));
    }

    #[test]
    fn second_cookie_waits_for_the_timer() {
        let (_, mut tunnel) = pair(0);
        let (mut stubborn, _) = pair(0);
        let cookie = stubborn.handle(&tunnel.start_handshake().unwrap()).unwrap();
        let Handled::CookieDemanded(Some(again)) = tunnel.handle_datagram(cookie) else {
            panic!("no second attempt");
        };
        // A new limiter has a new secret and does not accept the cookie.
        let (mut stubborn, _) = pair(0);
        let cookie = stubborn.handle(&again).unwrap();
        assert!(matches!(
            tunnel.handle_datagram(cookie),
            Handled::CookieDemanded(None)
        ));
    }

    #[test]
    fn random_datagrams_are_refused() {
        let (_, mut tunnel) = pair(u64::MAX);
        for noise in [&b""[..], b"x", &[4; 31], &[0; 148], &[9; 1500]] {
            assert!(matches!(
                tunnel.handle_datagram(BytesMut::from(noise)),
                Handled::Refused
            ));
        }
    }
}
