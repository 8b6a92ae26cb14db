//! Decapsulation and encapsulation with `Tunn` alone.

use std::net::SocketAddr;
use std::time::Duration;

use snaptun::Packet;

use crate::{RawTunnels, StepError, cpu, packet_to_remote};

/// Number of packets per batch: few enough to stay in the private cache of a core until they are measured.
const BATCH_PACKETS: usize = 256;

/// CPU time of cryptography, in nanoseconds per packet.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Crypto {
    /// Datagram to packet.
    pub decapsulate_ns: f64,
    /// Packet to datagram.
    pub encapsulate_ns: f64,
}

/// Measures both directions, with `tunnels` tunnels and packets of `sizes` in rotation.
///
/// # Errors
///
/// See [`StepError`].
pub fn measure_crypto(
    sizes: &[usize],
    tunnels: usize,
    budget: Duration,
) -> Result<Crypto, StepError> {
    let client = SocketAddr::from(([127, 0, 0, 1], 40_000));
    let packets: Vec<Vec<u8>> = sizes
        .iter()
        .map(|&size| packet_to_remote(client, size))
        .collect::<Result<_, _>>()?;
    let mut raw = RawTunnels::connect(tunnels)?;
    let decapsulate_ns = super::median_of_batches(budget / 2, || {
        let datagrams: Vec<Packet> = (0..BATCH_PACKETS)
            .zip(packets.iter().cycle())
            .map(|(number, packet)| raw.encapsulate_at_client(number, packet))
            .collect::<Result<_, _>>()?;
        per_packet(datagrams, |number, datagram| {
            raw.decapsulate_at_gateway(number, datagram)
        })
    })?;
    let encapsulate_ns = super::median_of_batches(budget / 2, || {
        let copies: Vec<Packet> = (0..BATCH_PACKETS)
            .zip(packets.iter().cycle())
            .map(|(_, packet)| Packet::copy_from(packet.as_slice()))
            .collect();
        per_packet(copies, |number, packet| {
            raw.encapsulate_at_gateway(number, packet)
        })
    })?;
    Ok(Crypto {
        decapsulate_ns,
        encapsulate_ns,
    })
}

/// Returns the CPU time of `step` per packet. Its results are freed at once, as a gateway sends them soon.
fn per_packet(
    packets: Vec<Packet>,
    mut step: impl FnMut(usize, Packet) -> Result<Packet, StepError>,
) -> Result<f64, StepError> {
    let count = packets.len();
    let before = cpu::thread_ns()?;
    for (number, packet) in packets.into_iter().enumerate() {
        std::hint::black_box(step(number, packet)?);
    }
    Ok((cpu::thread_ns()? - before) as f64 / count as f64)
}
