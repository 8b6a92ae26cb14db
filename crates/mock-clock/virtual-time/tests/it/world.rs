//! A shard and its clients in virtual time.

use std::time::Duration;

use snaptun::{ShardConfig, Transmit};
use snaptun_virtual_time::VirtualClock;

use testkit::shard::{Client, In, Received, Shard};

/// Interval at which clients check their timers, and at which the shard visits every tunnel.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// Maximum delay until the shard sees a due timer: it checks once a second, at a visit.
pub(crate) const LOOK: Duration = Duration::from_millis(1250);

/// The same for a quiet tunnel, which is checked every 4 s.
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

    /// Advances the time without any activity.
    pub(crate) fn sleep(&mut self, time: Duration) {
        self.clock.advance(time);
        self.shard.now = self.clock.now();
    }

    /// Advances the time while the shard checks its timers. Returns the datagrams that it sent.
    pub(crate) fn run_shard(&mut self, time: Duration) -> Vec<Transmit> {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            self.sleep(TICK.min(end - self.clock.now()));
            self.shard.update_timers();
        }
        self.shard.take_sent()
    }

    /// Advances the time by a tick with the timers of the shard and a client. Returns the packets that the client
    /// received.
    pub(crate) fn tick(&mut self, client: &mut Client) -> Vec<Vec<u8>> {
        self.sleep(TICK);
        self.shard.update_timers();
        if let Ok(Some(datagram)) = client.update_timers() {
            self.shard.incoming(&datagram, client.endpoint);
        }
        self.exchange(client)
    }

    /// Exchanges datagrams until there are none. Returns the packets that the client received.
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
