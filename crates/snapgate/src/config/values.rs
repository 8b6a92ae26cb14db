//! Parsers of setting values, one function per type.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use scion_packet::IsdAs;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use udp_shards::{Dispatch, InterfaceName};

use crate::config::fault::Fault;
use crate::config::setting::{DISPATCHES, dispatch_name};
use crate::topology::is_wildcard;

/// A router behind an interface of an AS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NextHop {
    pub(crate) isd_as: IsdAs,
    /// Interface number from 1.
    pub(crate) interface: u16,
    /// Internal address of the router.
    pub(crate) address: SocketAddr,
}

/// Parses an IP address with a port. The error has examples with `example_port`.
pub(crate) fn socket_address(text: &str, example_port: u16) -> Result<SocketAddr, Fault> {
    let address: SocketAddr = text
        .trim()
        .parse()
        .map_err(|_| Fault::NotASocketAddress(text.to_owned(), example_port))?;
    match address.ip() {
        // The sockets are IPv6-only, so that a client has only one address.
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

/// Parses an address for tunnels. With port 0 the kernel chooses the port.
pub(crate) fn listen_address(text: &str, example_port: u16) -> Result<SocketAddr, Fault> {
    let address = unicast(socket_address(text, example_port)?)?;
    match address.ip() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Err(Fault::ListenLinkLocal(address)),
        _ => Ok(address),
    }
}

/// Parses an address of the gateway that others send to. With port 0 the kernel chooses the port.
pub(crate) fn own_address(text: &str, example_port: u16) -> Result<SocketAddr, Fault> {
    let address = with_scope(unicast(socket_address(text, example_port)?)?)?;
    if address.ip().is_unspecified() {
        Err(Fault::OwnAddressUnspecified(address))
    } else {
        Ok(address)
    }
}

/// Returns the address unless it is a multicast address or the limited broadcast address.
fn unicast(address: SocketAddr) -> Result<SocketAddr, Fault> {
    match address.ip() {
        ip if ip.is_multicast() => Err(Fault::Multicast(address)),
        IpAddr::V4(ip) if ip.is_broadcast() => Err(Fault::Broadcast(address)),
        _ => Ok(address),
    }
}

/// Returns the address unless it is an IPv6 link-local address without the index of its interface.
fn with_scope(address: SocketAddr) -> Result<SocketAddr, Fault> {
    if is_without_scope(address) {
        Err(Fault::NoScope(address))
    } else {
        Ok(address)
    }
}

/// Returns true for an IPv6 link-local address without the index of its interface, from and to which the kernel sends
/// nothing.
pub(crate) fn is_without_scope(address: SocketAddr) -> bool {
    match address {
        SocketAddr::V6(v6) => v6.ip().is_unicast_link_local() && v6.scope_id() == 0,
        SocketAddr::V4(_) => false,
    }
}

/// Parses the name of a network interface.
pub(crate) fn interface(text: &str) -> Result<InterfaceName, Fault> {
    text.trim()
        .parse()
        .map_err(|_| Fault::NotAnInterfaceName(text.to_owned()))
}

/// Parses an address of the gateway that others are told.
pub(crate) fn public_address(text: &str, example_port: u16) -> Result<SocketAddr, Fault> {
    let address = listen_address(text, example_port)?;
    if address.port() == 0 {
        Err(Fault::PublicPortZero(address))
    } else if address.ip().is_unspecified() {
        Err(Fault::OwnAddressUnspecified(address))
    } else {
        Ok(address)
    }
}

/// Parses a URL of HTTP.
pub(crate) fn url(text: &str) -> Result<String, Fault> {
    let url = text.trim();
    let uri: Option<hyper::Uri> = url.parse().ok();
    let is_valid = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    });
    if is_valid {
        Ok(url.to_owned())
    } else {
        Err(Fault::NotAUrl(text.to_owned()))
    }
}

/// Returns true if a URL leads to another host without encryption.
pub(crate) fn is_clear_text(url: &str) -> bool {
    let uri: Option<hyper::Uri> = url.parse().ok();
    uri.is_some_and(|uri| uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_loopback))
}

/// Returns true if the host of a URL is this host.
fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    match literal.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Parses a text without spaces.
pub(crate) fn word(text: &str) -> Result<String, Fault> {
    let word = text.trim();
    if word.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(word.to_owned())
    } else {
        Err(Fault::NotAWord(text.to_owned()))
    }
}

