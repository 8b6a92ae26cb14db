//! The values of settings: from text to checked value, one function for each kind.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use scion_packet::IsdAs;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use udp_shards::Dispatch;

use crate::config::fault::Fault;
use crate::config::setting::{DISPATCHES, dispatch_name};
use crate::topology::is_wildcard;

/// A router behind an interface of an AS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NextHop {
    /// The AS.
    pub(crate) isd_as: IsdAs,
    /// The interface, from 1.
    pub(crate) interface: u16,
    /// The router's internal address.
    pub(crate) address: SocketAddr,
}

/// An IP address with a port. `example_port` is what the complaint proposes.
pub(crate) fn socket_address(text: &str, example_port: u16) -> Result<SocketAddr, Fault> {
    let address: SocketAddr = text
        .trim()
        .parse()
        .map_err(|_| Fault::NotASocketAddress(text.to_owned(), example_port))?;
    match address.ip() {
        // The sockets are IPv6 only, so that no client appears under two names.
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => Err(Fault::MappedAddress(
                address,
                SocketAddr::from((ip, address.port())),
            )),
            None => Ok(address),
        },
        IpAddr::V4(_) => Ok(address),
    }
}

/// A socket address that others know the gateway by. Its port may be 0: the kernel chooses one.
pub(crate) fn own_address(text: &str, example_port: u16) -> Result<SocketAddr, Fault> {
    let address = socket_address(text, example_port)?;
    if address.ip().is_unspecified() {
        Err(Fault::OwnAddressUnspecified(address))
    } else {
        Ok(address)
    }
}

/// A socket address to send to.
pub(crate) fn remote_address(text: &str, example_port: u16) -> Result<SocketAddr, Fault> {
    let address = socket_address(text, example_port)?;
    if address.port() == 0 {
        Err(Fault::PortZero(address))
    } else if address.ip().is_unspecified() {
        Err(Fault::RouterUnspecified(address))
    } else {
        Ok(address)
    }
}

/// A whole number.
pub(crate) fn number(text: &str, min: u64, max: u64) -> Result<u64, Fault> {
    let digits = text.trim();
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { digits.parse().ok() } else { None };
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| Fault::NotANumber {
            text: text.to_owned(),
            min,
            max,
        })
}

/// A number of bytes, with or without a unit.
pub(crate) fn size(text: &str, min: usize, max: usize) -> Result<usize, Fault> {
    let not_a_size = || Fault::NotASize {
        text: text.to_owned(),
        min,
        max,
    };
    let trimmed = text.trim();
    let digits_end = trimmed
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(digits_end);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "kib" => 10,
        "mib" => 20,
        "gib" => 30,
        _ => return Err(not_a_size()),
    };
    digits
        .parse::<usize>()
        .ok()
        .and_then(|count| count.checked_mul(1 << shift))
        .filter(|bytes| (min..=max).contains(bytes))
        .ok_or_else(not_a_size)
}

/// `true` or `false`.
pub(crate) fn switch(text: &str) -> Result<bool, Fault> {
    text.trim()
        .parse()
        .map_err(|_| Fault::NotASwitch(text.to_owned()))
}

/// One of a few values, by its name.
pub(crate) fn choice<T: Copy>(
    text: &str,
    values: &[T],
    name: impl Fn(&T) -> &'static str,
) -> Result<T, Fault> {
    let found = values.iter().find(|value| name(value) == text.trim());
    found.copied().ok_or_else(|| Fault::NotAChoice {
        text: text.to_owned(),
        choices: values.iter().map(name).collect(),
    })
}

/// An ISD-AS number of one AS.
pub(crate) fn isd_as(text: &str) -> Result<IsdAs, Fault> {
    let isd_as: IsdAs = text
        .trim()
        .parse()
        .map_err(|_| Fault::NotAnIsdAs(text.to_owned()))?;
    if is_wildcard(isd_as) {
        Err(Fault::WildcardIsdAs(isd_as))
    } else {
        Ok(isd_as)
    }
}

/// `ISD-AS#INTERFACE=ADDRESS:PORT`.
pub(crate) fn next_hop(text: &str) -> Result<NextHop, Fault> {
    let not_a_next_hop = || Fault::NotANextHop(text.to_owned());
    let (interface, address) = text.split_once('=').ok_or_else(not_a_next_hop)?;
    let (isd_as_text, interface) = interface.split_once('#').ok_or_else(not_a_next_hop)?;
    Ok(NextHop {
        isd_as: isd_as(isd_as_text)?,
        interface: number(interface, 1, u64::from(u16::MAX))?
            .try_into()
            .map_err(|_| not_a_next_hop())?,
        address: remote_address(address, 31002)?,
    })
}

