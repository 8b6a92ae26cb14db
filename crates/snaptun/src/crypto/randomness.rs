//! Where the random values of a shard come from.
//!
//! None of them is a key: keys are made by `ana-gotatun`, always from the operating system.

use ahash::RandomState;
use rand::SeedableRng;
#[cfg(feature = "simulation")]
use rand::{RngCore as _, rngs::StdRng};

/// Makes hashers and random generators that nobody can foresee, or, in a simulation, the same ones again.
pub(crate) struct Randomness {
    #[cfg(feature = "simulation")]
    seeded: Option<StdRng>,
}

impl Randomness {
    pub(crate) fn of_the_system() -> Self {
        Randomness {
            #[cfg(feature = "simulation")]
            seeded: None,
        }
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn of_seed(seed: u64) -> Self {
        Randomness {
            seeded: Some(StdRng::seed_from_u64(seed)),
        }
    }

    /// A hasher with keys of its own.
    pub(crate) fn hasher(&mut self) -> RandomState {
        #[cfg(feature = "simulation")]
        if let Some(seeded) = &mut self.seeded {
            let [a, b, c, d] = [(); 4].map(|()| seeded.next_u64());
            return RandomState::with_seeds(a, b, c, d);
        }
        RandomState::new()
    }

    /// A generator with a seed of its own.
    pub(crate) fn generator<R: SeedableRng>(&mut self) -> R {
        #[cfg(feature = "simulation")]
        if let Some(seeded) = &mut self.seeded {
            return R::from_rng(seeded);
        }
        R::from_os_rng()
    }
}
