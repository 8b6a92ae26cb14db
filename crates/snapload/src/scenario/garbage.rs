//! Sending garbage, from its own sockets and thread.

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

/// Period in which due datagrams are sent.
const TICK: Duration = Duration::from_millis(1);

/// Maximum number of datagrams sent before answers and the clock are read: some milliseconds of work.
const DATAGRAMS_PER_TURN: u64 = 1024;

/// Share of the due datagrams that must be sent for the scenario's load to count as reached.
const SENT_SHARE: f64 = 0.995;

/// Number of sockets read for answers per tick.
const SOCKETS_PER_TICK: usize = 16;

/// Maximum time to wait for the last answers.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// Result of a garbage population.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct GarbageReport {
    /// Name of the population.
    pub name: String,
    /// Kinds of datagrams sent.
    pub kinds: Vec<GarbageKind>,
    /// Datagrams that were due.
    pub due: u64,
    /// Datagrams that the kernel accepted.
    pub sent: u64,
    /// Datagrams sent per second.
    pub sent_pps: f64,
    /// Datagrams received.
    pub answers: u64,
    /// Failed checks, each as a sentence.
    pub failed_checks: Vec<String>,
}

/// Garbage that is ready to be sent.
pub(super) struct GarbageSender<'a> {
    garbage: &'a Garbage,
    sockets: Vec<UdpSocket>,
    datagrams: Vec<Vec<u8>>,
    /// Number of datagrams passed to the kernel, and of those it accepted.
    tried: u64,
    sent: u64,
    answers: u64,
    next_answer_socket: usize,
}

impl<'a> GarbageSender<'a> {
    /// Binds the sockets and makes the datagrams. `identity` is the identity of a real tunnel, for replays.
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
        // The real tunnel has its own socket, which sends no garbage.
        let honest_socket = connected_socket(ips.get(garbage.sockets), config.gateway)?;
        let sockets = (0..garbage.sockets)
            .map(|index| {
                let socket = connected_socket(ips.get(index), config.gateway)?;
                socket
                    .set_nonblocking(true)
                    .map_err(LoadError::io("make a garbage socket non-blocking"))?;
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

    /// Sends until the end of the phase, warm-up included, or until stopped. `progress` is called about once per
    /// interval with the number of datagrams sent since the warm-up.
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
        // The shift per round lets every socket send every datagram, even if their numbers have a common divisor.
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
                    // ICMP error for an earlier datagram, reported once.
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
                "the generator sent only {} of {due} due datagrams, so the scenario's load was not reached; use more \
                 CPUs or lower rates",
                self.sent
            ));
        }
        if let Some(limit) = self.garbage.max_answers
            && self.answers > limit
        {
            failed_checks.push(format!(
                "garbage got {} answers; the limit is {limit}",
                self.answers
            ));
        }
        GarbageReport {
            name: self.garbage.name.clone(),
            kinds: self.garbage.kinds.clone(),
            due,
            sent: self.sent,
            // The time is zero if the run was stopped at once.
            sent_pps: self.sent as f64 / sending.as_secs_f64().max(f64::MIN_POSITIVE),
            answers: self.answers,
            failed_checks,
        }
    }
}

/// Returns the datagrams of all kinds in turn, repeating the shorter pools.
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

/// Source addresses of garbage, used in turn: from the last one downwards, since tunnels count from the first upwards.
struct Ips(Vec<IpAddr>);

impl Ips {
    /// Maximum number of addresses.
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
    let socket =
        UdpSocket::bind(SocketAddr::new(ip, 0)).map_err(LoadError::io("bind a garbage socket"))?;
    socket
        .connect(gateway)
        .map_err(|source| LoadError::NoRoute { gateway, source })?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identities;

    /// Returns a socket that does not answer, and a configuration with it as the gateway.
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
    fn waiting_for_a_tunnel_to_replay_ends_when_stopped() {
        let (_silent, config) = silent_gateway();
        config.stop.set();
        let garbage = garbage(GarbageKind::Replay, 1.0);
        let sender = GarbageSender::new(&garbage, &config, config.identities.secrets().first());
        assert!(matches!(sender, Err(LoadError::Interrupted)));
    }

    #[test]
    fn garbage_at_an_unreachable_rate_ends_with_its_phase_and_fails() {
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
    fn kinds_take_turns_whatever_their_number_of_datagrams() {
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
