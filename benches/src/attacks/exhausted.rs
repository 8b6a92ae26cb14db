//! Exhausted budgets of handshakes, and spoofed initiations with the addresses of clients.
//!
//! A few hosts with cookies exhaust the budget of messages with a cookie; messages without one exhaust the other. The
//! initiations are forged, which the gateway detects only by the Diffie-Hellman that the budgets limit.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput as _, KeyInit as _, Update as _};
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::AeadInPlace as _;
use snaptun::PublicKey;
use snaptun::protocol::{COOKIE_REPLY_BYTES, INITIATION_BYTES};
use testkit::Pace;
use testkit::messages::{self, Mac1};
use udp_shards::SocketOptions;

use super::attack::SPOOFED_SLOWLY_PER_SECOND;
use super::attacker::{Aim, Attacker, Tally};
use super::sender::Sender;
use super::spoofed::Spoofed;
use crate::gateway_public_key;
use crate::harness::error::BenchError;

/// Number of hosts with cookies. Each may use 1,000 handshakes per second of the worker's 4,000.
const HOSTS: usize = 8;

/// First address of these hosts, on loopback.
const FIRST_HOST: Ipv4Addr = Ipv4Addr::new(127, 129, 0, 1);

/// Messages of all hosts per second: 1.5 times the budgets of both kinds, 4,000 and 2,000.
const WITH_COOKIE_PER_SECOND: u64 = 6_000;
const WITHOUT_COOKIE_PER_SECOND: u64 = 3_000;

/// First address of messages without a cookie, on loopback.
const FIRST_STRANGER: Ipv4Addr = Ipv4Addr::new(127, 130, 0, 1);

/// Number of addresses of messages without a cookie: each stays below its limit, 100 per second.
const STRANGERS: usize = 64;

/// Number of messages whose cookie replies can be decrypted.
const RECENT: usize = 1 << 12;

/// Pause if no message is due.
const PAUSE: Duration = Duration::from_micros(200);

const MAC_BYTES: usize = 16;

pub(crate) struct Exhausted {
    public_key: PublicKey,
    sender: Sender,
    cookies: Cookies,
    with_cookie: Pace,
    without_cookie: Pace,
    next: u32,
    spoofed: Spoofed,
    spoofed_pace: Pace,
    spoofed_per_second: u64,
}

/// Cookies of the hosts.
struct Cookies {
    key: [u8; 32],
    of_hosts: [Option<[u8; MAC_BYTES]>; HOSTS],
    /// mac1 of the last messages, by sender index modulo [`RECENT`].
    mac1s: Vec<[u8; MAC_BYTES]>,
}

impl Exhausted {
    pub(crate) fn new(aim: &Aim<'_>) -> Result<Self, BenchError> {
        let public_key = gateway_public_key();
        let spoofed_per_second = SPOOFED_SLOWLY_PER_SECOND * aim.clients.len() as u64;
        Ok(Self {
            public_key,
            sender: Sender::new(aim.gateway, 64, &SocketOptions::default())?,
            cookies: Cookies::new(&public_key),
            with_cookie: Pace::new(WITH_COOKIE_PER_SECOND),
            without_cookie: Pace::new(WITHOUT_COOKIE_PER_SECOND),
            next: 0,
            spoofed: Spoofed::initiations(aim, SPOOFED_SLOWLY_PER_SECOND)?,
            spoofed_pace: Pace::new(spoofed_per_second),
            spoofed_per_second,
        })
    }

    /// Queues a forged initiation.
    fn push(&mut self, from: IpAddr, cookie: Option<[u8; MAC_BYTES]>) {
        let mut message = messages::initiation(self.next, Mac1::Right(&self.public_key));
        self.cookies.remember(self.next, &message);
        self.next = self.next.wrapping_add(1);
        if let Some(cookie) = cookie {
            write_mac2(&mut message, &cookie);
        }
        self.sender.push(Some(from), message.into());
    }
}

