//! Clients that renew their sessions during an attack, as clients of WireGuard do every two minutes.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use serde::Serialize;
use snaptun::StaticSecret;
use testkit::{SessionIndexes, Tunnel, TunnelEvent};

use super::half_open::packet_between;
use crate::gateway_public_key;
use crate::harness::error::BenchError;

/// Interval of keepalives: a silent tunnel may lose its address to another client.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// Maximum time between two checks whether the attack is over.
const WAIT: Duration = Duration::from_millis(50);

/// Time limit of a first handshake, and interval between its initiations.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Schedule of renewals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RekeyPlan {
    /// Number of clients.
    pub(crate) clients: usize,
    /// Time from the first session to the first renewal.
    pub(crate) begin_after: Duration,
    /// Time from each new session to the next renewal.
    pub(crate) between: Duration,
    /// Time after which an unanswered initiation is repeated.
    pub(crate) try_again_after: Duration,
    /// Number of consecutive unanswered initiations after which a renewal has failed.
    pub(crate) tries_max: u32,
}

/// Results of renewals.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub(crate) struct Rekeys {
    /// Renewals begun by clients.
    pub(crate) begun: u64,
    /// Renewals that failed.
    pub(crate) failed: u64,
    /// Initiations sent.
    pub(crate) tries: u64,
    /// Maximum number of initiations for one renewal.
    pub(crate) tries_most: u32,
    /// Renewals begun by the gateway.
    pub(crate) begun_by_gateway: u64,
    /// Cookies received by clients.
    pub(crate) cookies: u64,
    /// Duration of the slowest renewal.
    pub(crate) slowest_seconds: f64,
}

impl Rekeys {
    pub(crate) fn add(&mut self, other: Self) {
        self.begun += other.begun;
        self.failed += other.failed;
        self.tries += other.tries;
        self.tries_most = self.tries_most.max(other.tries_most);
        self.begun_by_gateway += other.begun_by_gateway;
        self.cookies += other.cookies;
        self.slowest_seconds = self.slowest_seconds.max(other.slowest_seconds);
    }

    /// Returns a summary: `31 of 32 in 34 tries (2 at most, 5.0 s)`, with the maximum number of tries and of seconds.
    pub(crate) fn text(&self) -> String {
        let Self {
            begun,
            tries,
            tries_most,
            slowest_seconds,
            ..
        } = self;
        if *begun == 0 {
            return "-".to_owned();
        }
        let renewed = begun - self.failed;
        let by_gateway = match self.begun_by_gateway {
            0 => String::new(),
            count => format!(", {count} by gateway"),
        };
        format!(
            "{renewed} of {begun} in {tries} tries ({tries_most} at most, {slowest_seconds:.1} s){by_gateway}"
        )
    }
}

/// A client with a tunnel.
pub(crate) struct Client {
    socket: UdpSocket,
    gateway: SocketAddr,
    tunnel: Tunnel,
    last_keepalive: Instant,
    connected_at: Instant,
    rekeys: Rekeys,
}

