//! Bare tunnels of ana-gotatun: the cryptography in a floor.

use std::net::SocketAddr;
use std::sync::Arc;

use ana_gotatun::noise::index_table::IndexTable;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::noise::{Tunn, TunnResult};
use ana_gotatun::packet::WgKind;
use snaptun::{Packet, PublicKey, StaticSecret};

use crate::{StepError, gateway_key};

/// Both ends of tunnels.
pub struct RawTunnels {
    tunnels: Vec<(Tunn, Tunn)>,
}

impl RawTunnels {
    /// Connects `count` clients to as many `Tunn` of a gateway.
    ///
    /// # Errors
    ///
    /// [`StepError::Tunnel`] if a handshake fails.
    pub fn connect(count: usize) -> Result<Self, StepError> {
        let secret = gateway_key();
        let public = PublicKey::from(&secret);
        let limiter = Arc::new(RateLimiter::new(&public, u64::MAX));
        let indices = IndexTable::from_os_rng();
        let remote = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let tunn = |own: StaticSecret, peer| {
            Tunn::new(
                own,
                peer,
                None,
                None,
                indices.clone(),
                Arc::clone(&limiter),
                remote,
            )
        };
        let tunnels = (0..count as u64)
            .map(|number| {
                let mut own = [9; 32];
                own[..8].copy_from_slice(&number.to_be_bytes());
                let own = StaticSecret::from(own);
                let gateway = tunn(secret.clone(), PublicKey::from(&own));
                connect(tunn(own, public), gateway)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { tunnels })
    }

    /// Returns the datagram with `packet` of the client of tunnel `number`, modulo the number of tunnels.
    ///
    /// # Errors
    ///
    /// [`StepError::Tunnel`] if there is no session.
    pub fn encapsulate_at_client(
        &mut self,
        number: usize,
        packet: &[u8],
    ) -> Result<Packet, StepError> {
        let (client, _) = self.pair(number)?;
        encapsulate(client, Packet::copy_from(packet))
    }

    /// Returns the packet in a datagram of the client of tunnel `number`.
    ///
    /// # Errors
    ///
    /// [`StepError::Tunnel`] if the datagram is not authentic.
    pub fn decapsulate_at_gateway(
        &mut self,
        number: usize,
        datagram: Packet,
    ) -> Result<Packet, StepError> {
        let (_, gateway) = self.pair(number)?;
        let message = datagram
            .try_into_wg()
            .map_err(|_| StepError::Tunnel("the datagram is not a WireGuard message"))?;
        match gateway.handle_incoming_packet(message) {
            TunnResult::WriteToTunnel(packet) => Ok(packet),
            _ => Err(StepError::Tunnel("the gateway rejected a datagram")),
        }
    }

    /// Returns the datagram with `packet` of the gateway's side of tunnel `number`.
    ///
    /// # Errors
    ///
    /// [`StepError::Tunnel`] if there is no session.
    pub fn encapsulate_at_gateway(
        &mut self,
        number: usize,
        packet: Packet,
    ) -> Result<Packet, StepError> {
        let (_, gateway) = self.pair(number)?;
        encapsulate(gateway, packet)
    }

    /// Returns client and gateway of tunnel `number`, modulo the number of tunnels.
    fn pair(&mut self, number: usize) -> Result<&mut (Tunn, Tunn), StepError> {
        number
            .checked_rem(self.tunnels.len())
            .and_then(|number| self.tunnels.get_mut(number))
            .ok_or(StepError::Tunnel("there are no tunnels"))
    }
}

fn encapsulate(tunn: &mut Tunn, packet: Packet) -> Result<Packet, StepError> {
    tunn.encapsulate_with_session(packet)
        .map(Packet::from)
        .map_err(|_| StepError::Tunnel("the tunnel has no session"))
}

fn connect(mut client: Tunn, mut gateway: Tunn) -> Result<(Tunn, Tunn), StepError> {
    let initiation = client
        .format_handshake_initiation(false)
        .ok_or(StepError::Tunnel("the client made no initiation"))?;
    let TunnResult::WriteToNetwork(response) =
        gateway.handle_incoming_packet(WgKind::HandshakeInit(initiation))
    else {
        return Err(StepError::Tunnel(
            "the gateway did not answer an initiation",
        ));
    };
    let TunnResult::WriteToNetwork(keepalive) = client.handle_incoming_packet(response) else {
        return Err(StepError::Tunnel("the client rejected the response"));
    };
    match gateway.handle_incoming_packet(keepalive) {
        TunnResult::WriteToTunnel(packet) if packet.is_empty() => Ok((client, gateway)),
        _ => Err(StepError::Tunnel("the gateway rejected the keepalive")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tunnel_carries_packets_in_both_directions() {
        let mut tunnels = RawTunnels::connect(2).unwrap();
        for number in 0..4 {
            let datagram = tunnels.encapsulate_at_client(number, b"packet").unwrap();
            let packet = tunnels.decapsulate_at_gateway(number, datagram).unwrap();
            assert!(packet.starts_with(b"packet"));
            tunnels.encapsulate_at_gateway(number, packet).unwrap();
        }
    }
}