impl Attacker for Exhausted {
    fn send_batch(&mut self, tally: &mut Tally) -> io::Result<()> {
        let (with_cookie, without_cookie) =
            (self.with_cookie.take(32), self.without_cookie.take(32));
        for _ in 0..with_cookie {
            let host = self.next as usize % HOSTS;
            self.push(address(FIRST_HOST, host), self.cookies.of_hosts[host]);
        }
        for _ in 0..without_cookie {
            let stranger = self.next as usize % STRANGERS;
            self.push(address(FIRST_STRANGER, stranger), None);
        }
        self.sender.flush(tally);
        let cookies = &mut self.cookies;
        self.sender.receive(|to, datagram| {
            tally.answers += 1;
            cookies.take(to, &datagram);
        })?;
        let spoofed = self.spoofed_pace.take(32);
        self.spoofed.send(spoofed);
        tally.sent += spoofed;
        if with_cookie + without_cookie + spoofed == 0 {
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn wanted_per_second(&self) -> Option<u64> {
        Some(WITH_COOKIE_PER_SECOND + WITHOUT_COOKIE_PER_SECOND + self.spoofed_per_second)
    }
}

impl Cookies {
    fn new(gateway: &PublicKey) -> Self {
        let key = Blake2s256::new()
            .chain_update(b"cookie--")
            .chain_update(gateway.as_bytes())
            .finalize();
        Self {
            key: key.into(),
            of_hosts: [None; HOSTS],
            mac1s: vec![[0; MAC_BYTES]; RECENT],
        }
    }

    fn remember(&mut self, sender_index: u32, initiation: &[u8]) {
        let mac1_at = INITIATION_BYTES - 2 * MAC_BYTES;
        self.mac1s[sender_index as usize % RECENT]
            .copy_from_slice(&initiation[mac1_at..mac1_at + MAC_BYTES]);
    }

    /// Stores the cookie of a reply to the address of a host (whitepaper, section 5.4.7).
    fn take(&mut self, to: Option<IpAddr>, reply: &[u8]) {
        let host = (0..HOSTS).find(|&host| to == Some(address(FIRST_HOST, host)));
        let (Some(host), Some(cookie)) = (host, self.open(reply)) else {
            return;
        };
        self.of_hosts[host] = Some(cookie);
    }

    fn open(&self, reply: &[u8]) -> Option<[u8; MAC_BYTES]> {
        if reply.len() != COOKIE_REPLY_BYTES || reply[0] != 3 {
            return None;
        }
        let (header, sealed) = reply.split_at(32);
        let (receiver_index, nonce) = header[4..].split_at(4);
        let receiver_index = u32::from_le_bytes(receiver_index.try_into().ok()?);
        let mac1 = &self.mac1s[receiver_index as usize % RECENT];
        let mut cookie = sealed.to_vec();
        XChaCha20Poly1305::new(&self.key.into())
            .decrypt_in_place(nonce.into(), mac1, &mut cookie)
            .ok()?;
        cookie.try_into().ok()
    }
}

/// Writes the mac2 of an initiation (section 5.4.4).
fn write_mac2(initiation: &mut [u8], cookie: &[u8; MAC_BYTES]) {
    let at = initiation.len() - MAC_BYTES;
    let Ok(mac) = Blake2sMac::<U16>::new_from_slice(cookie) else {
        return;
    };
    let mac2: [u8; MAC_BYTES] = mac.chain(&initiation[..at]).finalize_fixed().into();
    initiation[at..].copy_from_slice(&mac2);
}

fn address(first: Ipv4Addr, number: usize) -> IpAddr {
    Ipv4Addr::from_bits(first.to_bits() + number as u32).into()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use ana_gotatun::noise::TunnResult;
    use ana_gotatun::noise::rate_limiter::RateLimiter;
    use ana_gotatun::packet::{Packet, WgKind};
    use bytes::BytesMut;

    use super::*;

    /// Returns the cookie reply of a gateway that accepts no handshake without a cookie.
    fn cookie_reply(initiation: &[u8]) -> Option<Vec<u8>> {
        let gateway = gateway_public_key();
        let from: SocketAddr = "127.129.0.1:1000".parse().ok()?;
        let limiter = RateLimiter::new(&gateway, 0);
        let packet = Packet::from_bytes(BytesMut::from(initiation));
        match limiter.verify_packet(from, packet) {
            Err(TunnResult::WriteToNetwork(WgKind::CookieReply(reply))) => {
                Some(Packet::from(WgKind::CookieReply(reply)).to_vec())
            }
            _ => None,
        }
    }

    #[test]
    fn cookie_of_a_reply_is_stored_for_its_host() {
        let gateway = gateway_public_key();
        let mut cookies = Cookies::new(&gateway);
        let initiation = messages::initiation(5, Mac1::Right(&gateway));
        cookies.remember(5, &initiation);
        let reply = cookie_reply(&initiation).unwrap();
        cookies.take(Some(address(FIRST_HOST, 3)), &reply);
        assert!(cookies.of_hosts[3].is_some());
        assert!(cookies.of_hosts[2].is_none());
        cookies.take(Some(address(FIRST_STRANGER, 0)), &reply);
        assert_eq!(cookies.of_hosts.iter().flatten().count(), 1);
    }
}
