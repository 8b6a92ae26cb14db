//! Virtual Ethernet links between namespaces.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::Namespace;

/// Time for which a port collects datagrams before it passes them on.
const GATHER: Duration = Duration::from_micros(200);

/// A virtual Ethernet link. The kernel removes it with the namespaces of its ports.
#[derive(Clone, Debug)]
pub struct Veth {
    /// Port in the first namespace.
    pub left: Port,
    /// Port in the second namespace.
    pub right: Port,
}

/// One end of a [`Veth`].
#[derive(Clone, Debug)]
pub struct Port {
    namespace: Namespace,
    name: String,
}

/// Packet counters of a port (`/proc/net/dev`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Packets received, before GRO merges them.
    pub received: u64,
    /// Packets dropped on receive because the port's ring of 256 packets was full.
    pub receive_drops: u64,
    /// Packets sent; a GSO train that the port does not split counts once.
    pub sent: u64,
    /// Packets dropped on send.
    pub send_drops: u64,
}

impl Veth {
    /// Joins two namespaces by a link that is up and without addresses.
    #[must_use]
    pub fn between(left: &Namespace, right: &Namespace) -> Self {
        static LINKS: AtomicU32 = AtomicU32::new(0);
        let number = LINKS.fetch_add(1, Ordering::Relaxed);
        let [left, right] = [(left, 'l'), (right, 'r')].map(|(namespace, side)| Port {
            namespace: namespace.clone(),
            name: format!("veth{number}{side}"),
        });
        // One queue: a network card selects the queue by the flow, but veth by the sending CPU.
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

    /// Makes both ends behave like network cards: single packets on the wire, and datagrams of one flow merged on
    /// receive (GRO) if they arrive within 200 µs.
    ///
    /// The kernel merges datagrams only for a socket with UDP_GRO, and only if they have the same Ethernet and IP
    /// addresses, ports, TTL, TOS and length (the last of a train may be shorter), a UDP checksum, and
    /// - over IPv4, an ID that is constant, as from unconnected sockets, or counts up;
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
    /// Returns the name of the interface.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the namespace of the port.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Adds an address with its prefix length: `10.0.0.1/24`, `fd00::1/64`.
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

    /// Sets whether trains leave whole (true, the default) or are split into single packets (false).
    pub fn set_segmentation_offload(&self, on: bool) {
        self.set_feature("tso", on);
        self.set_feature("tx-udp-segmentation", on);
    }

    /// Turns on GRO: received datagrams of one flow that arrive within 200 µs become one train, see
    /// [`Veth::emulate_network_cards`]. Without effect while the other end sends trains whole: the kernel then bypasses
    /// GRO to keep TCP fast.
    pub fn merge_datagrams(&self) {
        self.set_feature("gro", true);
        self.set_napi("gro_flush_timeout", GATHER.as_nanos());
        // Number of consecutive empty polls by that timer before interrupts are enabled again.
        self.set_napi("napi_defer_hard_irqs", 100);
    }

    /// Delays or drops packets that leave by the port. `netem` has the arguments of tc-netem(8), such as
    /// `delay 10ms loss 1%`.
    pub fn set_netem(&self, netem: &str) {
        self.namespace.shell(&format!(
            "tc qdisc replace dev {} root netem {netem}",
            self.name
        ));
    }

    /// Returns the kernel's packet counters of the port.
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

    /// Writes a file of the interface in sysfs. sysfs shows the interfaces of the namespace in which it was mounted,
    /// hence the new mount.
    fn set_napi(&self, setting: &str, value: u128) {
        self.namespace.shell(&format!(
            "unshare --mount sh -euc 'mount -t sysfs sysfs /sys
             echo {value} >/sys/class/net/{}/{setting}'",
            self.name
        ));
    }
}
