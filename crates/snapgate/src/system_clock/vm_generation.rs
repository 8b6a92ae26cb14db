//! The kernel's reports that its virtual machine continues from a snapshot.
//!
//! A hypervisor with a VM generation ID device changes the ID when it restores or copies a machine. Since Linux 6.10 the
//! kernel reports the change as a uevent of the device (drivers/virt/vmgenid.c), which needs no privileges to receive.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};

/// Multicast group of the kernel's messages; udev sends to another one.
const KERNEL_GROUP: u32 = 1;

/// More than the kernel puts into a uevent (`UEVENT_BUFFER_SIZE`, 2048 bytes, and a header).
const MESSAGE_BYTES: usize = 8192;

/// Part of the message about a new generation ID.
const NEW_GENERATION: &[u8] = b"NEW_VMGENID=1";

/// A socket that receives the kernel's uevents.
pub(super) struct VmGeneration(OwnedFd);

impl VmGeneration {
    /// Opens the socket. Fails without netlink, for example with systemd's `RestrictAddressFamilies=AF_INET AF_INET6`.
    pub(super) fn watch() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(KOBJECT_UEVENT),
        )?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self(socket))
    }

    /// Waits for a message, at most for `time`.
    pub(super) fn wait(&self, time: Duration) {
        let timeout = Timespec::try_from(time).ok();
        // An error or a signal only makes the wait shorter.
        let _woken = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], timeout.as_ref());
    }

    /// Reads the messages that have arrived. Returns true if the generation has changed.
    ///
    /// # Errors
    ///
    /// The socket cannot be read any more.
    pub(super) fn has_changed(&self) -> io::Result<bool> {
        let mut has_changed = false;
        let mut buffer = [0; MESSAGE_BYTES];
        loop {
            match recvfrom(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _, sender)) => {
                    // Other senders have a port ID. To send in the kernel's name takes CAP_SYS_ADMIN over the network
                    // namespace.
                    let is_kernel = sender
                        .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
                        .is_some_and(|sender| sender.pid() == 0);
                    has_changed |= is_kernel && is_new_generation(&buffer[..length]);
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(has_changed),
                // ENOBUFS: messages were lost, which a gateway cannot help.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Returns true for a message about a new generation ID: strings that end with a zero byte.
fn is_new_generation(message: &[u8]) -> bool {
    message
        .split(|byte| *byte == 0)
        .any(|part| part == NEW_GENERATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_about_a_new_generation_count() {
        let with = |part: &str| format!("change@/devices/x\0ACTION=change\0{part}\0SEQNUM=1\0");
        assert!(is_new_generation(with("NEW_VMGENID=1").as_bytes()));
        for other in [
            "",
            "NEW_VMGENID=10",
            "XNEW_VMGENID=1",
            "new_vmgenid=1",
            "SYNTH_ARG_NEW_VMGENID=1",
        ] {
            assert!(!is_new_generation(with(other).as_bytes()), "{other}");
        }
        assert!(!is_new_generation(b""));
    }
}
