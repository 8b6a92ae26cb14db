//! Medians, spreads and confidence intervals of a few repeated measurements.

/// Median and range of values.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Spread {
    /// Median; for an even number of values, the mean of the middle two.
    pub median: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Spread {
    /// Returns the spread of `values`; `None` if there are none.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted.len() / 2;
        let lower = (sorted.len() - 1) / 2;
        Some(Self {
            median: f64::midpoint(*sorted.get(lower)?, *sorted.get(upper)?),
            min,
            max,
        })
    }

    /// Returns the spread of the ratios of paired values. Pairs were measured one after the other, so that a drift of
    /// the machine cancels.
    #[must_use]
    pub fn of_ratios(numerators: &[f64], denominators: &[f64]) -> Option<Self> {
        Self::of(
            numerators
                .iter()
                .zip(denominators)
                .map(|(numerator, denominator)| numerator / denominator),
        )
    }
}

/// Minimum confidence of a [`MedianInterval`].
pub const CONFIDENCE_MIN: f64 = 0.95;

/// Minimum number of values for a [`MedianInterval`]: the range of 5 values misses the median with a probability of
/// 2 / 2^5 = 6.25 %, the range of 6 values with 2 / 2^6 = 3.1 %.
pub const INTERVAL_VALUES_MIN: usize = 6;

/// Maximum number of values for a [`MedianInterval`]: up to there 2^-n is a normal `f64`.
const INTERVAL_VALUES_MAX: usize = 1000;

/// A distribution-free confidence interval of a median, from the sign test.
///
/// Each value lies below the true median with probability 1/2, so the number of values below it is binomial. The
/// interval reaches from the k-th smallest to the k-th largest value, with the largest k that leaves a confidence of
/// [`CONFIDENCE_MIN`]. The values must be independent and have the same median; their distribution does not matter.
/// Outliers do not widen the interval, and ratios and their logarithms have the same interval.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct MedianInterval {
    /// The k-th smallest value.
    pub low: f64,
    /// The k-th largest value.
    pub high: f64,
    /// Probability that such an interval contains the true median, at least [`CONFIDENCE_MIN`].
    pub confidence: f64,
}

impl MedianInterval {
    /// Returns the interval of the median of `values`; `None` for fewer than [`INTERVAL_VALUES_MIN`] values, which have
    /// no interval with this confidence, and for more than 1000.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        if count > INTERVAL_VALUES_MAX {
            return None;
        }
        // Probability that exactly `rank` values lie below the median, and that fewer than `rank` do.
        let mut exactly = 0.5_f64.powi(i32::try_from(count).ok()?);
        let mut fewer = 0.0;
        let mut rank = 0;
        while 2.0 * (fewer + exactly) <= 1.0 - CONFIDENCE_MIN {
            fewer += exactly;
            exactly *= (count - rank) as f64 / (rank + 1) as f64;
            rank += 1;
        }
        Some(Self {
            low: *sorted.get(rank.checked_sub(1)?)?,
            high: *sorted.get(count - rank)?,
            confidence: 1.0 - 2.0 * fewer,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn median_of_an_even_number_of_values_is_the_mean_of_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 10.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (3.0, 1.0, 10.0));
        assert_eq!(Spread::of([5.0, 1.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_computed_per_round() {
        // In the last round the machine is half as fast; the ratio is the same.
        let ratios = Spread::of_ratios(&[10.0, 10.0, 20.0], &[5.0, 5.0, 10.0]).unwrap();
        assert_eq!((ratios.median, ratios.min, ratios.max), (2.0, 2.0, 2.0));
    }

    #[test]
    fn ranks_and_confidence_follow_the_binomial_distribution() {
        // Values, rank from either end, confidence: sums of exact binomial coefficients.
        for (count, rank, confidence) in [
            (6_u32, 1_u32, 0.968_75),
            (8, 1, 0.992_187_5),
            (9, 2, 0.960_937_5),
            (10, 2, 0.978_515_625),
            (12, 3, 0.961_425_781_25),
            (15, 4, 0.964_843_75),
            (20, 6, 0.958_610_534_7),
            (25, 8, 0.956_714_749_3),
            (100, 40, 0.964_799_799_8),
        ] {
            let interval = MedianInterval::of((1..=count).map(f64::from)).unwrap();
            assert_eq!(interval.low, f64::from(rank), "{count} values");
            assert_eq!(interval.high, f64::from(count + 1 - rank), "{count} values");
            assert!(
                (interval.confidence - confidence).abs() < 1e-9,
                "{count} values: {}",
                interval.confidence
            );
        }
    }

    #[test]
    fn fewer_than_six_values_have_no_interval() {
        for count in 0..INTERVAL_VALUES_MIN {
            assert_eq!(MedianInterval::of(vec![1.0; count]), None);
        }
        assert!(MedianInterval::of([1.0; INTERVAL_VALUES_MIN]).is_some());
    }

    #[test]
    fn one_outlier_in_nine_does_not_move_the_interval() {
        let mut values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let before = MedianInterval::of(values);
        values[8] = 900.0;
        assert_eq!(MedianInterval::of(values), before);
    }

    proptest! {
        #[test]
        fn the_interval_contains_the_median(values in vec(0.1_f64..10.0, INTERVAL_VALUES_MIN..=100)) {
            let median = Spread::of(values.iter().copied()).unwrap().median;
            let interval = MedianInterval::of(values).unwrap();
            prop_assert!(interval.low <= median && median <= interval.high);
            prop_assert!((CONFIDENCE_MIN..=1.0).contains(&interval.confidence));
        }

        #[test]
        fn the_order_of_the_values_does_not_matter(
            (values, shuffled) in vec(0.1_f64..10.0, 0..=100)
                .prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle())),
        ) {
            prop_assert_eq!(MedianInterval::of(values), MedianInterval::of(shuffled));
        }

        #[test]
        fn inverse_ratios_have_the_inverse_interval(
            values in vec(0.1_f64..10.0, INTERVAL_VALUES_MIN..=100),
        ) {
            let interval = MedianInterval::of(values.iter().copied()).unwrap();
            let inverse = MedianInterval::of(values.iter().map(|value| 1.0 / value)).unwrap();
            prop_assert_eq!(inverse.low, 1.0 / interval.high);
            prop_assert_eq!(inverse.high, 1.0 / interval.low);
        }
    }
}
