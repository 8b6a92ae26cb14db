//! Order of packet sizes.

use crate::identity::split_mix;

/// A round of sizes in random order, repeated.
#[derive(Debug)]
pub(crate) struct SizeOrder {
    round: Vec<u8>,
    next: usize,
}

impl SizeOrder {
    /// Creates an order from the number of trains per round of each size and a seed.
    pub(crate) fn new(mix: &[(usize, u32)], seed: u64) -> Self {
        let mut round: Vec<u8> = mix
            .iter()
            .zip(0_u8..)
            .flat_map(|(&(_, trains), size)| std::iter::repeat_n(size, trains as usize))
            .collect();
        shuffle(&mut round, seed);
        Self { round, next: 0 }
    }

    /// Returns the size of the next train's packets, as an index into the list of sizes.
    pub(crate) fn next_size(&mut self) -> usize {
        let size = self.round[self.next];
        self.next = (self.next + 1) % self.round.len();
        usize::from(size)
    }
}

/// Shuffles items in an order that depends on the seed (Fisher and Yates).
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
    fn every_round_has_the_configured_number_of_each_size() {
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
    fn order_depends_on_the_seed() {
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
