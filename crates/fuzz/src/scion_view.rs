//! SCION packets, read by `scion-packet` and by sciparse.

use std::net::IpAddr;

use scion_packet::{IsdAs, ScionAddress};

use testkit::oracle::agreement::{
    assert_same_policy, assert_same_port, assert_same_quote, assert_same_view, tunnels,
};
use testkit::oracle::reading::read_all;

/// Host behind the tunnel: the sender or receiver of the packets in the corpus.
const CLIENT: ScionAddress = ScionAddress {
    isd_as: IsdAs::from_u64(0x0001_ff00_0000_0110),
    ip: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
};

/// Host in another AS.
const PEER: ScionAddress = ScionAddress {
    isd_as: IsdAs::from_u64(0x0002_ff00_0000_0222),
    ip: IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
};

/// Reads `data` as a packet with all functions that read packets, and compares the results with sciparse.
pub fn run(data: &[u8]) {
    read_all(data, CLIENT, PEER);
    assert_same_view(data);
    assert_same_port(data);
    for remote in tunnels(data) {
        assert_same_policy(data, remote);
        assert_same_quote(data, remote);
    }
}
