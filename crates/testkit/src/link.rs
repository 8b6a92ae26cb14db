//! Virtual Ethernet links between namespaces.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::Namespace;

/// Time for which a port gathers datagrams before it passes them on.
const GATHER: Duration = Duration::from_micros(200);

/// A virtual Ethernet link. It goes with the namespaces of its ports.
#[derive(Clone, Debug)]
pub struct Veth {
    /// The port in the first namespace.
    pub left: Port,
    /// The port in the second namespace.
    pub right: Port,
}

/// One end of a [`Veth`].
#[derive(Clone, Debug)]
pub struct Port {
    namespace: Namespace,
    name: String,
}

/// Packets that passed a port, as the kernel counts them (`/proc/net/dev`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Packets received; what GRO joins later counts apart.
    pub received: u64,
    /// Packets dropped on receive: the port's ring of 256 packets was full.
    pub receive_drops: u64,
    /// Packets sent; a GSO train that the port need not split counts once.
    pub sent: u64,
    /// Packets dropped on send.
    pub send_drops: u64,
}

impl Veth {
    /// Joins two namespaces by a link that is up and has no addresses.
    #[must_use]
    pub fn between(left: &Namespace, right: &Namespace) -> Self {
        static LINKS: AtomicU32 = AtomicU32::new(0);
        let number = LINKS.fetch_add(1, Ordering::Relaxed);
        let [left, right] = [(left, 'l'), (right, 'r')].map(|(namespace, side)| Port {
            namespace: namespace.clone(),
            name: format!("veth{number}{side}"),
        });
        // One queue: a card picks the queue by the flow, but veth by the CPU that sends.
        let queues = "numtxqueues 1 numrxqueues 1";
        left.namespace.shell(&format!(
            "ip link add {} {queues} type veth peer name {} {queues} netns {}",
            left.name,
            right.name,
            right.namespace.path()
        ));
        for port in [&left, &right] {
            port.namespace
                .shell(&format!("ip link set {} up", port.name));
        }
        Self { left, right }
    }

    /// Lets both ends work like network cards: single packets on the wire, and datagrams of one
    /// flow merged on receive (GRO) when they arrive within 200 µs.
    ///
    /// The kernel merges datagrams only for a socket with UDP_GRO, and only when they have the
    /// same Ethernet and IP addresses, ports, TTL, TOS and length (the last of a train may be
    /// shorter), a UDP checksum, and
    /// - over IPv4, an ID that stays the same, as unconnected sockets send it, or counts up;
    /// - over IPv6, the same flow label (see `net.ipv6.auto_flowlabels`).
    pub fn emulate_network_cards(&self) {
        for port in [&self.left, &self.right] {
            port.set_segmentation_offload(false);
        }
        for port in [&self.left, &self.right] {
            port.merge_datagrams();
        }
    }
}

impl Port {
    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace that the port is in.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Adds an address with the length of its prefix: `10.0.0.1/24`, `fd00::1/64`.
    pub fn add_address(&self, address: &str) {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.namespace.shell(&format!(
            "ip address add {address} dev {} {nodad}",
            self.name
        ));
    }

    /// Sets the MTU, in bytes of the IP packet.
    pub fn set_mtu(&self, bytes: u32) {
        self.namespace
            .shell(&format!("ip link set {} mtu {bytes}", self.name));
    }

    /// Splits trains before they leave, so that the other end receives single packets (false), or
    /// passes them on whole (true, the default).
    pub fn set_segmentation_offload(&self, on: bool) {
        self.set_feature("tso", on);
        self.set_feature("tx-udp-segmentation", on);
    }

    /// Merges received datagrams (GRO). Those of one flow that arrive within 200 µs become one
    /// train, see [`Veth::emulate_network_cards`]. No effect while the other end passes trains on
    /// whole: then the kernel keeps GRO out of the way of TCP.
    pub fn merge_datagrams(&self) {
        self.set_feature("gro", true);
        self.set_napi("gro_flush_timeout", GATHER.as_nanos());
        // As many polls in a row by that timer before the link's own wake-ups count again.
        self.set_napi("napi_defer_hard_irqs", 100);
    }

    /// Delays or loses what leaves by the port: the arguments of tc-netem(8), such as
    /// `delay 10ms loss 1%`.
    pub fn set_netem(&self, netem: &str) {
        self.namespace.shell(&format!(
            "tc qdisc replace dev {} root netem {netem}",
            self.name
        ));
    }

    /// What the kernel counted.
    #[must_use]
    pub fn counters(&self) -> LinkCounters {
        let text = self.namespace.run(|| {
            fs::read_to_string("/proc/thread-self/net/dev").expect("the interfaces' counters")
        });
        let (_, line) = text
            .split_once(&format!("{}:", self.name))
            .expect("the port's counters");
        let numbers: Vec<u64> = line
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .map(|number| number.parse().expect("a number"))
            .collect();
        // Receive: bytes packets errs drop fifo frame compressed multicast; send: the same order.
        LinkCounters {
            received: numbers[1],
            receive_drops: numbers[3],
            sent: numbers[9],
            send_drops: numbers[11],
        }
    }

    fn set_feature(&self, feature: &str, on: bool) {
        let state = if on { "on" } else { "off" };
        self.namespace
            .shell(&format!("ethtool -K {} {feature} {state}", self.name));
    }

    /// Writes an interface's file in sysfs, which shows the namespace that it was mounted in.
    fn set_napi(&self, setting: &str, value: u128) {
        self.namespace.shell(&format!(
            "unshare --mount sh -euc 'mount -t sysfs sysfs /sys
             echo {value} >/sys/class/net/{}/{setting}'",
            self.name
        ));
    }
}
