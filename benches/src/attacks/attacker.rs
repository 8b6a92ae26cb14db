//! Who attacks: a thread that sends as fast as it can.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ana_gotatun::noise::Tunn;
use ana_gotatun::noise::index_table::IndexTable;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use snaptun::{PublicKey, StaticSecret};

use super::attack::Attack;
use super::flood::Flood;
use super::forged_data::ForgedData;
use super::many_tunnels::ManyTunnels;
use crate::cpu::{self, Placement};
use crate::gateway_key;
use crate::peers::error::BenchError;

/// A little below the load, which has the same CPU where there are only two: the attacker has what the load
/// leaves of it, and a quarter in any case.
const NICENESS: i32 = 5;

/// Sends what an attack consists of.
pub(crate) trait Attacker {
    /// Sends a batch, if there is room for it, and takes note of answers.
    fn send_batch(&mut self, tally: &mut Tally) -> io::Result<()>;
}

/// What an attacker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Tally {
    /// Datagrams that the kernel took.
    pub(crate) sent: u64,
    /// Datagrams that came back.
    pub(crate) answers: u64,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// Makes everything that an attack needs. The gateway serves at this time, and its tunnels carry packets.
pub(crate) fn prepare(
    attack: Attack,
    gateway: SocketAddr,
    insider: &StaticSecret,
) -> Result<Box<dyn Attacker + Send>, BenchError> {
    Ok(match attack {
        Attack::Garbage => Box::new(Flood::of_garbage(gateway)?),
        Attack::Strangers => Box::new(Flood::of_strangers(gateway)?),
        Attack::Replay => Box::new(Flood::of_replays(gateway, insider)?),
        Attack::ManyTunnels => Box::new(ManyTunnels::new(gateway, insider)?),
        Attack::ForgedData => Box::new(ForgedData::new(gateway)?),
    })
}

/// Attacks until `done`.
pub(crate) fn attack(
    placement: &Placement,
    attack: Attack,
    mut attacker: Box<dyn Attacker + Send>,
    done: &AtomicBool,
) -> Result<Tally, BenchError> {
    let failed = |step| {
        move |source| BenchError::Attack {
            attack: attack.name(),
            step,
            source,
        }
    };
    cpu::pin(cpu_of_attacker(placement))?;
    rustix::process::setpriority_process(None, NICENESS)
        .map_err(|errno| failed("let the load go first")(errno.into()))?;
    let started = Instant::now();
    let mut tally = Tally::default();
    while !done.load(Ordering::Relaxed) {
        attacker
            .send_batch(&mut tally)
            .map_err(failed("send and receive"))?;
    }
    tally.seconds = started.elapsed().as_secs_f64();
    Ok(tally)
}

/// One that neither the gateway nor the load has, where there is one.
fn cpu_of_attacker(placement: &Placement) -> usize {
    placement
        .usable
        .iter()
        .copied()
        .find(|cpu| *cpu != placement.gateway && *cpu != placement.load)
        .unwrap_or(placement.load)
}

/// Makes clients of the gateway.
pub(crate) struct Clients {
    indices: IndexTable,
    limiter: Arc<RateLimiter>,
    gateway: PublicKey,
}

impl Clients {
    pub(crate) fn new() -> Self {
        let gateway = PublicKey::from(&gateway_key());
        Self {
            indices: IndexTable::from_os_rng(),
            limiter: Arc::new(RateLimiter::new(&gateway, u64::MAX)),
            gateway,
        }
    }

    pub(crate) fn make(&self, identity: StaticSecret, remote: SocketAddr) -> Tunn {
        let (indices, limiter) = (self.indices.clone(), Arc::clone(&self.limiter));
        Tunn::new(identity, self.gateway, None, None, indices, limiter, remote)
    }
}
