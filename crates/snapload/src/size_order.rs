//! Which size the packets of the next train have.

use crate::identity::split_mix;

/// A round of sizes, in a random order, over and over.
#[derive(Debug)]
pub(crate) struct SizeOrder {
    round: Vec<u8>,
    next: usize,
}

impl SizeOrder {
    /// `mix`: how many trains of a round have each size. `seed` decides on the order.
    pub(crate) fn new(mix: &[(usize, u32)], seed: u64) -> Self {
        let mut round: Vec<u8> = mix
            .iter()
            .zip(0_u8..)
            .flat_map(|(&(_, trains), size)| std::iter::repeat_n(size, trains as usize))
            .collect();
        shuffle(&mut round, seed);
        Self { round, next: 0 }
    }

    /// The size of the next train's packets, as a position in the list of sizes.
    pub(crate) fn next_size(&mut self) -> usize {
        let size = self.round[self.next];
        self.next = (self.next + 1) % self.round.len();
        usize::from(size)
    }
}

/// Brings items into an order that the seed decides on (Fisher and Yates).
pub(crate) fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = split_mix(state);
        items.swap(last, (state % (last as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIX: [(usize, u32); 3] = [(64, 28), (570, 16), (1518, 4)];

    #[test]
    fn every_round_has_all_sizes_in_their_shares() {
        let mut order = SizeOrder::new(&MIX, 5);
        for _ in 0..3 {
            let mut counts = [0; 3];
            for _ in 0..48 {
                counts[order.next_size()] += 1;
            }
            assert_eq!(counts, [28, 16, 4]);
        }
    }

    #[test]
    fn the_seed_decides_on_the_order() {
        let round = |seed| {
            let mut order = SizeOrder::new(&MIX, seed);
            [(); 48].map(|()| order.next_size())
        };
        assert_eq!(round(1), round(1));
        assert_ne!(round(1), round(2));
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<u32> = (0..1000).collect();
        shuffle(&mut items, 9);
        assert_ne!(items[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        items.sort_unstable();
        assert_eq!(items, (0..1000).collect::<Vec<_>>());
    }
}
