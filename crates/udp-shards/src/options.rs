//! Socket options, requested and granted.

use std::fmt;
use std::str::FromStr;

/// Options of each socket that this crate binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Receive trains (UDP_GRO): the kernel joins consecutive datagrams of one flow into one buffer. Default: true.
    pub gro: bool,
    /// Send trains (UDP_SEGMENT): consecutive datagrams to one destination are sent as one buffer. Default: true.
    pub gso: bool,
    /// Requested receive buffer per socket, in bytes as SO_RCVBUF counts them. Default: 8 MiB.
    pub receive_buffer_bytes: usize,
    /// Requested send buffer per socket, in bytes as SO_SNDBUF counts them. Default: 4 MiB.
    pub send_buffer_bytes: usize,
    /// Interface that the socket receives from and sends to, for example a VRF (SO_BINDTODEVICE). Default: none, so the
    /// routes decide. Requires Linux 5.7, or CAP_NET_RAW.
    ///
    /// The kernel binds to the interface's index. The binding survives a new name of the interface, but not its
    /// deletion: an interface created again under the same name has another index, and the socket receives nothing.
    pub interface: Option<InterfaceName>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            gro: true,
            gso: true,
            receive_buffer_bytes: 8 * 1024 * 1024,
            send_buffer_bytes: 4 * 1024 * 1024,
            interface: None,
        }
    }
}

/// Maximum length of an interface's name in bytes: IFNAMSIZ without the final zero.
const INTERFACE_NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// Name of a network interface.
///
/// ```
/// use udp_shards::InterfaceName;
///
/// let name: InterfaceName = "eth0".parse()?;
/// assert_eq!(name.as_str(), "eth0");
/// # Ok::<(), udp_shards::InvalidInterfaceName>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InterfaceName {
    /// UTF-8, padded with zeros.
    bytes: [u8; INTERFACE_NAME_MAX],
    length: u8,
}

impl InterfaceName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length.into()).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default()
    }
}

/// The text is not the name of an interface: 1 to 15 bytes without `/`, `:` and white space, and neither `.` nor `..`
/// (`dev_valid_name` of Linux).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the name of an interface: expected 1 to 15 bytes without '/', ':' and spaces")]
pub struct InvalidInterfaceName;

impl FromStr for InterfaceName {
    type Err = InvalidInterfaceName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let is_reserved = |c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace();
        if name.is_empty() || matches!(name, "." | "..") || name.contains(is_reserved) {
            return Err(InvalidInterfaceName);
        }
        let mut bytes = [0; INTERFACE_NAME_MAX];
        bytes
            .get_mut(..name.len())
            .ok_or(InvalidInterfaceName)?
            .copy_from_slice(name.as_bytes());
        let length = u8::try_from(name.len()).map_err(|_| InvalidInterfaceName)?;
        Ok(Self { bytes, length })
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Buffer sizes of each socket of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferReport {
    /// Receive buffer.
    pub receive: BufferSize,
    /// Send buffer.
    pub send: BufferSize,
}

/// Size of a socket buffer, requested and granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSize {
    /// Size requested in [`SocketOptions`], in bytes.
    pub wanted_bytes: usize,
    /// Size granted by the kernel, in the same unit. Less than requested if `net.core.rmem_max` or
    /// `net.core.wmem_max` is smaller and the process lacks CAP_NET_ADMIN.
    pub got_bytes: usize,
}

impl BufferSize {
    /// Returns true if the kernel granted less than requested.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.got_bytes < self.wanted_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_the_kernel() {
        for name in ["lo", "eth0", "vrf-red", "a.100", "abcdefghijklmno"] {
            assert_eq!(
                name.parse().map(|name: InterfaceName| name.to_string()),
                Ok(name.to_owned())
            );
        }
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "eth0:1",
            "a b",
            "a\n",
            "abcdefghijklmnop",
            "a\0",
        ] {
            assert_eq!(
                name.parse::<InterfaceName>(),
                Err(InvalidInterfaceName),
                "{name:?}"
            );
        }
    }
}
