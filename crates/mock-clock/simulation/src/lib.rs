//! Simulation of many clients and the shards of a gateway on an unreliable network, over hours of virtual time.
//!
//! The seed determines everything: the clients, the faults, their rates and times (`scenario.rs`). The loop in
//! `world.rs` plays one event after the other, and checks the invariants after each, from outside the shards.
//!
//! # Reproducibility
//!
//! - Time is virtual and moves from event to event (`clock.rs`). The system clock, which `ana-gotatun` reads for its
//!   timestamps, is made to follow it.
//! - Hashers and jitter of the shards are seeded: feature `simulation` of `snaptun`.
//! - Keys and nonces come from the operating system, and nothing recorded depends on their values.
//!
//! # Detected bugs
//!
//! Bugs put into the shard on purpose, and the first seed from 0 that detected each:
//!
//! | bug | first seed | detected as |
//! | --- | --- | --- |
//! | an identity may have one tunnel too many | 7 | the limit |
//! | a newcomer gets the address of a tunnel in use | 0 | a tunnel in use that is gone |
//! | a delayed response is accepted | 12 | the age of a response |
//! | sessions are used before their peer has used them | 0 | a packet in such a session |
//! | answers do not follow the client to another address of the gateway | 3 | a packet that left by another way |
//! | the replay guard accepts everything | 0 | an initiation answered twice |
//! | a grant is kept after its revocation | 0 | a packet with outdated session data |
//! | a grant is kept after its end | 0 | a tunnel that outlives its grant |
//! | a handshake is not counted | 0 | unbalanced messages |
//! | no newcomer gets the address of a silent tunnel | 0 | a client that is not served |
//! | no cookie is valid | 0 | a client that is not served |
//! | timers do not check grants | 0 | a message to an address without a grant |
//! | removed half-open tunnels stay counted | 0 | unbalanced half-open tunnels |
//! | waiting packets stay when their tunnel is removed | 10 | the limit |
//! | the handshake budgets are not renewed | 1 | a client that is not served |
//! | a shard may have one tunnel too many | 2 | the limit |
//! | a move ends the newer tunnel | 1 | a client that is not served |
//!
//! A bug not put in on purpose: a delayed response to the last but one initiation began a session that the client
//! forgot before the gateway did. For up to 15 s nothing reached the client.

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

/// Completed simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Digest of all events in order; the same for the same seed.
    pub digest: u64,
    /// Number of events.
    pub steps: u64,
    /// Events that occurred.
    pub coverage: Coverage,
}

/// Simulation in which an invariant was violated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Violated invariant.
    pub violation: Violation,
    /// Seed of the simulation.
    pub seed: u64,
    /// Number of the event after which the violation was found.
    pub step: u64,
    /// Virtual time since the start.
    pub at: Duration,
    /// Last events before the violation.
    pub last: Vec<String>,
    /// Scenario of the seed.
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

/// Simulates the world of a seed for some time. `watch` gets every event.
///
/// # Errors
/// Fails if an invariant is violated.
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
