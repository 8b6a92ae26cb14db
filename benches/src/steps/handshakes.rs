//! Handshakes, measured for each side.

use std::time::{Duration, Instant};

use crate::{ShardWithTunnels, StepError, cpu};

/// Number of handshakes per batch.
const BATCH_HANDSHAKES: usize = 16;

/// Returns the CPU time in which a shard answers the initiation of an address without a tunnel, in nanoseconds:
/// decrypting the identity, authorizing it, creating the tunnel and the response.
///
/// # Errors
///
/// See [`StepError`].
pub fn measure_answer(budget: Duration) -> Result<f64, StepError> {
    let mut gateway = ShardWithTunnels::new(Instant::now());
    let mut next = 0;
    super::median_of_batches(budget, || {
        let initiations: Vec<_> = (next..next + BATCH_HANDSHAKES)
            .map(|number| gateway.initiate(number).map(|(_, packet)| (number, packet)))
            .collect::<Result<_, _>>()?;
        next += BATCH_HANDSHAKES;
        let now = Instant::now();
        let before = cpu::thread_ns()?;
        for (number, initiation) in initiations {
            gateway.deliver(now, number, initiation);
        }
        let ns = cpu::thread_ns()? - before;
        if gateway.transmits.len() != BATCH_HANDSHAKES {
            return Err(StepError::Tunnel(
                "the shard did not answer every initiation",
            ));
        }
        gateway.transmits.clear();
        Ok(ns as f64 / BATCH_HANDSHAKES as f64)
    })
}

/// Returns the CPU time in which a client makes an initiation, in nanoseconds.
///
/// # Errors
///
/// See [`StepError`].
pub fn measure_initiation(budget: Duration) -> Result<f64, StepError> {
    let gateway = ShardWithTunnels::new(Instant::now());
    let mut number = 0;
    super::median_of_batches(budget, || {
        let before = cpu::thread_ns()?;
        for _ in 0..BATCH_HANDSHAKES {
            std::hint::black_box(gateway.initiate(number)?);
            number += 1;
        }
        Ok((cpu::thread_ns()? - before) as f64 / BATCH_HANDSHAKES as f64)
    })
}
