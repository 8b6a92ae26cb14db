//! Faults and changes.

use std::sync::Arc;
use std::time::Duration;

use rand::{Rng as _, RngCore as _};
use snaptun::{Endpoint, ReplayGuard};

use crate::attackers::Attackers;
use crate::client::{Client, Origin};
use crate::clock::Ahead;
use crate::gateway::Gateway;
use crate::scenario::{Disturbance, Flood};
use crate::trace::Happening;
use crate::world::{Event, World, some_via};

/// Mean time until an identity gets its grant back.
const WITHOUT_GRANT: Duration = Duration::from_secs(60);

/// Mean time for which a gateway drains before it ends.
const DRAIN: Duration = Duration::from_secs(30);

/// Maximum number of datagrams in a flood: each costs the simulation up to 0.3 ms.
const FLOOD_MAX: u32 = 100;

impl World<'_> {
    pub(crate) fn disturb(&mut self, disturbance: Disturbance) {
        let now = self.clock.elapsed();
        if self.fault_free.is_some() && !is_harmless(disturbance) {
            return;
        }
        let client = self.rng.random_range(0..self.clients.len());
        let identity = self.scenario.identity_of(client);
        let whom = match disturbance {
            Disturbance::GatewayRestart
            | Disturbance::Suspend
            | Disturbance::EndSessions
            | Disturbance::QuietHour
            | Disturbance::Flood(_) => None,
            Disturbance::Revoke | Disturbance::Expire | Disturbance::ChangeSession => {
                Some(identity)
            }
            _ => Some(client),
        };
        self.trace
            .note(now, Happening::Disturbed { disturbance, whom });
        match disturbance {
            Disturbance::Roam => self.roam(client),
            Disturbance::Swap => self.swap(client),
            Disturbance::OtherWay => {
                self.clients[client].via = some_via(&mut self.rng);
            }
            Disturbance::ClientRestart => {
                self.clients[client].away_until = now + self.some_seconds(30);
                let via = some_via(&mut self.rng);
                self.clients[client].restart(&self.clock, via);
            }
            Disturbance::CutOff => {
                self.clients[client].cut_off_until = now + self.some_seconds(300);
            }
            Disturbance::Sleep => {
                self.clients[client].away_until = now + self.some_seconds(1_800);
            }
            Disturbance::QuietHour => {
                let until = now + self.some_seconds(2_400);
                for client in &mut self.clients {
                    client.away_until = until;
                }
            }
            Disturbance::GatewayRestart => {
                if self.gateway.is_draining() || self.is_suspended() {
                    return;
                }
                if self.rng.random() {
                    self.gateway.drain();
                    self.add_in(DRAIN, Event::DrainEnds);
                } else {
                    self.restart_gateway();
                }
            }
            Disturbance::Suspend => {
                let time = self.some_seconds(600);
                self.suspend_gateway(time);
            }
            Disturbance::EndSessions => self.gateway.end_sessions(),
            Disturbance::Revoke | Disturbance::Expire | Disturbance::ChangeSession => {
                self.change_grant(disturbance, client, identity);
            }
            Disturbance::Flood(flood) => {
                let gap = Duration::from_millis(self.rng.random_range(1..100));
                let left = self.rng.random_range(0..FLOOD_MAX);
                self.add_in(gap, Event::Attack { flood, gap, left });
            }
        }
    }

    /// Suspends the gateway's host for some time from now, or resumes it.
    pub(crate) fn suspend_gateway(&mut self, time: Duration) {
        self.suspended_until = self.clock.elapsed() + time;
        self.gateway.runs_since = self.clock.now() + time;
    }

    /// Restarts the gateway. The new process remembers the tunnels of the old one with a probability of one half.
    pub(crate) fn restart_gateway(&mut self) {
        self.count();
        self.suspend_gateway(Duration::ZERO);
        let new = Gateway::start(
            &self.clock,
            &self.scenario,
            &self.gateway_secret,
            Arc::clone(&self.registry),
            self.rng.next_u64(),
        );
        let old = std::mem::replace(&mut self.gateway, new);
        if self.rng.random() {
            self.gateway.remember(self.clock.now(), &old);
        }
        self.attackers.outlive_gateway(&mut self.rng);
        self.trace
            .note(self.clock.elapsed(), Happening::GatewayRestarted);
    }

    fn some_seconds(&mut self, most: u64) -> Duration {
        Duration::from_secs(self.rng.random_range(1..=most))
    }

    /// Moves a client to an unused address, or to one that another client gave up.
    fn roam(&mut self, client: usize) {
        let reuse = self.rng.random_bool(self.scenario.address_reuse);
        let address = if reuse {
            self.addresses.reuse(&mut self.rng)
        } else {
            self.addresses.another(&mut self.rng)
        };
        self.addresses.leave(self.clients[client].address);
        self.move_to(client, address);
    }

    fn swap(&mut self, client: usize) {
        let other = self.rng.random_range(0..self.clients.len());
        let (here, there) = (self.clients[client].address, self.clients[other].address);
        self.move_to(client, there);
        self.move_to(other, here);
    }

    fn move_to(&mut self, client: usize, to: std::net::SocketAddr) {
        self.clients[client].address = to;
        let moved = Happening::Moved { client, to };
        self.trace.note(self.clock.elapsed(), moved);
    }

    /// Changes the grant of an identity. A lost grant returns later.
    fn change_grant(&mut self, disturbance: Disturbance, client: usize, identity: usize) {
        let now = self.clock.now();
        let key = self.clients[client].key();
        match disturbance {
            Disturbance::Revoke => {
                self.registry.revoke(&key, now);
                self.add_in(WITHOUT_GRANT, Event::Grant(client));
            }
            Disturbance::Expire => {
                let time_left = self.some_seconds(300);
                self.registry.grant(key, identity, Some(now + time_left));
                self.add_in(time_left + WITHOUT_GRANT, Event::Grant(client));
            }
            _ if self.registry.session(&key, now).is_some() => {
                self.registry.grant(key, identity, None);
            }
            _ => {}
        }
    }

    /// Sends one datagram of an attacker.
    pub(crate) fn attack(&mut self, flood: Flood) {
        if self.fault_free.is_some() && !is_harmless(Disturbance::Flood(flood)) {
            return;
        }
        let from = self.made_up_address();
        let attack = match flood {
            Flood::Garbage => Some(Attackers::garbage(&mut self.rng, from)),
            Flood::Forgeries => self.attackers.forgery(&mut self.rng),
            Flood::Strangers => self.attackers.stranger(from),
            Flood::Replays => self.attackers.replay(&mut self.rng, from),
            Flood::ManyTunnels => {
                let socket = self.insider_socket();
                self.attackers.insider(socket)
            }
        };
        if let Some(attack) = attack {
            let arrival = Event::AtGateway {
                from: attack.from,
                bytes: attack.bytes,
            };
            self.agenda.add(self.clock.elapsed(), arrival);
        }
    }

    /// Returns the source address of an attack: the address of a client, or a random one.
    fn made_up_address(&mut self) -> Endpoint {
        if self.rng.random_bool(0.3) {
            let client = &self.clients[self.rng.random_range(0..self.clients.len())];
            return Endpoint {
                remote: client.address,
                via: client.via,
            };
        }
        Attackers::address(&mut self.rng)
    }

    /// Returns a new socket of the authorized identity that attacks.
    fn insider_socket(&mut self) -> Client {
        let identity = self.scenario.identities();
        let clock = if self.rng.random_ratio(1, 16) {
            Ahead::By(2 * ReplayGuard::TIMESTAMP_TOLERANCE_DEFAULT)
        } else {
            Ahead::RIGHT
        };
        let origin = Origin {
            secret: [0x11; 32].into(),
            gateway: (&self.gateway_secret).into(),
            clock,
            keeps_alive: false,
        };
        let address = self.addresses.another(&mut self.rng);
        let via = some_via(&mut self.rng);
        let socket = Client::new(&self.clock, origin, address, via);
        let now = self.clock.now();
        if self.registry.session(&socket.key(), now).is_none() {
            self.registry.grant(socket.key(), identity, None);
        }
        socket
    }
}

/// Returns true if clients must be served during the disturbance.
fn is_harmless(disturbance: Disturbance) -> bool {
    match disturbance {
        // It occupies the places of silent tunnels until it is silent itself.
        Disturbance::Flood(flood) => flood != Flood::ManyTunnels,
        _ => false,
    }
}
