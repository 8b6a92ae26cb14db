//! Whose turn it is to send.

use super::lane::Lane;
use crate::config::Shares;
use crate::plan::Plan;
use crate::size_order::shuffle;

/// The order in which lanes send their trains.
#[derive(Debug, Default)]
pub(super) struct LaneOrder {
    /// The lanes that carry packets.
    lanes: Vec<usize>,
    /// Of each of them, the sum of its weight and of those before it; empty when all are equal and
    /// take turns.
    sums: Vec<f64>,
    /// How many trains were sent.
    draws: u64,
}

/// The golden ratio's fraction: its multiples, without their whole parts, fill the range from 0 to 1
/// evenly at any time, so that every lane gets its share soon (van der Corput's idea, with Weyl's
/// sequence).
const GOLDEN: f64 = 0.618_033_988_749_894_9;

impl LaneOrder {
    /// The order of a thread's lanes whose tunnels carry packets. It is random: the order in which
    /// tunnels were connected is the one in which a gateway has them in memory. Those that share a
    /// socket follow each other, so that one call sends for many.
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

    /// Begins anew.
    pub(super) fn restart(&mut self) {
        self.draws = 0;
    }

    /// The lane that sends next. There has to be one.
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

/// Of each tunnel, the sum of its weight and of those before it; nothing when all are equal.
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
