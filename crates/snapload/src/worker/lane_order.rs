//! Whose turn it is to send.

use crate::config::Shares;

/// The order in which lanes send their trains.
pub(super) enum LaneOrder {
    /// One after the other.
    Turns { next: usize, lanes: usize },
    /// By weight.
    Weighted {
        /// Of each lane, the sum of its weight and of those before it.
        sums: Vec<f64>,
        draws: u64,
    },
}

/// The golden ratio's fraction: its multiples, without their whole parts, fill the range from 0 to 1
/// evenly at any time, so that every lane gets its share soon (van der Corput's idea, with Weyl's
/// sequence).
const GOLDEN: f64 = 0.618_033_988_749_894_9;

impl LaneOrder {
    /// The order of lanes that have these tunnels, by their index within the run.
    pub(super) fn new(shares: Shares, tunnels: impl ExactSizeIterator<Item = usize>) -> Self {
        match shares {
            Shares::Equal => Self::Turns {
                next: 0,
                lanes: tunnels.len(),
            },
            Shares::Zipf(_) => {
                let mut sum = 0.0;
                let sums = tunnels
                    .map(|tunnel| {
                        sum += shares.weight(tunnel);
                        sum
                    })
                    .collect();
                Self::Weighted { sums, draws: 0 }
            }
        }
    }

    /// The lane that sends next.
    pub(super) fn next_lane(&mut self) -> usize {
        match self {
            Self::Turns { next, lanes } => {
                let lane = *next;
                *next = (lane + 1) % *lanes;
                lane
            }
            Self::Weighted { sums, draws } => {
                *draws += 1;
                let total = sums.last().copied().unwrap_or(0.0);
                let place = (*draws as f64 * GOLDEN).fract() * total;
                sums.partition_point(|&sum| sum <= place)
                    .min(sums.len().saturating_sub(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(shares: Shares, lanes: usize, draws: usize) -> Vec<usize> {
        let mut order = LaneOrder::new(shares, 0..lanes);
        let mut drawn = vec![0; lanes];
        for _ in 0..draws {
            drawn[order.next_lane()] += 1;
        }
        drawn
    }

    #[test]
    fn equal_lanes_take_turns() {
        assert_eq!(drawn(Shares::Equal, 3, 7), [3, 2, 2]);
    }

    #[test]
    fn lanes_are_drawn_by_their_weight() {
        // Weights 1, 1/2 and 1/3 of a sum of 11/6.
        let drawn = drawn(Shares::Zipf(1.0), 3, 11_000);
        for (count, wanted) in drawn.into_iter().zip([6000_usize, 3000, 2000]) {
            assert!(count.abs_diff(wanted) <= 5, "{count} {wanted}");
        }
    }

    #[test]
    fn an_exponent_of_zero_makes_all_equal() {
        let drawn = drawn(Shares::Zipf(0.0), 4, 4000);
        assert!(
            drawn.iter().all(|count| count.abs_diff(1000) <= 5),
            "{drawn:?}"
        );
    }
}
