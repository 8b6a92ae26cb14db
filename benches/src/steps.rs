//! Indispensable steps of a gateway, each measured alone. A floor is a sum of these.
//!
//! Results are CPU time of the thread per packet, in nanoseconds, as the median over batches, so that a batch disturbed
//! by an interrupt or another process does not count.

mod crypto;
mod handshakes;
mod sockets;

pub use crypto::{Crypto, measure_crypto};
pub use handshakes::{measure_answer, measure_initiation};
pub use sockets::{
    OwnSend, QuinnSend, SendPath, Traffic, measure_receive, measure_send, measure_send_by,
};

use std::time::{Duration, Instant};

use crate::StepError;
use crate::statistics::Spread;

/// Number of batches before the measurement, which fill caches and pools.
const WARM_UP_BATCHES: usize = 3;

/// Minimum number of batches, also beyond the budget.
const BATCHES_MIN: usize = 9;

/// Calls `batch` until `budget` is over, and returns the median of its results.
fn median_of_batches(
    budget: Duration,
    mut batch: impl FnMut() -> Result<f64, StepError>,
) -> Result<f64, StepError> {
    for _ in 0..WARM_UP_BATCHES {
        batch()?;
    }
    let started = Instant::now();
    let mut values = Vec::new();
    while values.len() < BATCHES_MIN || started.elapsed() < budget {
        values.push(batch()?);
    }
    Ok(Spread::of(values).map_or(f64::NAN, |spread| spread.median))
}
