//! What a gateway cannot do without, each measured alone: a floor is added up from these.
//!
//! All of them are in nanoseconds of CPU time of the thread that does the step, per packet, and the
//! median over batches, so that an interrupt or a batch that met another process does not count.

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

/// Batches before the measurement: they fill caches and pools.
const WARM_UP_BATCHES: usize = 3;

/// At least so many batches, however long they take.
const BATCHES_MIN: usize = 9;

/// The median of what `batch` returns, called until `budget` is over.
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
