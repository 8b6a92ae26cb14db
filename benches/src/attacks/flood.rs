//! Floods of prepared datagrams from many addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use snaptun::StaticSecret;
use testkit::messages::{self, Mac1};
use testkit::{Pace, Tunnel, TunnelEvent};
use udp_shards::SocketOptions;

use super::attack::Attack;
use super::attacker::{Attacker, Tally};
use super::initiation::initiation;
use super::sender::Sender;
use crate::harness::error::BenchError;
use crate::{StepError, gateway_public_key};

/// Number of source addresses, on loopback.
pub(crate) const ADDRESSES: u32 = 10_000;

/// First source address: 127.128.0.1.
const FIRST_ADDRESS: u32 = 0x7f80_0001;

/// Datagrams per system call. More would gain little, and delay the load on the same CPU.
const BATCH: usize = 16;

/// Pause if no datagram is due.
const PAUSE: Duration = Duration::from_micros(50);

/// Number of different random datagrams.
const GARBAGE: usize = 4096;

/// Maximum length of random datagrams, which fits into most networks with IP and UDP header.
const GARBAGE_BYTES_MAX: usize = 1400;

/// Number of unauthorized identities. When an initiation is repeated, the gateway has forgotten its rejection.
const STRANGERS: usize = 4096;

/// Number of different forged initiations, and of initiations with a clock that is ahead.
const INITIATIONS: usize = 4096;

/// Offset of the clock that is ahead: 80 years.
const AHEAD_SECONDS: u64 = 80 * 365 * 24 * 3600;

/// Time limit for the answer to the initiation that is captured.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Flood {
    sender: Sender,
    datagrams: Vec<Bytes>,
    next: usize,
    /// Number of source addresses.
    addresses: usize,
    per_second: Option<u64>,
    pace: Option<Pace>,
}

impl Flood {
    /// Sends `per_second` random datagrams of random length.
    pub(crate) fn of_garbage(gateway: SocketAddr, per_second: u64) -> Result<Self, BenchError> {
        let mut random = SmallRng::seed_from_u64(1);
        let garbage = (0..GARBAGE).map(|_| {
            let mut bytes = vec![0; random.random_range(1..=GARBAGE_BYTES_MAX)];
            random.fill(&mut bytes[..]);
            bytes.into()
        });
        Ok(Self {
            per_second: Some(per_second),
            pace: Some(Pace::new(per_second)),
            ..Self::of(gateway, garbage.collect())?
        })
    }

    /// Sends forged initiations with a correct mac1, from one address.
    pub(crate) fn of_one_address(gateway: SocketAddr) -> Result<Self, BenchError> {
        let public_key = gateway_public_key();
        let initiations = (0..INITIATIONS as u32)
            .map(|index| messages::initiation(index, Mac1::Right(&public_key)).into());
        Ok(Self {
            addresses: 1,
            ..Self::of(gateway, initiations.collect())?
        })
    }

    /// Sends initiations of `insider` with a clock that is ahead, in ascending order of their timestamps.
    pub(crate) fn of_future(
        gateway: SocketAddr,
        insider: &StaticSecret,
    ) -> Result<Self, BenchError> {
        let public_key = gateway_public_key();
        let mut random = SmallRng::seed_from_u64(4);
        let now = SystemTime::UNIX_EPOCH
            .elapsed()
            .map_err(|_| StepError::Tunnel("the system clock is before 1970"))?;
        let initiations = (0..INITIATIONS as u64)
            .map(|number| {
                let seconds = now.as_secs() + AHEAD_SECONDS + number;
                let message = initiation(insider, &public_key, seconds, &mut random);
                Ok(message
                    .ok_or(StepError::Tunnel("cannot encrypt an initiation"))?
                    .into())
            })
            .collect::<Result<_, StepError>>()?;
        Self::of(gateway, initiations)
    }

    /// Sends valid initiations of unauthorized identities.
    pub(crate) fn of_strangers(gateway: SocketAddr) -> Result<Self, BenchError> {
        let mut random = SmallRng::seed_from_u64(2);
        let initiations = (0..STRANGERS).map(|_| {
            let stranger = StaticSecret::from(random.random::<[u8; 32]>());
            let mut client = Tunnel::new(stranger, gateway, &gateway_public_key());
            client.initiate().into()
        });
        Self::of(gateway, initiations.collect())
    }

    /// Connects `insider` once, and replays its initiation.
    pub(crate) fn of_replays(
        gateway: SocketAddr,
        insider: &StaticSecret,
    ) -> Result<Self, BenchError> {
        let failed = |step| Attack::Replay.failed(step);
        let address = (Ipv4Addr::LOCALHOST, 0);
        let socket = std::net::UdpSocket::bind(address).map_err(failed("bind a socket"))?;
        let mut client = Tunnel::new(insider.clone(), gateway, &gateway_public_key());
        let initiation = client.initiate();
        socket
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .and_then(|()| socket.send_to(&initiation, gateway))
            .map_err(failed("send an initiation"))?;
        let mut answer = [0; 2048];
        let bytes = socket
            .recv(&mut answer)
            .map_err(failed("receive the answer to an initiation"))?;
        let TunnelEvent::Connected(confirmation) = client.handle(&answer[..bytes]) else {
            return Err(BenchError::NoAnswer);
        };
        socket
            .send_to(&confirmation, gateway)
            .map_err(failed("confirm a session"))?;
        Self::of(gateway, vec![initiation.into()])
    }

    fn of(gateway: SocketAddr, datagrams: Vec<Bytes>) -> Result<Self, BenchError> {
        Ok(Self {
            sender: Sender::new(gateway, BATCH, &SocketOptions::default())?,
            datagrams,
            next: 0,
            addresses: ADDRESSES as usize,
            per_second: None,
            pace: None,
        })
    }
}

/// Returns the source address with this number, modulo [`ADDRESSES`].
pub(crate) fn address(number: usize) -> IpAddr {
    let number = (number % ADDRESSES as usize) as u32;
    Ipv4Addr::from_bits(FIRST_ADDRESS + number).into()
}

impl Attacker for Flood {
    fn send_batch(&mut self, tally: &mut Tally) -> io::Result<()> {
        let room = self.sender.room();
        let due = match &mut self.pace {
            Some(pace) => pace.take(room as u64) as usize,
            None => room,
        };
        if due == 0 && room == BATCH {
            std::thread::sleep(PAUSE);
        }
        for _ in 0..due {
            let datagram = self.datagrams[self.next % self.datagrams.len()].clone();
            let from = Some(address(self.next % self.addresses));
            self.next += 1;
            self.sender.push(from, datagram);
        }
        self.sender.flush(tally);
        self.sender.receive(|_, _| tally.answers += 1)
    }

    fn wanted_per_second(&self) -> Option<u64> {
        self.per_second
    }
}
