//! Random values of a shard.
//!
//! None of them is a key: `ana-gotatun` makes keys, always from the operating system's generator.

use ahash::RandomState;
use rand::SeedableRng;
#[cfg(feature = "simulation")]
use rand::{RngCore as _, rngs::StdRng};

/// Source of unpredictable hashers and generators or, in simulations, of reproducible ones.
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

    /// Returns a hasher with new keys.
    pub(crate) fn hasher(&mut self) -> RandomState {
        #[cfg(feature = "simulation")]
        if let Some(seeded) = &mut self.seeded {
            let [a, b, c, d] = [(); 4].map(|()| seeded.next_u64());
            return RandomState::with_seeds(a, b, c, d);
        }
        RandomState::new()
    }

    /// Returns a generator with a new seed.
    pub(crate) fn generator<R: SeedableRng>(&mut self) -> R {
        #[cfg(feature = "simulation")]
        if let Some(seeded) = &mut self.seeded {
            return R::from_rng(seeded);
        }
        R::from_os_rng()
    }
}
