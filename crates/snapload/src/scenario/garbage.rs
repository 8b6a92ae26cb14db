//! Sending garbage, from sockets and a thread of its own.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::Serialize;
use x25519_dalek::StaticSecret;

use super::forgery::{self, Random};
use super::{Garbage, GarbageKind};
use crate::config::LoadConfig;
use crate::error::LoadError;
use crate::tunnel::Peer;

/// How often datagrams are sent that are due.
const TICK: Duration = Duration::from_millis(1);

/// Datagrams sent before answers are looked at and the time is: some milliseconds.
const DATAGRAMS_PER_TURN: u64 = 1024;

/// Garbage of which less than this share was sent is not what the scenario wants.
const SENT_SHARE: f64 = 0.995;

/// Sockets that are looked at for answers per tick.
const SOCKETS_PER_TICK: usize = 16;

/// How long the last answers are waited for, unless replies are waited for less.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// What became of garbage.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct GarbageReport {
    /// The population.
    pub name: String,
    /// What was sent.
    pub kinds: Vec<GarbageKind>,
    /// How many datagrams were due.
    pub due: u64,
    /// How many the kernel took.
    pub sent: u64,
    /// Datagrams sent a second.
    pub sent_pps: f64,
    /// Datagrams that came back.
    pub answers: u64,
    /// The checks that it fails, each as a sentence.
    pub failed_checks: Vec<String>,
}

/// Garbage that is ready to be sent.
pub(super) struct GarbageSender<'a> {
    garbage: &'a Garbage,
    sockets: Vec<UdpSocket>,
    datagrams: Vec<Vec<u8>>,
    /// Datagrams that were handed to the kernel, and those that it took.
    tried: u64,
    sent: u64,
    answers: u64,
    next_answer_socket: usize,
}

impl<'a> GarbageSender<'a> {
    /// Binds the sockets and makes the datagrams. `identity` is that of a real tunnel, for replays.
    pub(super) fn new(
        garbage: &'a Garbage,
        config: &LoadConfig,
        identity: Option<&StaticSecret>,
    ) -> Result<Self, LoadError> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(LoadError::Random)?;
        let mut random = Random::new(u64::from_ne_bytes(seed));
        let peer = Peer::new(config);
        let ips = Ips::new(config);
        // The real tunnel's socket is one that sends no garbage.
        let honest_socket = connected_socket(ips.get(garbage.sockets), config.gateway)?;
        let sockets = (0..garbage.sockets)
            .map(|index| {
                let socket = connected_socket(ips.get(index), config.gateway)?;
                socket
                    .set_nonblocking(true)
                    .map_err(LoadError::io("make a socket of garbage non-blocking"))?;
                Ok(socket)
            })
            .collect::<Result<_, LoadError>>()?;
        let mut pools = Vec::new();
        for &kind in &garbage.kinds {
            let honest = identity.map(|identity| (identity.clone(), &honest_socket));
            let pool = forgery::datagrams(kind, &peer, honest, &config.stop, &mut random).map_err(
                |error| match config.stop.is_set() {
                    true => LoadError::Interrupted,
                    false => LoadError::io("record a tunnel to replay")(error),
                },
            )?;
            pools.push(pool);
        }
        Ok(Self {
            garbage,
            sockets,
            datagrams: mixed(&pools),
            tried: 0,
            sent: 0,
            answers: 0,
            next_answer_socket: 0,
        })
    }

    /// Sends for as long as the phase takes, its warm-up included, or until it is told to stop.
    /// `progress` hears about once per interval how many were sent since the warm-up.
    pub(super) fn work(
        mut self,
        config: &LoadConfig,
        mut progress: impl FnMut(u64),
    ) -> GarbageReport {
        let begin = Instant::now();
        let period = config.warm_up + config.duration;
        let end = begin + period;
        let catch_up_end = end + config.catch_up_after(period);
        let mut next_progress = begin + config.warm_up;
        let mut sent_before = None;
        loop {
            let now = Instant::now();
            let sending = now.min(end) - begin;
            let due = (sending.as_secs_f64() * self.garbage.pps).ceil() as u64;
            for _ in 0..due.saturating_sub(self.tried).min(DATAGRAMS_PER_TURN) {
                self.send_next();
            }
            let is_late = self.tried < due;
            self.read_answers(SOCKETS_PER_TICK);
            if next_progress <= now {
                progress(self.sent - *sent_before.get_or_insert(self.sent));
                next_progress += config.interval;
            }
            let is_over = now >= end && (!is_late || now >= catch_up_end);
            if is_over || config.stop.is_set() {
                thread::sleep(config.drain.min(LAST_ANSWERS));
                self.read_answers(self.sockets.len());
                return self.into_report(due, sending);
            }
            if !is_late {
                thread::sleep(TICK);
            }
        }
    }

    fn send_next(&mut self) {
        let socket = &self.sockets[self.tried as usize % self.sockets.len()];
        // The pool's length and the number of sockets may have a common divisor: then each socket
        // would send some datagrams only.
        let round = self.tried as usize / self.sockets.len();
        let index = (self.tried as usize + round) % self.datagrams.len();
        if socket.send(&self.datagrams[index]).is_ok() {
            self.sent += 1;
        }
        self.tried += 1;
    }

    fn read_answers(&mut self, sockets: usize) {
        let mut buffer = [0; 2048];
        for _ in 0..sockets.min(self.sockets.len()) {
            self.next_answer_socket = (self.next_answer_socket + 1) % self.sockets.len();
            loop {
                match self.sockets[self.next_answer_socket].recv(&mut buffer) {
                    Ok(_) => self.answers += 1,
                    // An ICMP answer to what was sent, reported once.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(_) => break,
                }
            }
        }
    }

    fn into_report(self, due: u64, sending: Duration) -> GarbageReport {
        let mut failed_checks = Vec::new();
        if (self.sent as f64) < SENT_SHARE * due as f64 {
            failed_checks.push(format!(
                "the generator sent only {} of {due} datagrams that were due, so the gateway was \
                 not tested as the scenario wants; use more CPUs or lower rates",
                self.sent
            ));
        }
        if let Some(limit) = self.garbage.max_answers
            && self.answers > limit
        {
            failed_checks.push(format!(
                "{} datagrams answered garbage, more than the {limit} allowed",
                self.answers
            ));
        }
        GarbageReport {
            name: self.garbage.name.clone(),
            kinds: self.garbage.kinds.clone(),
            due,
            sent: self.sent,
            // One that was told to stop at once has sent nothing.
            sent_pps: self.sent as f64 / sending.as_secs_f64().max(f64::MIN_POSITIVE),
            answers: self.answers,
            failed_checks,
        }
    }
}