/// Parses the address of a router.
fn router_address(text: &str, example_port: u16) -> Result<SocketAddr, Fault> {
    let address = with_scope(unicast(socket_address(text, example_port)?)?)?;
    if address.port() == 0 {
        Err(Fault::RouterPortZero(address))
    } else if address.ip().is_unspecified() {
        Err(Fault::RouterUnspecified(address))
    } else {
        Ok(address)
    }
}

/// Parses a whole number.
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

/// Parses a number of bytes, with or without a unit.
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

/// Parses `true` or `false`.
pub(crate) fn switch(text: &str) -> Result<bool, Fault> {
    text.trim()
        .parse()
        .map_err(|_| Fault::NotASwitch(text.to_owned()))
}

/// Parses the name of one of `values`.
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

/// Parses the ISD-AS number of one AS.
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

/// Parses `ISD-AS#INTERFACE=ADDRESS:PORT`. Errors quote only the part before or after the `=`: in the file, these are
/// the key and the value.
pub(crate) fn next_hop(text: &str) -> Result<NextHop, Fault> {
    let (key, address) = text
        .split_once('=')
        .ok_or_else(|| Fault::NotANextHop(text.to_owned()))?;
    let not_an_interface = |reason| Fault::NotAnInterface {
        key: key.to_owned(),
        reason,
    };
    let (isd_as_text, interface) = key
        .split_once('#')
        .ok_or_else(|| not_an_interface("#INTERFACE is missing"))?;
    Ok(NextHop {
        isd_as: isd_as(isd_as_text).map_err(|fault| match fault {
            Fault::WildcardIsdAs(_) => not_an_interface("the ISD-AS number is a wildcard"),
            _ => not_an_interface("the ISD-AS number is invalid"),
        })?,
        interface: number(interface, 1, u16::MAX.into())
            .ok()
            .and_then(|interface| u16::try_from(interface).ok())
            .ok_or_else(|| not_an_interface("the interface is not a number from 1 to 65535"))?,
        address: router_address(address, 31002)?,
    })
}

/// Parses a prefix of IP addresses, except one that contains all addresses.
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

/// Returns the IPv4 prefix of an IPv6 prefix of IPv4-mapped addresses.
fn mapped_prefix(prefix: IpNet) -> Option<IpNet> {
    let IpAddr::V6(ip) = prefix.addr() else {
        return None;
    };
    let length = prefix.prefix_len().checked_sub(96)?;
    IpNet::new(ip.to_ipv4_mapped()?.into(), length).ok()
}

/// Parses a prefix of IP addresses, or `any`, which is `None`.
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

/// Parses a kind of dispatch.
pub(crate) fn dispatch(text: &str) -> Result<Dispatch, Fault> {
    choice(text, &DISPATCHES, dispatch_name)
}

/// Parses the value of the setting `dispatch`: `kernel` or `user`.
///
/// # Errors
///
/// A message that lists both values.
pub fn parse_dispatch(text: &str) -> Result<Dispatch, String> {
    dispatch(text).map_err(|fault| fault.to_string())
}

