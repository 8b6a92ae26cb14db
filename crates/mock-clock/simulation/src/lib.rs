//! Many clients against the shards of a gateway, through a bad network, for hours, in virtual time.
//!
//! A seed decides everything: who is there, what goes wrong, how often and when (`scenario.rs`). The loop is in
//! `world.rs`: one event after the other, and after each the invariants, seen from outside the shards.
//!
//! # The same seed gives the same events again
//!
//! - Time is virtual, and moves from event to event (`clock.rs`). The clock of the day, which `ana-gotatun`
//!   reads for its timestamps, is made to follow it.
//! - Hashers and jitter of the shards are seeded: feature `simulation` of `snaptun`.
//! - Keys and nonces are those of the operating system, and nothing that is recorded depends on their values.
//!
//! # What it finds
//!
//! Bugs put into the shard on purpose, and the first of the seeds from 0 on that noticed:
//!
//! | bug | first seed | noticed as |
//! | --- | --- | --- |
//! | an identity may have one tunnel too many | 7 | the limit |
//! | a newcomer gets the address of a tunnel that talks | 0 | a tunnel in use that is gone |
//! | a response that was held back is accepted | 12 | the age of a response |
//! | sessions are used before their peer has | 0 | a packet in such a session |
//! | answers do not follow the client to another address of ours | 3 | a packet that left by another way |
//! | the replay guard accepts everything | 0 | an initiation answered twice |
//! | a grant is kept after its revocation | 0 | a packet with session data of old |
//! | a grant is kept after its end | 0 | a tunnel that outlives its grant |
//! | a handshake is not counted | 0 | unbalanced messages |
//! | no newcomer gets the address of a silent tunnel | 0 | a client that is not served |
//! | no cookie is good | 0 | a client that is not served |
//! | timers do not look at grants | 0 | a message to an address without a grant |
//! | half-open tunnels that go stay counted | 0 | unbalanced half-open tunnels |
//! | packets that wait stay when their tunnel goes | 10 | the limit |
//! | the budgets of handshakes are not renewed | 1 | a client that is not served |
//! | a shard may have one tunnel too many | 2 | the limit |
//! | a move ends the newer tunnel | 1 | a client that is not served |
//!
//! What it found without being asked: a response that was held back, to an initiation before the last, began
//! a session that the client forgets before the gateway does. For up to 15 s nothing reached the client.

mod addresses;
mod agenda;
mod attackers;
mod client;
mod clock;
mod coverage;
mod disturbances;
mod fault_free;
mod gateway;
mod inspection;
mod ledger;
mod packets;
mod registry;
mod scenario;
mod trace;
mod traffic;
mod violation;
mod world;

use std::fmt;
use std::time::Duration;

use crate::trace::Trace;
use crate::world::World;

pub use crate::coverage::Coverage;
pub use crate::trace::Line;
pub use crate::violation::Violation;

/// A simulation that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of all that happened, in order. The same for the same seed.
    pub digest: u64,
    /// How many events there were.
    pub steps: u64,
    /// Which events the simulation had.
    pub coverage: Coverage,
}

/// A simulation in which an invariant did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one.
    pub violation: Violation,
    /// The seed.
    pub seed: u64,
    /// The event after which it did not hold.
    pub step: u64,
    /// The time since the start.
    pub at: Duration,
    /// What happened last.
    pub last: Vec<String>,
    /// What the seed made of the world.
    pub scenario: String,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.scenario)?;
        for line in &self.last {
            writeln!(f, "{line}")?;
        }
        write!(
            f,
            "seed {} failed at step {}, after {:.3} s: {}",
            self.seed,
            self.step,
            self.at.as_secs_f64(),
            self.violation
        )
    }
}

/// Simulates the world of a seed for some time, and tells `watch` all that happens.
///
/// # Errors
/// An invariant did not hold.
pub fn simulate(
    seed: u64,
    length: Duration,
    watch: Option<&mut dyn FnMut(&Line)>,
) -> Result<Outcome, Box<Failure>> {
    let mut world = World::new(seed, Trace::new(watch));
    match world.run(length) {
        Ok(()) => Ok(Outcome {
            digest: world.trace.digest(),
            steps: world.trace.steps(),
            coverage: world.coverage,
        }),
        Err(violation) => Err(Box::new(Failure {
            violation,
            seed,
            step: world.trace.steps(),
            at: world.clock.elapsed(),
            last: world.trace.last(),
            scenario: format!("{:#?}", world.scenario),
        })),
    }
}
