//! Medians and spreads of a few repeated measurements.

/// The middle of some values, and how far they reach.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Spread {
    /// The middle value; of an even number of values, the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of `values`; `None` without any.
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

    /// The spread of the ratios of paired values: what was measured next to each other is compared with
    /// each other, so that a machine that drifts does not count.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 10.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (3.0, 1.0, 10.0));
        assert_eq!(Spread::of([5.0, 1.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_of_values_that_were_measured_together() {
        // The machine becomes twice as slow in the last round; the ratio does not.
        let ratios = Spread::of_ratios(&[10.0, 10.0, 20.0], &[5.0, 5.0, 10.0]).unwrap();
        assert_eq!((ratios.median, ratios.min, ratios.max), (2.0, 2.0, 2.0));
    }
}
