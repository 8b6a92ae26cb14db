//! The event loop, with a check of the invariants after each event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use snaptun::{Endpoint, Move, PublicKey, StaticSecret, Via};

use crate::addresses::Addresses;
use crate::agenda::Agenda;
use crate::attackers::Attackers;
use crate::client::{Client, Origin, Sending};
use crate::clock::{Ahead, Clock};
use crate::coverage::Coverage;
use crate::fault_free::{BETWEEN_PERIODS, FaultFreePeriod, PROBE_INTERVAL, TICK};
use crate::gateway::Gateway;
use crate::packets::Packets;
use crate::registry::Registry;
use crate::scenario::{Disturbance, Flood, Scenario, some_time};
use crate::trace::{Happening, Message, Trace};
use crate::violation::Violation;

/// Interval of full inspections.
const INSPECTION_INTERVAL: Duration = Duration::from_secs(10);

/// Timer interval of a client that is away.
const AWAY_TICK: Duration = Duration::from_secs(2);

/// More than there are clients. Clients act at multiples of this number of milliseconds, each with its own offset.
const SLOTS: u64 = 20;

/// Future event.
pub(crate) enum Event {
    /// A datagram arrives at the gateway.
    AtGateway {
        from: Endpoint,
        bytes: Vec<u8>,
    },
    /// A datagram of the gateway arrives at its destination.
    AtClient {
        to: Endpoint,
        bytes: Vec<u8>,
        sent: Sending,
    },
    /// A client checks its timers.
    Tick(usize),
    /// A client sends a packet.
    Speak(usize),
    /// A client sends a packet in a fault-free period.
    Probe(usize),
    /// A packet arrives from SCION.
    FromScion,
    /// A shard is told that an identity uses a newer tunnel elsewhere.
    Move {
        shard: usize,
        moved: Move,
    },
    Disturb(Disturbance, Duration),
    /// The drain of the gateway ends.
    DrainEnds,
    /// The identity of a client is authorized.
    Grant(usize),
    /// An attacker sends a datagram, with `left` more to follow.
    Attack {
        flood: Flood,
        gap: Duration,
        left: u32,
    },
    FaultFreeBegins,
    FaultFreeEnds,
    Inspect,
}

pub(crate) struct World<'w> {
    pub(crate) clock: Clock,
    pub(crate) rng: StdRng,
    pub(crate) scenario: Scenario,
    pub(crate) gateway_secret: StaticSecret,
    pub(crate) gateway: Gateway,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clients: Vec<Client>,
    pub(crate) attackers: Attackers,
    pub(crate) addresses: Addresses,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) fault_free: Option<FaultFreePeriod>,
    /// End of the time in which the gateway's host is suspended.
    pub(crate) suspended_until: Duration,
    pub(crate) packets: Packets,
    /// Sending times of clients' responses by their ephemeral keys.
    pub(crate) responses: HashMap<[u8; 32], Duration>,
    pub(crate) trace: Trace<'w>,
    pub(crate) coverage: Coverage,
}

