//! Order in which tunnels send.

use super::lane::Lane;
use crate::config::Shares;
use crate::plan::Plan;
use crate::size_order::shuffle;

/// Order in which lanes send their trains.
#[derive(Debug, Default)]
pub(super) struct LaneOrder {
    /// Lanes that carry packets.
    lanes: Vec<usize>,
    /// Cumulative weights of the lanes; empty if all are equal and take turns.
    sums: Vec<f64>,
    /// Number of trains sent.
    draws: u64,
}

/// Fraction of the golden ratio: the fractional parts of its multiples fill the range from 0 to 1 evenly at any time,
/// so that every lane gets its share soon (van der Corput's idea, with Weyl's sequence).
const GOLDEN: f64 = 0.618_033_988_749_894_9;

impl LaneOrder {
    /// Creates the order of a thread's active lanes. It is random, because a gateway keeps tunnels in memory in the
    /// order in which they connected. Lanes that share a socket are adjacent, so that one system call sends for many.
    pub(super) fn new(plan: &Plan<'_>, thread: usize, lanes: &[Lane]) -> Self {
        let active = plan.config.active_tunnels();
        let mut order: Vec<usize> = (0..lanes.len())
            .filter(|&lane| (lanes[lane].index as usize) < active)
            .collect();
        shuffle(&mut order, plan.seed_of(thread));
        if plan.config.shares_sockets() {
            order.sort_by_key(|&lane| lanes[lane].port);
        }
        let tunnels = order.iter().map(|&lane| lanes[lane].index as usize);
        let sums = sums(plan.config.shares, tunnels);
        Self {
            lanes: order,
            sums,
            draws: 0,
        }
    }

    /// Restarts the order.
    pub(super) fn restart(&mut self) {
        self.draws = 0;
    }

    /// Returns the lane that sends next. Requires at least one lane.
    pub(super) fn next_lane(&mut self) -> usize {
        let draw = self.draws;
        self.draws += 1;
        let index = match self.sums.last() {
            None => (draw % self.lanes.len() as u64) as usize,
            Some(total) => {
                let place = ((draw + 1) as f64 * GOLDEN).fract() * total;
                self.sums
                    .partition_point(|&sum| sum <= place)
                    .min(self.sums.len() - 1)
            }
        };
        self.lanes[index]
    }
}

/// Returns the cumulative weights of the tunnels; empty if all are equal.
fn sums(shares: Shares, tunnels: impl Iterator<Item = usize>) -> Vec<f64> {
    if shares == Shares::Equal {
        return Vec::new();
    }
    tunnels
        .scan(0.0, |sum, tunnel| {
            *sum += shares.weight(tunnel);
            Some(*sum)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(shares: Shares, lanes: usize, draws: usize) -> Vec<usize> {
        let mut order = LaneOrder {
            lanes: (0..lanes).collect(),
            sums: sums(shares, 0..lanes),
            draws: 0,
        };
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
        // Weights 1, 1/2 and 1/3, with a sum of 11/6.
        let drawn = drawn(Shares::Zipf(1.0), 3, 11_000);
        for (count, wanted) in drawn.into_iter().zip([6000_usize, 3000, 2000]) {
            assert!(count.abs_diff(wanted) <= 5, "{count} {wanted}");
        }
    }

    #[test]
    fn exponent_of_zero_makes_all_lanes_equal() {
        let drawn = drawn(Shares::Zipf(0.0), 4, 4000);
        assert!(
            drawn.iter().all(|count| count.abs_diff(1000) <= 5),
            "{drawn:?}"
        );
    }
}