/// Parses a filter of log messages: comma-separated levels and directives. Returns it without spaces.
pub(crate) fn log_filter(text: &str) -> Result<String, Fault> {
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    // `EnvFilter` reads other words as targets, which would silence the messages of all other targets.
    let is_valid = |directive: &&str| {
        directive.contains(['=', '['])
            || (!directive.is_empty() && directive.parse::<LevelFilter>().is_ok())
    };
    let filter = directives.join(",");
    if directives.iter().all(is_valid) && EnvFilter::builder().parse(&filter).is_ok() {
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
    fn address_is_an_ip_address_with_a_port() {
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
    fn ipv4_mapped_address_is_rejected() {
        let fault = socket_address("[::ffff:192.0.2.1]:7", 1).unwrap_err();
        assert!(
            fault.to_string().ends_with("write it as 192.0.2.1:7"),
            "{fault}"
        );
    }

    #[test]
    fn addresses_that_cannot_be_served_are_rejected_with_the_reason() {
        let rejected = |result: Result<SocketAddr, Fault>| result.unwrap_err().to_string();
        for (text, reason) in [
            ("224.0.0.1:7", "is a multicast address"),
            ("[ff02::1]:7", "is a multicast address"),
            ("255.255.255.255:7", "is the broadcast address"),
            ("[fe80::1]:7", "is a link-local address"),
            ("[fe80::1%2]:7", "is a link-local address"),
        ] {
            let fault = rejected(listen_address(text, 1));
            assert!(fault.contains(reason), "{text}: {fault}");
        }
        for text in ["224.0.0.1:7", "255.255.255.255:7", "[fe80::1]:7"] {
            for parse in [own_address, router_address] {
                assert!(rejected(parse(text, 1)).starts_with(text), "{text}");
            }
        }
        for text in ["0.0.0.0:7", "[::]:7", "169.254.0.1:7", "[fd00::1]:7"] {
            assert!(listen_address(text, 1).is_ok(), "{text}");
        }
        assert!(own_address("[fe80::1%2]:7", 1).is_ok());
        assert!(router_address("[fe80::1%2]:7", 1).is_ok());
    }

    #[test]
    fn plain_http_is_clear_text_except_to_this_host() {
        for url in [
            "http://10.0.0.2:48080",
            "http://snap.example.org",
            "http://[2001:db8::1]/",
            "http://localhost.example.org",
            "HTTP://10.0.0.2",
        ] {
            assert!(is_clear_text(url), "{url}");
        }
        for url in [
            "https://10.0.0.2",
            "http://127.0.0.1:48080/path",
            "http://127.1.2.3",
            "http://[::1]:80",
            "http://[::ffff:127.0.0.1]",
            "http://localhost:80",
            "http://LOCALHOST",
        ] {
            assert!(!is_clear_text(url), "{url}");
        }
    }

    #[test]
    fn next_hop_is_parsed() {
        let hop = next_hop("1-ff00:0:110#65535=[2001:db8::1]:31002").unwrap();
        assert_eq!(hop.isd_as, "1-ff00:0:110".parse().unwrap());
        assert_eq!(hop.interface, 65535);
        assert_eq!(hop.address, "[2001:db8::1]:31002".parse().unwrap());
    }

    #[test]
    fn error_of_a_next_hop_quotes_the_wrong_part() {
        for (text, end) in [
            ("1-ff00:0:110#1", ", got \"1-ff00:0:110#1\""),
            (
                "1-ff00:0:110=10.0.0.1:1",
                ", got \"1-ff00:0:110\": #INTERFACE is missing",
            ),
            (
                "1-ff00:0:zzz#1=10.0.0.1:1",
                ", got \"1-ff00:0:zzz#1\": the ISD-AS number is invalid",
            ),
            (
                "0-1#1=10.0.0.1:1",
                ", got \"0-1#1\": the ISD-AS number is a wildcard",
            ),
            (
                "1-0#1=10.0.0.1:1",
                ", got \"1-0#1\": the ISD-AS number is a wildcard",
            ),
            (
                "1-1#0=10.0.0.1:1",
                ", got \"1-1#0\": the interface is not a number from 1 to 65535",
            ),
            (
                "1-1#65536=10.0.0.1:1",
                ", got \"1-1#65536\": the interface is not a number from 1 to 65535",
            ),
            (
                "1-1#1=router:1",
                ", got \"router:1\" (host names are not resolved)",
            ),
            (
                "1-1#1=10.0.0.1:0",
                "10.0.0.1:0 has port 0; use the router's port",
            ),
            (
                "1-1#1=0.0.0.0:1",
                "0.0.0.0:1 is the wildcard address; use the router's address",
            ),
            (
                "1-1#1=[::]:1",
                "[::]:1 is the wildcard address; use the router's address",
            ),
        ] {
            let fault = next_hop(text).unwrap_err().to_string();
            assert!(fault.ends_with(end), "{text}: {fault}");
        }
    }

    #[test]
    fn prefixes_without_host_bits_and_below_all_addresses_are_valid() {
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
    fn any_is_an_alternative_to_a_prefix() {
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
        fn formatted_size_is_parsed_back(bytes in 0..=usize::MAX) {
            prop_assert_eq!(size(&format_size(bytes), 0, usize::MAX), Ok(bytes));
        }

        #[test]
        fn formatted_size_with_a_unit_is_parsed_back(count in 0..4096_usize, shift in 0..4_u32) {
            let bytes = count << (10 * shift);
            prop_assert_eq!(size(&format_size(bytes), 0, usize::MAX), Ok(bytes));
        }

        #[test]
        fn formatted_next_hop_is_parsed_back(
            isd in 1..=u16::MAX,
            asn in 1..1_u64 << 48,
            interface in 1..=u16::MAX,
            ip: [u8; 4],
            port in 1..=u16::MAX,
        ) {
            let address = SocketAddr::from((ip, port));
            prop_assume!(!address.ip().is_unspecified() && unicast(address).is_ok());
            let hop = NextHop {
                isd_as: IsdAs::from_u64(u64::from(isd) << 48 | asn),
                interface,
                address,
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
