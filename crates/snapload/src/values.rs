//! Parsing of values on the command line and in scenario files.

use std::time::Duration;

use jiff::SignedDuration;

/// Parses a number of packets per second, such as `50000`, `50k` or `1.5M`.
///
/// # Errors
/// Returns a description of the expected format.
pub fn parse_pps(text: &str) -> Result<f64, String> {
    let (number, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(pps) if pps.is_finite() && pps > 0.0 => Ok(pps * factor),
        _ => Err("expected a rate in packets/s, such as 50000, 50k or 1.5M".to_owned()),
    }
}

/// Parses a duration, such as `500us`, `20ms`, `10s` or `2m`.
///
/// # Errors
/// Returns a description of the expected format.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "expected a time with a unit, such as 500us, 20ms, 10s or 2m".to_owned())
}

/// Converts a percentage to a share, 0 to 1, exactly: dividing by 100 would miss the nearest number, and a result
/// exactly at a limit would fail.
#[must_use]
pub fn share_of_percent(percent: f64) -> f64 {
    shifted(percent, -2)
}

/// Converts a share to a percentage, with no more digits than the share has.
#[must_use]
pub fn percent_of_share(share: f64) -> f64 {
    shifted(share, 2)
}

/// Moves the decimal point of a number.
fn shifted(number: f64, places: i32) -> f64 {
    format!("{number}e{places}")
        .parse()
        .unwrap_or(number * 10_f64.powi(places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_and_shares_convert_exactly() {
        for hundredths in 0..=10_000_u32 {
            let share = f64::from(hundredths) / 10_000.0;
            let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
            let percent = text.parse().unwrap();
            assert_eq!(share_of_percent(percent), share, "{text}");
            assert_eq!(percent_of_share(share), percent, "{text}");
        }
        assert_eq!(share_of_percent(1e-30), 1e-32);
        assert!(share_of_percent(f64::NAN).is_nan());
    }

    #[test]
    fn rates_have_suffixes() {
        assert_eq!(parse_pps("250"), Ok(250.0));
        assert_eq!(parse_pps("50k"), Ok(50_000.0));
        assert_eq!(parse_pps("1.5M"), Ok(1_500_000.0));
        for bad in ["", "k", "-1", "0", "inf", "nan", "1G", "max"] {
            assert!(parse_pps(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_time("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_time("1m30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "10", "-1s", "soon"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
