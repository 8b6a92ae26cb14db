//! The client of `docs/TUTORIAL.md`: opens a tunnel with `snap-tun` and sends one SCION packet to itself, which the
//! gateway forwards back into the tunnel.
//!
//! Usage: `snap-tun-client GATEWAY PUBLIC-KEY PRIVATE-KEY-FILE`
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program writes to standard output and standard error"
)]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use scion_packet::build::PacketBuilder;
use scion_packet::upper_layer::SCMP;
use scion_packet::{IsdAs, ScionPacket};
use snapgate::keys::{PrivateKey, PublicKey};
use snapgate_interop::SnapTunClient;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Time limit of the handshake and of the packet. Each takes a round trip.
const TIMEOUT: Duration = Duration::from_secs(10);
const PAYLOAD: &[u8] = b"hello, SCION";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [gateway, public_key, key_file] = &arguments[..] else {
        return Err("usage: snap-tun-client GATEWAY PUBLIC-KEY PRIVATE-KEY-FILE".into());
    };
    let gateway = gateway.parse::<SocketAddr>().map_err(|_| {
        format!("GATEWAY: expected an address such as 127.0.0.1:51820, got {gateway:?}")
    })?;
    let public_key =
        PublicKey::from_base64(public_key).map_err(|error| format!("PUBLIC-KEY: {error}"))?;
    let text = fs::read_to_string(key_file).map_err(|error| format!("{key_file}: {error}"))?;
    let identity =
        PrivateKey::from_base64(text.trim()).map_err(|error| format!("{key_file}: {error}"))?;

    // A free port of the source address for the route to the gateway.
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    probe.connect(gateway).await?;
    let own_ip: IpAddr = probe.local_addr()?.ip();
    let socket = Arc::new(UdpSocket::bind((own_ip, 0)).await?);

    let gateway_key = x25519_dalek::PublicKey::from(*public_key.as_bytes());
    let connect = SnapTunClient::try_connect(&gateway_key, gateway, &identity, socket);
    let client = timeout(TIMEOUT, connect)
        .await
        .map_err(|_| {
            format!(
                "no answer from {gateway} within {TIMEOUT:?}; see docs/OPERATIONS.md, Problems of one client"
            )
        })??;
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
    if received[..] != packet[..] {
        return Err(explain(&received, own.isd_as).into());
    }
    println!(
        "received {} bytes: {}",
        received.len(),
        String::from_utf8_lossy(PAYLOAD)
    );
    Ok(())
}

/// Explains a packet other than the one that was sent.
fn explain(received: &[u8], own: IsdAs) -> String {
    let packet = ScionPacket::parse(received).ok();
    let upper_layer = packet.and_then(|packet| packet.upper_layer().ok());
    match upper_layer.filter(|upper_layer| upper_layer.protocol == SCMP) {
        Some(scmp) => {
            let [kind, code] =
                [0_usize, 1].map(|index| scmp.bytes.get(index).copied().unwrap_or(0));
            format!(
                "the gateway refused the packet (SCMP type {kind}, code {code}); this client is in {own}, compare \
                 local_isd_as"
            )
        }
        None => format!("received another packet of {} bytes", received.len()),
    }
}
