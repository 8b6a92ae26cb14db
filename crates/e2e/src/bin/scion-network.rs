//! The SCION network of `docs/TUTORIAL-SNAP.md`: three ASes, simulated by PocketSCION, with a SNAP in the first.
//!
//! Usage: `scion-network INTERNAL-ADDRESS-OF-THE-SNAP`
//!
//! The routers and endhost APIs have the four ports after that of the SNAP. Runs until it is killed.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program writes to standard output and standard error"
)]

use std::env;
use std::net::SocketAddr;
use std::process::ExitCode;

use snapgate_e2e::{Network, NetworkAddresses, SNAP_AS, SNAP_INTERFACES, UDP_AS};

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let snap = arguments.next().map(|text| text.parse::<SocketAddr>());
    let (Some(Ok(snap)), None) = (snap, arguments.next()) else {
        eprintln!("usage: scion-network ADDRESS:PORT (the internal address of the SNAP)");
        return ExitCode::FAILURE;
    };
    let Some(last) = snap.port().checked_add(4) else {
        eprintln!("error: {snap}: the four ports after it are needed as well");
        return ExitCode::FAILURE;
    };
    let port = |number| SocketAddr::new(snap.ip(), last - 4 + number);
    let addresses = NetworkAddresses {
        snap_router: port(1),
        snap_endhost_api: port(2),
        udp_router: port(3),
        udp_endhost_api: port(4),
    };
    let network = Network::start(snap, addresses).await;
    let NetworkAddresses {
        snap_router,
        snap_endhost_api,
        udp_router,
        udp_endhost_api,
    } = network.addresses();
    let [first, second] = SNAP_INTERFACES;
    println!("{SNAP_AS}: SNAP at {snap}");
    println!("{SNAP_AS}: router at {snap_router}, interfaces {first} and {second}");
    println!("{SNAP_AS}: endhost API at http://{snap_endhost_api}");
    println!("{UDP_AS}: router at {udp_router}");
    println!("{UDP_AS}: endhost API at http://{udp_endhost_api}");
    network.run().await;
    ExitCode::SUCCESS
}
