//! Effects of attacks on the clients of a gateway process. `scripts/bench.sh attacks --help` describes the usage,
//! `docs/SECURITY.md` has results.
//!
//! A hundred tunnels carry 20,000 round trips per second through a gateway with one worker and the default limits,
//! first without an attack, then under each attack. Meanwhile a new client connects, and others renew their sessions.
//! The latency under a flood of initiations is compared with the latency while the attacker sends to another socket.
//! Attacks whose datagrams merge with the packets of a client (GRO) need links: there the gateway, one client with
//! 5,000 round trips per second, and the attacker are in network namespaces.

mod arguments;
mod attack;
mod attacker;
mod case;
mod counters;
mod exhausted;
mod flood;
mod forged_data;
mod half_open;
mod idle_http;
mod initiation;
mod many_tunnels;
mod rekeys;
mod result;
mod sender;
mod site;
mod spoofed;
mod tiny_trains;

use std::process::ExitCode;

use crate::harness::{self, Programs};

/// Runs the benchmark with the arguments of the process.
#[must_use]
pub fn main(programs: Programs) -> ExitCode {
    harness::main::<arguments::Arguments>(programs)
}