impl Client {
    /// Connects from `bind`.
    ///
    /// Errors: [`BenchError::NoAnswer`] after 10 s.
    pub(crate) fn connect(
        identity: &StaticSecret,
        bind: SocketAddr,
        gateway: SocketAddr,
    ) -> Result<Self, BenchError> {
        let public_key = gateway_public_key();
        let socket = UdpSocket::bind(bind).map_err(BenchError::NoPort)?;
        // Packets of a socket that is not connected and does not fragment have IP ID 0, so that spoofed packets merge
        // with them.
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)
            .map_err(|errno| BenchError::Rekey(errno.into()))?;
        let started = Instant::now();
        let mut client = Self {
            socket,
            gateway,
            tunnel: Tunnel::new(identity.clone(), gateway, &public_key),
            last_keepalive: started,
            connected_at: started,
            rekeys: Rekeys::default(),
        };
        while started.elapsed() < CONNECT_WITHIN {
            client.initiate().map_err(BenchError::Rekey)?;
            let answered = client.wait_for_session(CONNECT_AGAIN_AFTER);
            if answered.map_err(BenchError::Rekey)? {
                client.rekeys = Rekeys::default();
                return Ok(client);
            }
        }
        Err(BenchError::NoAnswer)
    }

    /// Returns the address of the client.
    pub(crate) fn address(&self) -> Result<SocketAddr, BenchError> {
        self.socket.local_addr().map_err(BenchError::NoPort)
    }

    pub(crate) fn session(&self) -> SessionIndexes {
        self.tunnel.session()
    }

    /// Sends a packet of `bytes` to another client of the gateway.
    pub(crate) fn send_to(&mut self, to: SocketAddr, bytes: usize) -> Result<(), BenchError> {
        let packet = packet_between(self.address()?, to, bytes)?;
        let datagram = self.tunnel.encrypt(&packet);
        self.send(&datagram).map_err(BenchError::Rekey)
    }

    /// Renews the session until `done`. `phase`, from 0 to 1, spreads clients over the interval between renewals.
    pub(crate) fn rekey(
        mut self,
        plan: &RekeyPlan,
        phase: f64,
        done: &AtomicBool,
    ) -> io::Result<Rekeys> {
        let first = if plan.begin_after.is_zero() {
            plan.between.mul_f64(phase)
        } else {
            plan.begin_after
        };
        let mut due = self.connected_at + first;
        loop {
            while Instant::now() < due {
                if done.load(Ordering::Relaxed) {
                    return Ok(self.rekeys);
                }
                if self.wait_for_session(WAIT.min(due - Instant::now()))? {
                    // The gateway began the renewal.
                    due = self.connected_at + plan.between;
                }
            }
            self.begin_session(plan)?;
            due = Instant::now() + plan.between;
        }
    }

    fn begin_session(&mut self, plan: &RekeyPlan) -> io::Result<()> {
        self.rekeys.begun += 1;
        let begun = Instant::now();
        let mut tries = 0;
        while tries < plan.tries_max {
            tries += 1;
            self.rekeys.tries += 1;
            self.rekeys.tries_most = self.rekeys.tries_most.max(tries);
            self.initiate()?;
            if self.wait_for_session(plan.try_again_after)? {
                let seconds = begun.elapsed().as_secs_f64();
                self.rekeys.slowest_seconds = self.rekeys.slowest_seconds.max(seconds);
                return Ok(());
            }
        }
        self.rekeys.failed += 1;
        Ok(())
    }

    /// Sends an initiation, with the cookie that was demanded before, as in WireGuard.
    fn initiate(&mut self) -> io::Result<()> {
        let initiation = self.tunnel.initiate();
        self.send(&initiation)
    }

    /// Handles datagrams and sends keepalives until `limit`; returns true once there is a new session.
    fn wait_for_session(&mut self, limit: Duration) -> io::Result<bool> {
        let end = Instant::now() + limit;
        let mut datagram = [0; 2048];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.keep_alive()?;
            self.socket.set_read_timeout(Some(left.min(WAIT)))?;
            let bytes = match self.socket.recv_from(&mut datagram) {
                Ok((bytes, _)) => bytes,
                Err(error) if is_nothing(&error) => continue,
                Err(error) => return Err(error),
            };
            let answer = match self.tunnel.handle(&datagram[..bytes]) {
                TunnelEvent::Connected(confirmation) => confirmation,
                TunnelEvent::Response(response) => {
                    self.rekeys.begun_by_gateway += 1;
                    response
                }
                TunnelEvent::Cookie => {
                    self.rekeys.cookies += 1;
                    continue;
                }
                // Includes answers to spoofed messages.
                TunnelEvent::Packet(_)
                | TunnelEvent::Keepalive
                | TunnelEvent::Refused(_)
                | TunnelEvent::NotWireGuard => continue,
            };
            self.send(&answer)?;
            self.connected_at = Instant::now();
            return Ok(true);
        }
    }

    fn keep_alive(&mut self) -> io::Result<()> {
        if !self.tunnel.is_connected() || self.last_keepalive.elapsed() < KEEPALIVE {
            return Ok(());
        }
        self.last_keepalive = Instant::now();
        let keepalive = self.tunnel.encrypt(&[]);
        self.send(&keepalive)
    }

    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        match self.socket.send_to(datagram, self.gateway) {
            Err(error) if !is_nothing(&error) => Err(error),
            // Lost if the buffer is full, as in a network.
            _ => Ok(()),
        }
    }
}

/// Returns true if nothing arrived or the buffer is full, including an ICMP error about an earlier datagram.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(
        error.kind(),
        ConnectionRefused | Interrupted | TimedOut | WouldBlock
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_clients_are_summed() {
        let mut all = Rekeys {
            begun: 3,
            tries: 5,
            tries_most: 3,
            failed: 1,
            slowest_seconds: 0.5,
            ..Rekeys::default()
        };
        all.add(Rekeys {
            begun: 1,
            tries: 2,
            tries_most: 2,
            slowest_seconds: 6.0,
            ..Rekeys::default()
        });
        assert_eq!(all.text(), "3 of 4 in 7 tries (3 at most, 6.0 s)");
        all.begun_by_gateway = 1;
        assert!(all.text().ends_with("s), 1 by gateway"));
        assert_eq!(Rekeys::default().text(), "-");
    }
}