/// A prefix of IP addresses that is not all of them.
pub(crate) fn prefix(text: &str) -> Result<IpNet, Fault> {
    let prefix: IpNet = text
        .trim()
        .parse()
        .map_err(|_| Fault::NotAPrefix(text.to_owned()))?;
    if prefix.trunc() != prefix {
        return Err(Fault::PrefixWithHostBits(prefix, prefix.trunc()));
    }
    if prefix.prefix_len() == 0 {
        return Err(Fault::PrefixOfEverything(prefix));
    }
    match mapped_prefix(prefix) {
        Some(ipv4) => Err(Fault::MappedPrefix(prefix, ipv4)),
        None => Ok(prefix),
    }
}

/// The IPv4 prefix that an IPv6 prefix of IPv4-mapped addresses stands for.
fn mapped_prefix(prefix: IpNet) -> Option<IpNet> {
    let IpAddr::V6(ip) = prefix.addr() else {
        return None;
    };
    let length = prefix.prefix_len().checked_sub(96)?;
    IpNet::new(ip.to_ipv4_mapped()?.into(), length).ok()
}

/// A prefix of IP addresses, or `None` for `any`.
pub(crate) fn prefix_or_any(text: &str) -> Result<Option<IpNet>, Fault> {
    if text.trim() == "any" {
        return Ok(None);
    }
    match prefix(text) {
        Ok(prefix) => Ok(Some(prefix)),
        Err(Fault::PrefixOfEverything(prefix)) => Err(Fault::AnyWrittenAsPrefix(prefix)),
        Err(fault) => Err(fault),
    }
}

/// What brings a datagram to the worker of its tunnel.
pub(crate) fn dispatch(text: &str) -> Result<Dispatch, Fault> {
    choice(text, &DISPATCHES, dispatch_name)
}

/// The value of the setting `dispatch`: `kernel` or `user`.
///
/// # Errors
///
/// A sentence with both words.
pub fn parse_dispatch(text: &str) -> Result<Dispatch, String> {
    dispatch(text).map_err(|fault| fault.to_string())
}

