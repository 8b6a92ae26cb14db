//! The SCION network around the SNAP: PocketSCION in router mode.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;

use chrono::Utc;
use pocketscion::io_config::IoConfig;
use pocketscion::network::scion::topology::{ScionAs, ScionTopologyBuilder};
use pocketscion::runtime::PocketScionRuntime;
use pocketscion::runtime::builder::PocketScionRuntimeBuilder;
use pocketscion::state::PocketScionState;
use pocketscion::util::addr_to_http_url;
use scion_sdk_utils::rustls::select_ring_crypto_provider;
use scion_stack::sciparse::identifier::asn::Asn;
use scion_stack::sciparse::identifier::isd::Isd;
use scion_stack::sciparse::identifier::isd_asn::IsdAsn;
use scion_stack::sciparse::path::ScionPath;
use scion_stack::url::Url;

/// AS of the SNAP.
pub const SNAP_AS: IsdAsn = IsdAsn::new(Isd(1), Asn::new(0xff00_0000_0110));

/// AS whose applications send to their router over UDP.
pub const UDP_AS: IsdAsn = IsdAsn::new(Isd(2), Asn::new(0xff00_0000_0210));

/// AS on a longer path between the two others.
const TRANSIT_AS: IsdAsn = IsdAsn::new(Isd(2), Asn::new(0xff00_0000_0220));

/// Interfaces of the SNAP's AS. The first leads to [`UDP_AS`], the second to the transit AS.
pub const SNAP_INTERFACES: [u16; 2] = [1, 2];

/// Interfaces of [`UDP_AS`].
const UDP_INTERFACES: [u16; 2] = [3, 4];

/// Addresses of a [`Network`]. Port 0 stands for a free port.
#[derive(Clone, Copy, Debug)]
pub struct NetworkAddresses {
    /// Internal address of the router of [`SNAP_AS`].
    pub snap_router: SocketAddr,
    /// Endhost API with the segments of [`SNAP_AS`].
    pub snap_endhost_api: SocketAddr,
    /// Internal address of the router of [`UDP_AS`].
    pub udp_router: SocketAddr,
    /// Endhost API of [`UDP_AS`].
    pub udp_endhost_api: SocketAddr,
}

impl NetworkAddresses {
    /// Returns free ports of `ip`.
    #[must_use]
    pub const fn free_ports(ip: IpAddr) -> Self {
        let any = SocketAddr::new(ip, 0);
        Self {
            snap_router: any,
            snap_endhost_api: any,
            udp_router: any,
            udp_endhost_api: any,
        }
    }
}

/// A running network of three core ASes, each linked to the two others. Drop stops it.
pub struct Network {
    runtime: PocketScionRuntime,
    addresses: NetworkAddresses,
}

impl Network {
    /// Starts the network. Its router in [`SNAP_AS`] sends packets for hosts of the AS to `snap`, the internal address
    /// of the gateway.
    pub async fn start(snap: SocketAddr, addresses: NetworkAddresses) -> Self {
        select_ring_crypto_provider();
        let mut state = PocketScionState::new(Utc::now());
        let mut topology = ScionTopologyBuilder::new();
        for isd_as in [SNAP_AS, UDP_AS, TRANSIT_AS] {
            topology.add_as(ScionAs::new_core(isd_as)).unwrap();
        }
        let [to_udp, to_transit] = SNAP_INTERFACES;
        let [from_snap, from_transit] = UDP_INTERFACES;
        for link in [
            format!("{SNAP_AS}#{to_udp} core {UDP_AS}#{from_snap}"),
            format!("{SNAP_AS}#{to_transit} core {TRANSIT_AS}#1"),
            format!("{UDP_AS}#{from_transit} core {TRANSIT_AS}#2"),
        ] {
            topology.add_link(link.parse().expect("a link")).unwrap();
        }
        state.set_topology(topology.build().expect("a topology"));

        let numbers = |interfaces: [u16; 2]| {
            let number = |interface| NonZero::new(interface).expect("an interface");
            interfaces.map(number).to_vec()
        };
        let snaps = BTreeMap::from([("snapgate".to_owned(), snap)]);
        let snap_router = state.add_router(SNAP_AS, numbers(SNAP_INTERFACES), vec![], snaps);
        let udp_router = state.add_router(UDP_AS, numbers(UDP_INTERFACES), vec![], BTreeMap::new());
        let snap_endhost_api = state.add_endhost_api([SNAP_AS]);
        let udp_endhost_api = state.add_endhost_api([UDP_AS]);
        let io = IoConfig::new();
        io.set_router_socket_addr(snap_router, addresses.snap_router);
        io.set_router_socket_addr(udp_router, addresses.udp_router);
        io.set_endhost_api_addr(snap_endhost_api, addresses.snap_endhost_api);
        io.set_endhost_api_addr(udp_endhost_api, addresses.udp_endhost_api);

        let runtime = PocketScionRuntimeBuilder::new()
            .with_system_state(state)
            .with_io_config(io)
            .start()
            .await
            .expect("PocketSCION starts");
        let addresses = NetworkAddresses {
            snap_router: runtime.router_socket_addr(snap_router).unwrap(),
            snap_endhost_api: runtime.endhost_api_addr(snap_endhost_api).unwrap(),
            udp_router: runtime.router_socket_addr(udp_router).unwrap(),
            udp_endhost_api: runtime.endhost_api_addr(udp_endhost_api).unwrap(),
        };
        Self { runtime, addresses }
    }

    /// Returns the addresses, with the ports that were free.
    #[must_use]
    pub const fn addresses(&self) -> &NetworkAddresses {
        &self.addresses
    }

    /// Returns the URL of the endhost API for applications in [`UDP_AS`].
    #[must_use]
    pub fn udp_endhost_api(&self) -> Url {
        addr_to_http_url(self.addresses.udp_endhost_api)
    }

    /// Returns the paths between two ASes, as the network knows them.
    #[must_use]
    pub fn paths(&self, from: IsdAsn, to: IsdAsn) -> Vec<ScionPath> {
        self.runtime.paths(from, to, Utc::now()).expect("paths")
    }

    /// Runs until the process ends.
    pub async fn run(self) {
        self.runtime.join().await;
    }
}