impl<'w> World<'w> {
    pub(crate) fn new(seed: u64, trace: Trace<'w>) -> Self {
        let clock = Clock::start();
        let mut rng = StdRng::seed_from_u64(seed);
        let scenario = Scenario::of(&mut rng);
        let gateway_secret = secret(&mut rng);
        let registry = Arc::new(Registry::default());
        let gateway = Gateway::start(
            &clock,
            &scenario,
            &gateway_secret,
            Arc::clone(&registry),
            rng.next_u64(),
        );
        let public_key = PublicKey::from(&gateway_secret);
        let mut addresses = Addresses::new(scenario.shared_ips);
        let origins: Vec<_> = (0..scenario.identities())
            .map(|identity| Origin {
                secret: secret(&mut rng),
                gateway: public_key,
                clock: scenario.clock_of(identity),
                keeps_alive: rng.random_bool(0.8),
            })
            .collect();
        let clients: Vec<_> = (0..scenario.clients)
            .map(|client| {
                let origin = origins[scenario.identity_of(client)].clone();
                let address = addresses.another(&mut rng);
                Client::new(&clock, origin, address, some_via(&mut rng))
            })
            .collect();
        for (number, client) in clients.iter().enumerate() {
            registry.grant(client.key(), scenario.identity_of(number), None);
        }
        let stranger = Origin {
            secret: secret(&mut rng),
            gateway: public_key,
            clock: Ahead::RIGHT,
            keeps_alive: false,
        };
        let nowhere = Attackers::address(&mut rng);
        let stranger = Client::new(&clock, stranger, nowhere.remote, nowhere.via);
        let mut world = World {
            packets: Packets::of_clients(clients.len()),
            responses: HashMap::new(),
            clock,
            rng,
            scenario,
            gateway_secret,
            gateway,
            registry,
            clients,
            attackers: Attackers::new(stranger),
            addresses,
            agenda: Agenda::new(),
            fault_free: None,
            suspended_until: Duration::ZERO,
            trace,
            coverage: Coverage::default(),
        };
        world.plan();
        world
    }

    /// Schedules all recurring events.
    fn plan(&mut self) {
        for client in 0..self.clients.len() {
            self.add_for_client(client, TICK, Event::Tick(client));
            self.add_for_client(client, self.scenario.pause, Event::Speak(client));
        }
        self.add_in(self.scenario.pause, Event::FromScion);
        for (disturbance, mean) in self.scenario.disturbances.clone() {
            self.add_in(mean, Event::Disturb(disturbance, mean));
        }
        self.add_in(BETWEEN_PERIODS, Event::FaultFreeBegins);
        self.agenda.add(INSPECTION_INTERVAL, Event::Inspect);
    }

    /// Schedules an event in a random time with this mean.
    pub(crate) fn add_in(&mut self, mean: Duration, event: Event) {
        let at = self.clock.elapsed() + some_time(&mut self.rng, mean);
        self.agenda.add(at, event);
    }

    /// Schedules an action of a client, which may begin a handshake. Every client has its own offset in milliseconds,
    /// so that the order of their timestamps does not depend on the real clock (`Clock::with_right_stamps`).
    pub(crate) fn add_for_client(&mut self, client: usize, mean: Duration, event: Event) {
        let at = self.clock.elapsed() + some_time(&mut self.rng, mean);
        let millis = (at.as_millis() as u64).next_multiple_of(SLOTS) + client as u64 % SLOTS;
        self.agenda.add(Duration::from_millis(millis), event);
    }

