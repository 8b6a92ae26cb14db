//! Parsing of argument values.

use ipnet::IpNet;
use snapload::{Cpus, MAX_TUNNELS, key_from_base64, parse_pps};

/// A public key. clap would take a plain array for a list.
#[derive(Clone, Copy)]
pub(crate) struct Key(pub(crate) [u8; 32]);

/// Value of `--rate`. The window has its own option.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum RateArgument {
    PerSecond(f64),
    Max,
}

pub(crate) fn parse_key(text: &str) -> Result<Key, String> {
    key_from_base64(text)
        .map(Key)
        .ok_or_else(|| "expected 32 bytes in base64: 44 characters that end in =".to_owned())
}

pub(crate) fn parse_rate(text: &str) -> Result<RateArgument, String> {
    if text == "max" {
        return Ok(RateArgument::Max);
    }
    parse_pps(text)
        .map(RateArgument::PerSecond)
        .map_err(|problem| format!("{problem}, or max"))
}

/// Parses a number of tunnels, which is limited because their keys are made first.
pub(crate) fn parse_tunnels(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(tunnels) if (1..=MAX_TUNNELS).contains(&tunnels) => Ok(tunnels),
        _ => Err(format!("expected 1 to {MAX_TUNNELS} tunnels")),
    }
}

pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (number, unit) = units
        .iter()
        .find_map(|&(name, bytes)| Some((text.strip_suffix(name)?, bytes)))
        .unwrap_or((text, 1));
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "expected a number of bytes, or with KiB, MiB or GiB".to_owned())
}

pub(crate) fn parse_percent(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%').unwrap_or(text).parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a number from 0 to 100".to_owned()),
    }
}

pub(crate) fn parse_network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse().map(|ip: std::net::IpAddr| IpNet::from(ip)))
        .map_err(|_| {
            "expected an address or a network, such as 127.0.1.7 or 127.0.1.0/24".to_owned()
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
            _ => return Err("expected numbers and ranges, such as 2,4-7, or none".to_owned()),
        }
    }
    Ok(Cpus::List(cpus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_a_number_or_max() {
        assert_eq!(parse_rate("max"), Ok(RateArgument::Max));
        assert_eq!(parse_rate("50k"), Ok(RateArgument::PerSecond(50_000.0)));
        assert!(parse_rate("max1").is_err());
    }

    #[test]
    fn number_of_tunnels_is_limited() {
        assert_eq!(parse_tunnels("1"), Ok(1));
        assert_eq!(parse_tunnels("16777216"), Ok(MAX_TUNNELS));
        for bad in ["0", "-1", "16777217", "18446744073709551615", "many"] {
            assert!(parse_tunnels(bad).is_err(), "{bad}");
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
    fn sizes_have_units() {
        assert_eq!(parse_bytes("512"), Ok(512));
        assert_eq!(parse_bytes("500MiB"), Ok(500 << 20));
        assert_eq!(parse_bytes("4GiB"), Ok(4 << 30));
        for bad in ["", "MiB", "-1", "1GB", "99999999999999GiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
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
    fn single_address_is_a_range() {
        assert_eq!(parse_network("127.0.1.7"), parse_network("127.0.1.7/32"));
        assert!(parse_network("127.0.1").is_err());
    }
}
