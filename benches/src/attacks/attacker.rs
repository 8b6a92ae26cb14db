//! The attacker: a thread that sends at a given rate, or as fast as possible.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use snaptun::StaticSecret;
use testkit::messages::Forgery;

use super::attack::{Attack, GARBAGE_PER_SECOND, SPOOFED_PER_SECOND, SPOOFED_SLOWLY_PER_SECOND};
use super::exhausted::Exhausted;
use super::flood::Flood;
use super::forged_data::{ForgedData, watch};
use super::half_open::HalfOpen;
use super::idle_http::IdleHttp;
use super::many_tunnels::ManyTunnels;
use super::site::Site;
use super::spoofed::{Spoofed, Victim};
use super::tiny_trains::TinyTrains;
use crate::StepError;
use crate::cpu::{self, Placement};
use crate::harness::error::BenchError;

/// Nice value of the attacker, above the load's, with which it shares a CPU if there are only two: the attacker gets
/// the rest of that CPU, and at least a quarter.
const NICENESS: i32 = 5;

/// An implementation of an attack.
pub(crate) trait Attacker {
    /// Sends a batch, as far as the queue has room, and counts answers.
    fn send_batch(&mut self, tally: &mut Tally) -> io::Result<()>;

    /// Rate of datagrams per second; `None` if as fast as possible.
    fn wanted_per_second(&self) -> Option<u64> {
        None
    }
}

/// Counters of an attacker.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Tally {
    /// Datagrams sent, or connections opened.
    pub(crate) sent: u64,
    /// Datagrams received.
    pub(crate) answers: u64,
    /// Rate of datagrams per second; `None` if as fast as possible.
    pub(crate) wanted_per_second: Option<u64>,
    /// Probes of the gateway during the attack.
    pub(crate) probes: u64,
    /// Successful probes.
    pub(crate) probes_answered: u64,
    /// Time of the slowest probe.
    pub(crate) slowest_probe_seconds: Option<f64>,
    /// Duration of the attack.
    pub(crate) seconds: f64,
}

/// Target of an attack.
pub(crate) struct Aim<'a> {
    pub(crate) site: &'a Site,
    pub(crate) gateway: SocketAddr,
    pub(crate) metrics: SocketAddr,
    /// Clients that renew their sessions.
    pub(crate) clients: &'a [Victim],
    /// Private key of an authorized identity that only the attacker uses.
    pub(crate) insider: &'a StaticSecret,
    /// Private keys of further authorized identities of the attacker.
    pub(crate) accomplices: &'a [StaticSecret],
}

/// Prepares an attack, while the gateway and its tunnels carry packets.
pub(crate) fn prepare(
    attack: Attack,
    aim: &Aim<'_>,
) -> Result<Box<dyn Attacker + Send>, BenchError> {
    let (gateway, insider) = (aim.gateway, aim.insider);
    Ok(match attack {
        Attack::Garbage => Box::new(Flood::of_garbage(gateway, GARBAGE_PER_SECOND)?),
        Attack::TinyTrains => Box::new(TinyTrains::new(gateway)?),
        Attack::TrainGarbage => merged(attack, aim, Forgery::Garbage)?,
        Attack::TrainMac1 => merged(attack, aim, Forgery::WrongMac1)?,
        Attack::TrainData => merged(attack, aim, Forgery::Data)?,
        Attack::TrainMixed => merged(attack, aim, Forgery::Mixed)?,
        Attack::Strangers => Box::new(Flood::of_strangers(gateway)?),
        Attack::OneAddress => Box::new(Flood::of_one_address(gateway)?),
        Attack::Mac1At100 => Box::new(Spoofed::initiations(aim, SPOOFED_SLOWLY_PER_SECOND)?),
        Attack::Mac1At20k => Box::new(Spoofed::initiations(aim, SPOOFED_PER_SECOND)?),
        Attack::Exhausted => Box::new(Exhausted::new(aim)?),
        Attack::Replay => Box::new(Flood::of_replays(gateway, insider)?),
        Attack::Future => Box::new(Flood::of_future(gateway, insider)?),
        Attack::ManyTunnels => Box::new(ManyTunnels::new(gateway, insider)?),
        Attack::ForgedData => Box::new(ForgedData::new(gateway)?),
        Attack::HalfOpen => Box::new(HalfOpen::new(aim)?),
        Attack::IdleHttp => Box::new(IdleHttp::new(aim.metrics)),
    })
}

/// Prepares messages with the addresses of the load's tunnel and of the clients that renew their sessions.
fn merged(
    attack: Attack,
    aim: &Aim<'_>,
    forgery: Forgery,
) -> Result<Box<dyn Attacker + Send>, BenchError> {
    let SocketAddr::V4(gateway) = aim.gateway else {
        return Err(StepError::Tunnel("the gateway must have an IPv4 address").into());
    };
    let failed = attack.failed("watch the clients by a raw socket");
    let mut victims: Vec<Victim> = aim.clients.to_vec();
    let seen = aim.site.at_gateway(|| watch(gateway)).map_err(failed)?;
    let of_load = seen
        .into_iter()
        .map(|(address, session)| Victim {
            address,
            receiver: session.receiver,
        })
        .find(|seen| !victims.iter().any(|client| client.address == seen.address))
        .ok_or(StepError::Tunnel("no data message of the load seen"))?;
    victims.push(of_load);
    Ok(Box::new(Spoofed::new(
        aim.site,
        aim.gateway,
        forgery,
        &victims,
        SPOOFED_PER_SECOND,
    )?))
}

/// Attacks until `done`.
pub(crate) fn attack(
    placement: &Placement,
    attack: Attack,
    mut attacker: Box<dyn Attacker + Send>,
    done: &AtomicBool,
) -> Result<Tally, BenchError> {
    cpu::pin(cpu_of_attacker(placement))?;
    rustix::process::setpriority_process(None, NICENESS)
        .map_err(|errno| attack.failed("lower the priority of the attacker")(errno.into()))?;
    let started = Instant::now();
    let mut tally = Tally::default();
    while !done.load(Ordering::Relaxed) {
        attacker
            .send_batch(&mut tally)
            .map_err(attack.failed("send and receive"))?;
    }
    tally.seconds = started.elapsed().as_secs_f64();
    tally.wanted_per_second = attacker.wanted_per_second();
    Ok(tally)
}

/// Returns a CPU of neither the gateway nor the load, or, if there is none, the CPU of the load.
fn cpu_of_attacker(placement: &Placement) -> usize {
    placement
        .usable
        .iter()
        .copied()
        .find(|cpu| *cpu != placement.gateway && *cpu != placement.load)
        .unwrap_or(placement.load)
}
