//! Values of arguments: how people write them.

use std::time::Duration;

use ipnet::IpNet;
use jiff::SignedDuration;
use snapload::{Cpus, key_from_base64};

/// A public key. A type of its own, since clap takes arrays for lists.
#[derive(Clone, Copy)]
pub(crate) struct Key(pub(crate) [u8; 32]);

/// What `--rate` says; the window comes from its own option.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum RateArgument {
    PerSecond(f64),
    Max,
}

pub(crate) fn parse_key(text: &str) -> Result<Key, String> {
    key_from_base64(text)
        .map(Key)
        .ok_or_else(|| "a key is 32 bytes in base64: 44 characters that end with =".to_owned())
}

pub(crate) fn parse_rate(text: &str) -> Result<RateArgument, String> {
    if text == "max" {
        return Ok(RateArgument::Max);
    }
    let (number, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(pps) if pps.is_finite() && pps > 0.0 => Ok(RateArgument::PerSecond(pps * factor)),
        _ => Err("a rate is a number of packets a second, like 50000, 50k or 1.5M, or max".into()),
    }
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "a time is a number with a unit, like 500us, 20ms, 10s or 2m".to_owned())
}

pub(crate) fn parse_percent(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%').unwrap_or(text).parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a share is a number from 0 to 100".to_owned()),
    }
}

pub(crate) fn parse_network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse().map(|ip: std::net::IpAddr| IpNet::from(ip)))
        .map_err(|_| {
            "a range is an address or a network, like 127.0.1.7 or 127.0.1.0/24".to_owned()
        })
}

pub(crate) fn parse_cpus(text: &str) -> Result<Cpus, String> {
    if text == "none" {
        return Ok(Cpus::Unpinned);
    }
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last - first < 1024 => {
                cpus.extend(first..=last);
            }
            _ => return Err("CPUs are numbers and ranges, like 2,4-7, or none".to_owned()),
        }
    }
    Ok(Cpus::List(cpus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_suffixes() {
        assert_eq!(parse_rate("max"), Ok(RateArgument::Max));
        assert_eq!(parse_rate("250"), Ok(RateArgument::PerSecond(250.0)));
        assert_eq!(parse_rate("50k"), Ok(RateArgument::PerSecond(50_000.0)));
        assert_eq!(parse_rate("1.5M"), Ok(RateArgument::PerSecond(1_500_000.0)));
        for bad in ["", "k", "-1", "0", "inf", "nan", "1G", "max1"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "10", "-1s", "soon"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cpus_are_lists_of_ranges_or_none() {
        assert_eq!(parse_cpus("none"), Ok(Cpus::Unpinned));
        assert_eq!(parse_cpus("2,4-6"), Ok(Cpus::List(vec![2, 4, 5, 6])));
        for bad in ["", "a", "3-1", "1,,2", "0-99999999999"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(parse_percent("0.5"), Ok(0.5));
        assert_eq!(parse_percent("1%"), Ok(1.0));
        for bad in ["-1", "101", "few"] {
            assert!(parse_percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_of_addresses_may_be_one_address() {
        assert_eq!(parse_network("127.0.1.7"), parse_network("127.0.1.7/32"));
        assert!(parse_network("127.0.1").is_err());
    }
}
