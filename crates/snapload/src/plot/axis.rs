//! Axis scales and ticks.

/// Mapping from a quantity to a position.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Scale {
    Linear,
    Logarithmic,
}

/// A scale with its range and its position on the sheet.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    /// Positions of `low` and `high`, in pixels.
    start: f32,
    end: f32,
}

impl Axis {
    /// Creates an axis from `low` to `high`. An empty range is widened; logarithmic ends are positive.
    pub(super) fn new(scale: Scale, low: f64, high: f64, start: f32, end: f32) -> Self {
        let low = match scale {
            Scale::Linear => low,
            Scale::Logarithmic => low.max(f64::MIN_POSITIVE),
        };
        let high = if high > low { high } else { low + 1.0 };
        Self {
            scale,
            low,
            high,
            start,
            end,
        }
    }

    /// Returns the position of a value, clamped to the ends of the axis.
    pub(super) fn place(&self, value: f64) -> f32 {
        let value = value.clamp(self.low, self.high);
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.start + share as f32 * (self.end - self.start)
    }

    /// Returns the values to mark: on a linear scale about `wanted` multiples of 1, 2 or 5 times a power of ten, on a
    /// logarithmic one powers of ten, and 2 and 5 times these if they are few.
    pub(super) fn ticks(&self, wanted: usize) -> Vec<f64> {
        match self.scale {
            Scale::Linear => self.linear_ticks(wanted),
            Scale::Logarithmic => self.logarithmic_ticks(wanted),
        }
    }

    fn linear_ticks(&self, wanted: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / wanted.max(1) as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(rough);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|index| index as f64 * step).collect()
    }

    fn logarithmic_ticks(&self, wanted: usize) -> Vec<f64> {
        let (first, last) = (self.low.log10().floor(), self.high.log10().ceil());
        let ticks = |factors: &[f64]| -> Vec<f64> {
            (first as i32..=last as i32)
                .flat_map(|power| {
                    factors
                        .iter()
                        .map(move |factor| factor * 10_f64.powi(power))
                })
                .filter(|value| (self.low * 0.999..=self.high * 1.001).contains(value))
                .collect()
        };
        let decades = ticks(&[1.0]);
        if decades.len() * 3 <= wanted {
            ticks(&[1.0, 2.0, 5.0])
        } else {
            decades
        }
    }
}

/// Returns the smallest 1, 2 or 5 times a power of ten that is at least `value`.
pub(super) fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|round| *round >= value * 0.999_999)
        .unwrap_or(value)
}

/// Returns the largest 1, 2 or 5 times a power of ten that is at most `value`.
pub(super) fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|round| *round <= value * 1.000_001)
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_lie_between_the_ends() {
        let axis = Axis::new(Scale::Linear, 0.0, 10.0, 100.0, 0.0);
        assert_eq!(
            (axis.place(0.0), axis.place(5.0), axis.place(99.0)),
            (100.0, 50.0, 0.0)
        );
        let axis = Axis::new(Scale::Logarithmic, 1.0, 10_000.0, 0.0, 100.0);
        assert!((axis.place(100.0) - 50.0).abs() < 0.01);
        assert_eq!(axis.place(0.0), 0.0);
    }

    #[test]
    fn ticks_are_round_numbers() {
        let axis = Axis::new(Scale::Linear, 0.0, 47.0, 0.0, 1.0);
        assert_eq!(axis.ticks(5), [0.0, 10.0, 20.0, 30.0, 40.0]);
        let axis = Axis::new(Scale::Linear, 0.0, 3.0, 0.0, 1.0);
        assert_eq!(axis.ticks(6), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
        let axis = Axis::new(Scale::Logarithmic, 2.0, 2000.0, 0.0, 1.0);
        assert_eq!(axis.ticks(5), [10.0, 100.0, 1000.0]);
        let axis = Axis::new(Scale::Logarithmic, 2.0, 20.0, 0.0, 1.0);
        assert_eq!(axis.ticks(5), [2.0, 5.0, 10.0, 20.0]);
    }

    #[test]
    fn empty_range_is_widened() {
        let axis = Axis::new(Scale::Linear, 5.0, 5.0, 0.0, 1.0);
        assert_eq!(axis.place(5.0), 0.0);
        assert!(!axis.ticks(3).is_empty());
    }

    #[test]
    fn ranges_are_rounded_outwards() {
        assert_eq!(
            (round_up(47.0), round_up(50.0), round_up(0.3)),
            (50.0, 50.0, 0.5)
        );
        assert_eq!((round_down(47.0), round_down(20.0)), (20.0, 20.0));
    }
}
