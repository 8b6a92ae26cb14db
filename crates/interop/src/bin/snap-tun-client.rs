//! The client of `docs/TUTORIAL.md`: opens a tunnel with `snap-tun` and sends one SCION packet to itself, which the
//! gateway forwards back into the tunnel.
//!
//! Usage: `snap-tun-client GATEWAY PUBLIC-KEY PRIVATE-KEY-FILE`
#![expect(
    clippy::print_stdout,
    reason = "a command line program writes to standard output"
)]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use scion_packet::build::PacketBuilder;
use snapgate::keys::{PrivateKey, PublicKey};
use snapgate_interop::SnapTunClient;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Time limit of the handshake and of the packet. Each takes a round trip.
const TIMEOUT: Duration = Duration::from_secs(10);
const PAYLOAD: &[u8] = b"hello, SCION";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [gateway, public_key, key_file] = &arguments[..] else {
        return Err("usage: snap-tun-client GATEWAY PUBLIC-KEY PRIVATE-KEY-FILE".into());
    };
    let gateway: SocketAddr = gateway.parse()?;
    let public_key = PublicKey::from_base64(public_key)?;
    let identity = PrivateKey::from_base64(fs::read_to_string(key_file)?.trim())?;

    // A free port of the source address for the route to the gateway.
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    probe.connect(gateway).await?;
    let own_ip: IpAddr = probe.local_addr()?.ip();
    let socket = Arc::new(UdpSocket::bind((own_ip, 0)).await?);

    let gateway_key = x25519_dalek::PublicKey::from(*public_key.as_bytes());
    let connect = SnapTunClient::try_connect(&gateway_key, gateway, &identity, socket);
    let client = timeout(TIMEOUT, connect)
        .await
        .map_err(|_| format!("no answer from {gateway} within {TIMEOUT:?}"))??;
    let own = client.scion_address();
    let port = client.address().port();
    println!("connected to {gateway} as {}", client.address());

    let mut packet = Vec::new();
    PacketBuilder::new(own, own).append_udp(port, port, PAYLOAD, &mut packet)?;
    client.send(&packet).await;
    println!(
        "sent {} bytes to {},{}:{port}",
        packet.len(),
        own.isd_as,
        own.ip
    );

    let received = timeout(TIMEOUT, client.receive())
        .await
        .map_err(|_| "the packet did not come back")?;
    let payload = &received[received.len().saturating_sub(PAYLOAD.len())..];
    println!(
        "received {} bytes: {}",
        received.len(),
        String::from_utf8_lossy(payload)
    );
    Ok(())
}
