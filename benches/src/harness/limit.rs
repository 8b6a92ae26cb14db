//! Bounds and verdicts.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

/// Bound of a value. `Display` takes a precision.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Limit {
    /// Returns true if `value` is within the bound; false for NaN.
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, limit) = match self {
            Self::AtMost(limit) => ("≤ ", limit),
            Self::AtLeast(limit) => ("≥ ", limit),
        };
        f.write_str(sign)?;
        limit.fmt(f)
    }
}

/// Verdict on bounds. The verdict on a run is the greatest of all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Holds,
    /// No bound is known to be exceeded, but a comparison with the baseline needs more rounds.
    NotEnoughRounds,
    DoesNotHold,
}

impl Verdict {
    pub(crate) fn of(holds: bool) -> Self {
        if holds {
            Self::Holds
        } else {
            Self::DoesNotHold
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::NotEnoughRounds => "not enough rounds",
            Self::DoesNotHold => "DOES NOT HOLD",
        }
    }

    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Holds => 0,
            Self::DoesNotHold => 3,
            Self::NotEnoughRounds => 4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_values_do_not_hold() {
        assert!(!Limit::AtMost(3.0).holds(f64::NAN));
        assert!(!Limit::AtLeast(3.0).holds(f64::NAN));
        assert!(!Limit::AtMost(5.0).holds(f64::INFINITY));
    }

    #[test]
    fn display_uses_the_requested_precision() {
        assert_eq!(format!("{:.2}", Limit::AtMost(1.25)), "≤ 1.25");
        assert_eq!(Limit::AtLeast(99.0).to_string(), "≥ 99");
    }
}
