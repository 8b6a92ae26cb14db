//! A shard under steps that the input encodes, on a mock clock.

use std::time::{Duration, Instant};

use arbitrary::{Result, Unstructured};
use mock_instant::thread_local::MockClock;

use testkit::shard::steps::{CLIENTS, Run, Step};

/// Time between steps: an initiation that is not later than the previous one is stale.
const STEP_TIME: Duration = Duration::from_millis(1);

/// Maximum number of steps: more take long and find no more.
const STEPS_MAX: usize = 200;

/// Runs the steps that `data` encodes, starting with two established tunnels.
pub fn run(data: &[u8]) {
    MockClock::set_time(Duration::ZERO);
    let mut run = Run::new(Instant::now());
    for client in 0..2 {
        pass(&mut run, STEP_TIME);
        connect(&mut run, client);
    }
    assert_eq!(run.shard.server.tunnel_count(), 2);
    let mut input = Unstructured::new(data);
    for _ in 0..STEPS_MAX {
        let Ok(step) = next_step(&mut input) else {
            break;
        };
        let time = match &step {
            // `Run` advances the time of the shard itself.
            Step::Timers { millis } => {
                MockClock::advance(Duration::from_millis(*millis));
                Duration::ZERO
            }
            _ => STEP_TIME,
        };
        pass(&mut run, time);
        run.step(step);
    }
}

/// Completes a handshake, including the client's confirmation.
fn connect(run: &mut Run, client: u16) {
    run.step(Step::Initiate { client });
    for _ in 0..2 {
        run.step(Step::Arrive { pick: 0 });
        run.step(Step::Deliver);
    }
}

/// Advances the time of the shard, its clients, and the WireGuard state machines of both.
fn pass(run: &mut Run, time: Duration) {
    MockClock::advance(time);
    run.shard.now += time;
}

/// Decodes the next step: one byte for its kind, then its parameters. An error at the end of the input.
fn next_step(input: &mut Unstructured<'_>) -> Result<Step> {
    let kind: u8 = input.arbitrary()?;
    if kind == u8::MAX {
        return Ok(Step::EndSessions);
    }
    Ok(match kind % 15 {
        0 => Step::Arrive { pick: byte(input)? },
        1 => Step::Deliver,
        2 => Step::Initiate {
            client: client(input)?,
        },
        3 => Step::Send {
            client: client(input)?,
            len: byte(input)?,
        },
        4 => Step::Outgoing {
            client: client(input)?,
            len: byte(input)?,
        },
        5 => Step::Duplicate { pick: byte(input)? },
        6 => Step::Lose { pick: byte(input)? },
        7 => Step::Damage {
            pick: byte(input)?,
            bit: input.arbitrary::<u16>()?.into(),
        },
        8 => Step::Elsewhere {
            pick: byte(input)?,
            client: client(input)?,
        },
        9 => Step::Forge {
            pick: byte(input)?,
            at: byte(input)?,
            bytes: bytes(input)?,
        },
        10 => Step::Garbage {
            client: client(input)?,
            bytes: bytes(input)?,
        },
        11 => Step::Revoke {
            client: client(input)?,
        },
        12 => Step::Grant {
            client: client(input)?,
        },
        13 => Step::Restart {
            client: client(input)?,
        },
        _ => Step::Timers {
            // Up to 11 minutes, which covers all timers of WireGuard.
            millis: u64::from(input.arbitrary::<u16>()?) * 10,
        },
    })
}

fn byte(input: &mut Unstructured<'_>) -> Result<usize> {
    Ok(input.arbitrary::<u8>()?.into())
}

fn client(input: &mut Unstructured<'_>) -> Result<u16> {
    Ok(u16::from(input.arbitrary::<u8>()?) % (CLIENTS + 1))
}

/// Decodes a length byte and that many bytes, or the rest of the input.
fn bytes(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let length = byte(input)?.min(input.len());
    Ok(input.bytes(length)?.to_vec())
}
