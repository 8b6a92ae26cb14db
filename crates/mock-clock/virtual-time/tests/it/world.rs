//! A shard, its clients and the time they live in.

use std::time::Duration;

use snaptun::{ShardConfig, Transmit};
use snaptun_virtual_time::VirtualClock;

use testkit::shard::{Client, In, Received, Shard};

/// As often as clients look at their timers, and as every tunnel of the shard has its turn.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// The shard notices within so long that a timer of a tunnel is due: it looks once a second, at a turn.
pub(crate) const LOOK: Duration = Duration::from_millis(1250);

/// The same for a tunnel that nothing passed for a while: it looks every 4 s.
pub(crate) const QUIET_LOOK: Duration = Duration::from_millis(4250);

pub(crate) struct World {
    clock: VirtualClock,
    pub(crate) shard: Shard,
}

impl World {
    pub(crate) fn new() -> Self {
        World::with(ShardConfig::default())
    }

    pub(crate) fn with(config: ShardConfig) -> Self {
        let clock = VirtualClock::start();
        let shard = Shard::new(clock.now(), config);
        World { clock, shard }
    }

    /// Lets time pass in which nobody does anything.
    pub(crate) fn sleep(&mut self, time: Duration) {
        self.clock.advance(time);
        self.shard.now = self.clock.now();
    }

    /// Lets time pass in which the shard looks at its timers. Returns what it sent.
    pub(crate) fn run_shard(&mut self, time: Duration) -> Vec<Transmit> {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            self.sleep(TICK.min(end - self.clock.now()));
            self.shard.update_timers();
        }
        self.shard.take_sent()
    }

    /// Lets a tick pass for the shard and a client, with all that follows from their timers. Returns
    /// the packets that the client received.
    pub(crate) fn tick(&mut self, client: &mut Client) -> Vec<Vec<u8>> {
        self.sleep(TICK);
        self.shard.update_timers();
        if let Ok(Some(datagram)) = client.update_timers() {
            self.shard.incoming(&datagram, client.endpoint);
        }
        self.exchange(client)
    }

    /// Carries datagrams to and fro until there are none. Returns the packets that the client received.
    pub(crate) fn exchange(&mut self, client: &mut Client) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some(transmit) = self.shard.sent.pop_front() {
            assert_eq!(transmit.to, client.endpoint);
            match client.receive(&transmit.packet) {
                Received::Data(packet) if packet.is_empty() => {}
                Received::Data(packet) => packets.push(packet),
                Received::Answer(datagram) => {
                    let fate = self.shard.incoming(&datagram, client.endpoint);
                    assert!(matches!(fate, In::Consumed(_)), "{fate:?}");
                }
                Received::Cookie => {}
                Received::Refused => panic!("the client refused a datagram"),
            }
        }
        packets
    }
}
