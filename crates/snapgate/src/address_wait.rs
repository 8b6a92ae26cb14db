//! Waiting for addresses and interfaces that the host does not have yet.
//!
//! At boot, a service can start before DHCP, duplicate address detection or the network manager has assigned its address.
//! Without a wait, several starts fail within a second, and the service manager gives up.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use udp_shards::{BindError, BindStep, InterfaceName, SocketOptions, bind_client_socket};

use crate::config::Config;

/// Maximum time to wait. A restart after it is late enough that systemd does not give up (five starts in 10 s).
const TIMEOUT: Duration = Duration::from_secs(10);

/// Interval between tries.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until the host has the addresses and interfaces of `config`, at most 10 s. Other errors are left to the start,
/// and so is an address that is still missing.
pub(crate) fn wait_for_addresses(config: &Config) {
    let scion = config.forward.scion();
    let internal = scion.map(|scion| (scion.internal, scion.interface));
    let listen = config
        .listen
        .iter()
        .map(|address| (*address, config.listen_interface));
    let metrics = config.metrics.map(|address| (address, None));
    let wanted = listen.chain(internal).chain(metrics);
    let deadline = Instant::now() + TIMEOUT;
    for (address, interface) in wanted {
        wait_for(address, interface, deadline);
    }
}

fn wait_for(address: SocketAddr, interface: Option<InterfaceName>, deadline: Instant) {
    let mut is_logged = false;
    while let Some(error) = missing(address, interface) {
        if Instant::now() >= deadline {
            return;
        }
        if !is_logged {
            is_logged = true;
            tracing::warn!(%address, %error, timeout = ?TIMEOUT, "address not available, waiting for it");
        }
        std::thread::sleep(RETRY_INTERVAL);
    }
    if is_logged {
        tracing::info!(%address, "address available");
    }
}

/// Returns the error if the host does not have the address or the interface.
fn missing(mut address: SocketAddr, interface: Option<InterfaceName>) -> Option<BindError> {
    // The port may be in use, which is not the question.
    address.set_port(0);
    let options = SocketOptions {
        gro: false,
        receive_buffer_bytes: 0,
        send_buffer_bytes: 0,
        interface,
        ..SocketOptions::default()
    };
    let error = bind_client_socket(address, &options).err()?;
    let (BindError::Interface { source, .. }
    | BindError::Refused {
        step: BindStep::Bind,
        source,
        ..
    }) = &error
    else {
        return None;
    };
    let is_no_device = source.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error());
    let is_missing = source.kind() == io::ErrorKind::AddrNotAvailable || is_no_device;
    is_missing.then_some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_addresses_and_interfaces_are_waited_for() {
        let is_missing = |address: &str, interface: Option<&str>| {
            let interface = interface.map(|name| name.parse().unwrap());
            missing(address.parse().unwrap(), interface).is_some()
        };
        // An address for documentation (RFC 5737), which no interface has.
        assert!(is_missing("192.0.2.1:51820", None));
        assert!(is_missing("127.0.0.1:51820", Some("no-such-device")));
        assert!(!is_missing("127.0.0.1:1", None));
        assert!(!is_missing("0.0.0.0:51820", None));
    }
}
