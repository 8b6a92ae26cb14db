//! The gateway as a process, under attack: what its clients notice. `scripts/bench.sh attacks --help` says
//! how to use it, `docs/SECURITY.md` shows what came out.
//!
//! A hundred tunnels carry 20,000 round trips a second through a gateway with one worker and the default limits,
//! first in peace, then under each attack. Meanwhile a new client connects, and others renew their sessions. The
//! latency under a flood of initiations is compared with that of the same load while the attacker sends to
//! another socket. What merges with the packets of a client (GRO) needs links, so there the gateway, one client with
//! 5,000 round trips a second and the attacker are in network namespaces.

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

/// What the command line asks for; `programs` are what cargo built with the benchmark.
#[must_use]
pub fn main(programs: Programs) -> ExitCode {
    harness::main::<arguments::Arguments>(programs)
}