/// A filter for log messages: levels and directives, with commas between them.
pub(crate) fn log_filter(text: &str) -> Result<String, Fault> {
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    // A word alone would be a target whose messages all pass, which silences all others.
    let is_sound = |directive: &&str| {
        directive.contains(['=', '['])
            || (!directive.is_empty() && directive.parse::<LevelFilter>().is_ok())
    };
    let filter = directives.join(",");
    if directives.iter().all(is_sound) && EnvFilter::builder().parse(&filter).is_ok() {
        Ok(filter)
    } else {
        Err(Fault::NotALogFilter(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::setting::format_size;

    #[test]
    fn sizes_have_binary_units() {
        let parse = |text| size(text, 0, usize::MAX);
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("8MiB"), Ok(8 << 20));
        assert_eq!(parse(" 8 mib "), Ok(8 << 20));
        assert_eq!(parse("1GiB"), Ok(1 << 30));
        assert_eq!(parse("0"), Ok(0));
        for text in [
            "",
            "MiB",
            "8MB",
            "8M",
            "-1",
            "+1",
            "1.5MiB",
            "8 MiB B",
            "99999999999GiB",
            "18446744073709551616",
        ] {
            assert!(
                matches!(parse(text), Err(Fault::NotASize { .. })),
                "{text:?}"
            );
        }
        assert!(size("64KiB", 64 << 10, 1 << 20).is_ok());
        assert!(size("65535", 64 << 10, 1 << 20).is_err());
        assert!(size("1048577", 64 << 10, 1 << 20).is_err());
    }

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(number("7", 1, 10), Ok(7));
        for text in [
            "",
            "0",
            "11",
            "-7",
            "+7",
            "7.0",
            "0x7",
            "18446744073709551616",
        ] {
            assert!(
                matches!(number(text, 1, 10), Err(Fault::NotANumber { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn an_address_needs_a_port_and_digits() {
        for text in [
            "",
            "1.2.3.4",
            "::1",
            "[::1]",
            "localhost:1",
            "1.2.3.4:65536",
            ":1",
            "*:1",
            "1.2.3.4:",
        ] {
            assert!(
                matches!(socket_address(text, 1), Err(Fault::NotASocketAddress(..))),
                "{text:?}"
            );
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_named_as_ipv4() {
        let fault = socket_address("[::ffff:192.0.2.1]:7", 1).unwrap_err();
        assert!(
            fault.to_string().ends_with("write it as 192.0.2.1:7"),
            "{fault}"
        );
    }

    #[test]
    fn next_hops_are_taken_apart() {
        let hop = next_hop("1-ff00:0:110#65535=[2001:db8::1]:31002").unwrap();
        assert_eq!(hop.isd_as, "1-ff00:0:110".parse().unwrap());
        assert_eq!(hop.interface, 65535);
        assert_eq!(hop.address, "[2001:db8::1]:31002".parse().unwrap());
    }

    #[test]
    fn what_is_no_next_hop_says_which_part() {
        for (text, part) in [
            ("1-ff00:0:110=10.0.0.1:1", "is not a next hop"),
            ("1-ff00:0:110#1", "is not a next hop"),
            (
                "1-ff00:0:zzz#1=10.0.0.1:1",
                "\"1-ff00:0:zzz\" is not an ISD-AS number",
            ),
            ("0-1#1=10.0.0.1:1", "0-1 is a wildcard"),
            ("1-0#1=10.0.0.1:1", "1-0 is a wildcard"),
            (
                "1-1#0=10.0.0.1:1",
                "\"0\" is not a whole number from 1 to 65535",
            ),
            ("1-1#65536=10.0.0.1:1", "\"65536\" is not a whole number"),
            (
                "1-1#1=router:1",
                "\"router:1\" is not an IP address with a port",
            ),
            ("1-1#1=10.0.0.1:0", "10.0.0.1:0 has port 0"),
            (
                "1-1#1=0.0.0.0:1",
                "0.0.0.0:1 is every address of the host; name the router's",
            ),
            ("1-1#1=[::]:1", "[::]:1 is every address of the host"),
        ] {
            let fault = next_hop(text).unwrap_err().to_string();
            assert!(fault.contains(part), "{text}: {fault}");
        }
    }

    #[test]
    fn prefixes_are_exact_and_not_everything() {
        assert_eq!(prefix("10.0.0.0/8"), Ok("10.0.0.0/8".parse().unwrap()));
        let fault = prefix("10.0.0.5/8").unwrap_err().to_string();
        assert!(fault.ends_with("write 10.0.0.0/8"), "{fault}");
        assert!(matches!(
            prefix("0.0.0.0/0"),
            Err(Fault::PrefixOfEverything(_))
        ));
        assert!(matches!(prefix("::/0"), Err(Fault::PrefixOfEverything(_))));
        assert!(matches!(prefix("10.0.0.1"), Err(Fault::NotAPrefix(_))));
        let fault = prefix("::ffff:10.0.0.0/104").unwrap_err().to_string();
        assert!(fault.ends_with("write it as 10.0.0.0/8"), "{fault}");
    }

    #[test]
    fn any_is_a_word_and_no_prefix() {
        assert_eq!(prefix_or_any(" any "), Ok(None));
        let prefix = "10.0.0.0/8".parse().unwrap();
        assert_eq!(prefix_or_any("10.0.0.0/8"), Ok(Some(prefix)));
        let fault = prefix_or_any("0.0.0.0/0").unwrap_err().to_string();
        assert!(fault.ends_with("write any"), "{fault}");
        assert!(matches!(prefix_or_any("all"), Err(Fault::NotAPrefix(_))));
    }

    #[test]
    fn log_filters_are_levels_or_directives() {
        for text in ["info", "warn,snapgate::worker=debug", "off"] {
            assert_eq!(log_filter(text).as_deref(), Ok(text));
        }
        assert_eq!(
            log_filter("warn, snapgate=debug").as_deref(),
            Ok("warn,snapgate=debug")
        );
        for text in [
            "info,snapgate=loud",
            "=",
            "a=b=c",
            "loud",
            "snapgate",
            "info,loud",
            "info,",
            "",
        ] {
            assert!(
                matches!(log_filter(text), Err(Fault::NotALogFilter(_))),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_written_size_reads_back(bytes in 0..=usize::MAX) {
            prop_assert_eq!(size(&format_size(bytes), 0, usize::MAX), Ok(bytes));
        }

        #[test]
        fn a_written_size_with_a_unit_reads_back(count in 0..4096_usize, shift in 0..4_u32) {
            let bytes = count << (10 * shift);
            prop_assert_eq!(size(&format_size(bytes), 0, usize::MAX), Ok(bytes));
        }

        #[test]
        fn a_written_next_hop_reads_back(
            isd in 1..=u16::MAX,
            asn in 1..1_u64 << 48,
            interface in 1..=u16::MAX,
            ip: [u8; 4],
            port in 1..=u16::MAX,
        ) {
            let hop = NextHop {
                isd_as: IsdAs::from_u64(u64::from(isd) << 48 | asn),
                interface,
                address: SocketAddr::from((ip, port)),
            };
            let text = format!("{}#{}={}", hop.isd_as, hop.interface, hop.address);
            prop_assert_eq!(next_hop(&text), Ok(hop));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,24}") {
            let _ = (size(&text, 0, usize::MAX), number(&text, 0, u64::MAX));
            let _ = (next_hop(&text), prefix_or_any(&text), socket_address(&text, 1));
            let _ = (isd_as(&text), switch(&text), log_filter(&text));
        }
    }
}
