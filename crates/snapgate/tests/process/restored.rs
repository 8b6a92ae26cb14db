//! Restored virtual machines, as the kernel reports them.

use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sendto, socket_with};
use testkit::{identity, in_namespace};

use crate::gateway;

/// Type of the first message of a netlink protocol (`NLMSG_MIN_TYPE`).
const MESSAGE_TYPE: u16 = 0x10;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;

/// Sends a uevent to the sockets of this network namespace, in the kernel's name. It takes root of the namespace.
fn send_uevent(part: &str) {
    let text = format!("change@/devices/platform/VMGENCTR:00\0ACTION=change\0{part}\0");
    let length = 16 + text.len() as u32;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(MESSAGE_TYPE.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Sequence number and port ID.
    message.extend([0; 8]);
    message.extend(text.as_bytes());

    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(KOBJECT_UEVENT),
    )
    .unwrap();
    let kernel = SocketAddrNetlink::new(0, 0);
    let sent = sendto(&socket, &message, SendFlags::empty(), &kernel).unwrap();
    assert_eq!(sent, message.len());
}

#[test]
fn sessions_end_when_the_kernel_reports_a_restored_virtual_machine() {
    const INITIATION: u8 = 1;
    const DATA: u8 = 4;
    in_namespace(
        "restored::sessions_end_when_the_kernel_reports_a_restored_virtual_machine",
        || {
            let mut gateway = gateway().start();
            let mut client = gateway.connect(&identity());
            send_uevent("NEW_VMGENID=0");
            client.send(b"before");
            assert_eq!(client.receive(), b"before");

            send_uevent("NEW_VMGENID=1");
            gateway.wait_for_log("all sessions ended");
            // The gateway begins the next handshake: the client need not send anything.
            for kind in [INITIATION, DATA] {
                let datagram = client.receive_datagram().expect("a message");
                assert_eq!(datagram[0], kind);
                assert_eq!(client.handle(&datagram), None);
            }
            client.send(b"after");
            assert_eq!(client.receive(), b"after");
            let reopened = gateway
                .metrics()
                .sum_where("snapgate_tunnel_changes_total", &[("change", "reopened")]);
            assert_eq!(reopened, 1);
        },
    );
}
