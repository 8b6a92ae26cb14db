//! Network interfaces that sockets are bound to, and whether they still exist.
//!
//! The kernel binds a socket to the index of an interface. If the interface is deleted and created again, for example by
//! a restart of the network manager, its name has another index, and the sockets receive nothing any more. Binding them
//! again needs CAP_NET_RAW, so a restart of the process is the remedy.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use rustix::net::netdevice::{index_to_name_inlined, name_to_index};
use udp_shards::InterfaceName;

use crate::repeated_warning::RepeatedWarning;

/// An interface that sockets are bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundInterface {
    name: InterfaceName,
    index: u32,
}

impl BoundInterface {
    /// Returns the interface with this name.
    ///
    /// # Errors
    ///
    /// There is none, or the kernel cannot be asked.
    pub(crate) fn by_name(name: InterfaceName) -> io::Result<Self> {
        // Any socket can be asked, and sandboxes rarely forbid this one.
        let index = name_to_index(UnixDatagram::unbound()?, name.as_str())?;
        Ok(Self { name, index })
    }
}

/// An interface was deleted and created again.
#[derive(Debug, thiserror::Error)]
#[error(
    "the interface {0} was deleted and created again, and the sockets bound to the former one receive nothing; start \
     the gateway again (Restart=on-failure of the service does)"
)]
pub(crate) struct InterfaceReplaced(InterfaceName);

/// State of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It exists, under its name or another one.
    Exists,
    Missing,
    /// Another interface has its name.
    Replaced,
}

/// Watches interfaces.
pub(crate) struct InterfaceWatch {
    interfaces: Vec<(BoundInterface, RepeatedWarning)>,
}

impl InterfaceWatch {
    pub(crate) fn new(interfaces: impl IntoIterator<Item = BoundInterface>) -> Self {
        Self {
            interfaces: interfaces
                .into_iter()
                .map(|bound| (bound, RepeatedWarning::default()))
                .collect(),
        }
    }

    /// Warns of missing interfaces, once a minute.
    ///
    /// # Errors
    ///
    /// An interface was replaced by another one with its name.
    pub(crate) fn check(&mut self, now: Instant) -> Result<(), InterfaceReplaced> {
        for (interface, warning) in &mut self.interfaces {
            match state(*interface) {
                State::Exists => {
                    warning.end();
                }
                State::Replaced => return Err(InterfaceReplaced(interface.name)),
                State::Missing if warning.is_due(now) => tracing::warn!(
                    interface = %interface.name,
                    hint = "its sockets receive nothing; when it returns, the gateway ends, so that a restart binds to it",
                    "interface missing"
                ),
                State::Missing => {}
            }
        }
        Ok(())
    }
}

/// Asks the kernel for the state of an interface; one that cannot be asked about counts as existing.
fn state(BoundInterface { name, index }: BoundInterface) -> State {
    let Ok(socket) = UnixDatagram::unbound() else {
        return State::Exists;
    };
    let no_device = |error| error == rustix::io::Errno::NODEV;
    // By index first: the interface may have another name now.
    match index_to_name_inlined(&socket, index) {
        Err(error) if no_device(error) => {}
        _ => return State::Exists,
    }
    match name_to_index(&socket, name.as_str()) {
        Ok(_) => State::Replaced,
        Err(_) => State::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(name: &str, index: u32) -> BoundInterface {
        BoundInterface {
            name: name.parse().unwrap(),
            index,
        }
    }

    #[test]
    fn an_interface_is_known_by_its_index() {
        let lo = BoundInterface::by_name("lo".parse().unwrap()).unwrap();
        assert_eq!(state(lo), State::Exists);
        assert_eq!(state(bound("old-name", lo.index)), State::Exists);
        // Larger than any index in use.
        assert_eq!(state(bound("lo", u32::MAX >> 1)), State::Replaced);
        assert_eq!(state(bound("gone", u32::MAX >> 1)), State::Missing);
        let missing = BoundInterface::by_name("gone".parse().unwrap()).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(19), "ENODEV");
    }
}