/// The datagrams of all kinds in turn, as many of each.
fn mixed(pools: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    let longest = pools.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest)
        .flat_map(|index| {
            pools
                .iter()
                .filter_map(move |pool| pool.get(index % pool.len().max(1)))
        })
        .cloned()
        .collect()
}

/// The addresses garbage comes from, in turn: from the last one down, since tunnels count from the
/// first one up.
struct Ips(Vec<IpAddr>);

impl Ips {
    /// At most so many are used.
    const MAX: usize = 65_536;

    fn new(config: &LoadConfig) -> Self {
        let unspecified: IpAddr = match config.gateway {
            SocketAddr::V4(_) => [0; 4].into(),
            SocketAddr::V6(_) => [0; 16].into(),
        };
        let hosts = |net: IpNet| -> Vec<IpAddr> { net.hosts().take(Self::MAX).collect() };
        let mut ips = config.source_ips.map(hosts).unwrap_or_default();
        ips.reverse();
        if ips.is_empty() {
            ips.push(config.source_ips.map_or(unspecified, |net| net.addr()));
        }
        Self(ips)
    }

    fn get(&self, index: usize) -> IpAddr {
        self.0[index % self.0.len()]
    }
}

fn connected_socket(ip: IpAddr, gateway: SocketAddr) -> Result<UdpSocket, LoadError> {
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0))
        .map_err(LoadError::io("bind a socket of garbage"))?;
    socket
        .connect(gateway)
        .map_err(|source| LoadError::NoRoute { gateway, source })?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identities;

    /// A socket that nobody reads, and what says that it is the gateway.
    fn silent_gateway() -> (UdpSocket, LoadConfig) {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let config = LoadConfig::new(address, [9; 32], Identities::from_seed(1, 1));
        (silent, config)
    }

    fn garbage(kind: GarbageKind, pps: f64) -> Garbage {
        Garbage {
            name: "garbage".to_owned(),
            kinds: vec![kind],
            pps,
            sockets: 1,
            max_answers: None,
        }
    }

    #[test]
    fn a_tunnel_to_replay_is_not_waited_for_once_told_to_stop() {
        let (_silent, config) = silent_gateway();
        config.stop.set();
        let garbage = garbage(GarbageKind::Replay, 1.0);
        let sender = GarbageSender::new(&garbage, &config, config.identities.secrets().first());
        assert!(matches!(sender, Err(LoadError::Interrupted)));
    }

    #[test]
    fn garbage_that_is_more_than_can_be_sent_ends_with_its_phase_and_fails() {
        let (_silent, mut config) = silent_gateway();
        config.warm_up = Duration::ZERO;
        config.duration = Duration::from_millis(20);
        config.drain = Duration::ZERO;
        let garbage = garbage(GarbageKind::Random, 1e9);
        let sender = GarbageSender::new(&garbage, &config, None).unwrap();
        let report = sender.work(&config, |_| {});
        assert_eq!(report.due, 20_000_000);
        assert!(report.sent > 0 && report.sent < report.due);
        assert_eq!(report.sent_pps, report.sent as f64 / 0.02);
        let failed = &report.failed_checks;
        assert!(
            failed[0].starts_with("the generator sent only"),
            "{failed:?}"
        );
    }

    #[test]
    fn kinds_take_turns_however_many_datagrams_they_have() {
        let pool =
            |name: u8, count: u8| -> Vec<Vec<u8>> { (0..count).map(|i| vec![name, i]).collect() };
        let mixed = mixed(&[pool(1, 4), pool(2, 2)]);
        let wanted = [
            [1, 0],
            [2, 0],
            [1, 1],
            [2, 1],
            [1, 2],
            [2, 0],
            [1, 3],
            [2, 1],
        ];
        assert_eq!(mixed, wanted.map(Vec::from));
    }
}
