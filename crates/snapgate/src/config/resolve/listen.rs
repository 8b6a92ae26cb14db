//! Resolution of the listen addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::{Resolver, first_place, strings};
use crate::config::fault::Fault;
use crate::config::options::Options;
use crate::config::place::Place;
use crate::config::problem::Warning;
use crate::config::raw::RawValue;
use crate::config::{settings, values};

/// Port of WireGuard's documentation.
const DEFAULT_PORT: u16 = 51820;

impl Resolver {
    pub(super) fn listen(&mut self, options: &mut Options) -> Vec<SocketAddr> {
        self.set(&settings::LISTEN_INTERFACE, options);
        let setting = &settings::LISTEN;
        let parse = |value: &RawValue| values::listen_address(&value.text, DEFAULT_PORT);
        let Some(values) = self.all(setting, parse) else {
            let (listen, warnings) = default_listen(|ip| UdpSocket::bind((ip, 0)).map(drop));
            self.warnings.extend(warnings);
            let note = "all addresses of this host".to_owned();
            self.record(setting, strings(&listen), Some(note), Place::Default);
            return listen;
        };
        let mut listen: Vec<SocketAddr> = Vec::new();
        for (address, place) in &values {
            let overlapping = listen.iter().find(|earlier| overlap(**earlier, *address));
            if let Some(&other) = overlapping {
                let fault = if other == *address {
                    Fault::Duplicate(address.to_string())
                } else {
                    Fault::ListenOverlap {
                        address: *address,
                        other,
                    }
                };
                self.report(Some(place.clone()), setting, fault);
            }
            listen.push(*address);
        }
        self.record(setting, strings(&listen), None, first_place(&values));
        listen
    }
}

/// Returns the wildcard address of each IP version for which `bind` makes a socket, and a warning for the other one: the
/// kernel may lack it, or a sandbox forbid it (`RestrictAddressFamilies=` of systemd). If there is no socket for either,
/// returns both, and the start fails with the reason.
fn default_listen(bind: impl Fn(IpAddr) -> io::Result<()>) -> (Vec<SocketAddr>, Vec<Warning>) {
    let wildcards = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let mut listen = Vec::new();
    let mut warnings = Vec::new();
    for ip in wildcards {
        let address = SocketAddr::new(ip, DEFAULT_PORT);
        match bind(ip) {
            Ok(()) => listen.push(address),
            Err(error) => warnings.push(Warning::FamilyUnavailable {
                address,
                reason: error.to_string(),
            }),
        }
    }
    if listen.is_empty() {
        let both = wildcards.map(|ip| SocketAddr::new(ip, DEFAULT_PORT));
        return (both.to_vec(), Vec::new());
    }
    (listen, warnings)
}

/// Returns true if both addresses receive the same datagrams. With port 0 the kernel chooses a free port.
pub(super) fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    let either_is_wildcard = left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() != 0
        && left.port() == right.port()
        && left.is_ipv4() == right.is_ipv4()
        && (either_is_wildcard || left.ip() == right.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORBIDDEN: i32 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();

    fn listen(has_ipv4: bool, has_ipv6: bool) -> (Vec<String>, Vec<String>) {
        let (listen, warnings) = default_listen(|ip| {
            if if ip.is_ipv4() { has_ipv4 } else { has_ipv6 } {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(FORBIDDEN))
            }
        });
        let texts = |list: &[&dyn ToString]| list.iter().map(|entry| entry.to_string()).collect();
        (
            texts(
                &listen
                    .iter()
                    .map(|address| address as _)
                    .collect::<Vec<_>>(),
            ),
            texts(
                &warnings
                    .iter()
                    .map(|warning| warning as _)
                    .collect::<Vec<_>>(),
            ),
        )
    }

    #[test]
    fn both_ip_versions_are_listened_on_if_the_kernel_has_them() {
        assert_eq!(
            listen(true, true),
            (
                vec!["0.0.0.0:51820".to_owned(), "[::]:51820".to_owned()],
                vec![]
            )
        );
    }

    #[test]
    fn an_ip_version_without_sockets_is_left_out_with_the_reason() {
        let (left, warnings) = listen(true, false);
        assert_eq!(left, ["0.0.0.0:51820"]);
        assert!(
            warnings[0].starts_with("not listening on [::]:51820: Address family not supported"),
            "{warnings:?}"
        );
        assert_eq!(listen(false, true).0, ["[::]:51820"]);
    }

    #[test]
    fn without_any_sockets_the_start_reports_the_reason() {
        assert_eq!(listen(false, false).0.len(), 2);
        assert!(listen(false, false).1.is_empty());
    }
}