    /// Runs the simulation.
    pub(crate) fn run(&mut self, length: Duration) -> Result<(), Violation> {
        loop {
            let (timer_at, shard) = self.gateway.next_timer(&self.clock);
            let timer_at = timer_at.max(self.suspended_until);
            let event_at = self.agenda.next_at().unwrap_or(Duration::MAX);
            let at = timer_at.min(event_at).max(self.clock.elapsed());
            if at > length {
                self.count();
                return self.gateway.inspect_all(self.clock.now());
            }
            self.clock.advance_to(at);
            self.trace.step();
            if timer_at <= event_at {
                let sent = self.gateway.update_timers(self.clock.now(), shard)?;
                self.send_to_clients(sent);
            } else if let Some(event) = self.agenda.take_next() {
                self.happen(event)?;
            }
            self.tell_of_moves();
            self.gateway.check(self.clock.now())?;
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        let now = self.clock.elapsed();
        match event {
            Event::AtGateway { bytes, .. } if self.is_suspended() => {
                let message = Message::of(&bytes);
                self.trace.note(now, Happening::Lost { message });
            }
            Event::AtGateway { from, bytes } => self.arrive_at_gateway(from, &bytes)?,
            Event::AtClient { to, bytes, sent } => self.arrive_at_client(to, &bytes, sent)?,
            Event::Tick(client) => {
                let is_away = self.clients[client].is_away(now);
                let next = if is_away { AWAY_TICK } else { TICK };
                self.agenda.add(now + next, Event::Tick(client));
                if !is_away && let Some(datagram) = self.clients[client].tick() {
                    self.send_to_gateway(client, datagram);
                }
            }
            Event::Speak(client) => {
                self.speak(client);
                self.add_for_client(client, self.scenario.pause, Event::Speak(client));
            }
            Event::Probe(client) => {
                if self.fault_free.is_some() {
                    self.speak(client);
                    self.agenda.add(now + PROBE_INTERVAL, Event::Probe(client));
                }
            }
            Event::FromScion => {
                if !self.is_suspended() {
                    self.come_from_scion()?;
                }
                self.add_in(self.scenario.pause, Event::FromScion);
            }
            Event::Move { shard, moved } if self.is_suspended() => {
                let resumed = self.suspended_until;
                self.agenda.add(resumed, Event::Move { shard, moved });
            }
            Event::Move { shard, moved } => {
                self.gateway.end_older_tunnels(shard, &moved);
                self.trace.note(now, Happening::ToldOfMove { shard });
            }
            Event::Disturb(disturbance, mean) => {
                self.disturb(disturbance);
                self.add_in(mean, Event::Disturb(disturbance, mean));
            }
            Event::DrainEnds => {
                // A fault-free period may have ended the drain already.
                if self.gateway.is_draining() {
                    self.restart_gateway();
                }
            }
            Event::Grant(client) => {
                let key = self.clients[client].key();
                let identity = self.scenario.identity_of(client);
                self.registry.grant(key, identity, None);
                self.trace.note(now, Happening::Granted { identity });
            }
            Event::Attack { flood, gap, left } => {
                self.attack(flood);
                if let Some(left) = left.checked_sub(1) {
                    let next = Event::Attack { flood, gap, left };
                    self.add_for_client(self.clients.len(), gap, next);
                }
            }
            Event::FaultFreeBegins => self.begin_fault_free(),
            Event::FaultFreeEnds => self.end_fault_free()?,
            Event::Inspect if self.is_suspended() => {
                self.agenda.add(self.suspended_until, Event::Inspect);
            }
            Event::Inspect => {
                self.gateway.inspect_all(self.clock.now())?;
                for counters in self.gateway.counters() {
                    let counters = format!("{counters:?}");
                    self.trace.note(now, Happening::Counted { counters });
                }
                self.agenda.add(now + INSPECTION_INTERVAL, Event::Inspect);
            }
        }
        Ok(())
    }

    /// Returns true while the gateway's host is suspended.
    pub(crate) fn is_suspended(&self) -> bool {
        self.clock.elapsed() < self.suspended_until
    }

    /// Passes moves to the other shards after a short delay, as through a mailbox.
    fn tell_of_moves(&mut self) {
        while let Some((moved, others)) = self.gateway.next_move() {
            for shard in others {
                let delay = Duration::from_millis(self.rng.random_range(0..5));
                let at = self.clock.elapsed() + delay;
                let moved = moved.clone();
                self.agenda.add(at, Event::Move { shard, moved });
            }
        }
    }

    /// Adds up the counters of a gateway before it ends.
    pub(crate) fn count(&mut self) {
        for counters in self.gateway.counters() {
            self.coverage.note_counters(&counters);
        }
    }
}

pub(crate) fn secret(rng: &mut StdRng) -> StaticSecret {
    let mut key = [0; 32];
    rng.fill_bytes(&mut key);
    StaticSecret::from(key)
}

/// Returns a random local side of the gateway.
pub(crate) fn some_via(rng: &mut StdRng) -> Via {
    Via {
        listener: rng.random_range(0..2),
        local_ip: None,
    }
}
