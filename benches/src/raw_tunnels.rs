//! Tunnels of ana-gotatun with nothing around them: the cryptography that a floor consists of.

use std::net::SocketAddr;
use std::sync::Arc;

use ana_gotatun::noise::index_table::IndexTable;
use ana_gotatun::noise::rate_limiter::RateLimiter;
use ana_gotatun::noise::{Tunn, TunnResult};
use ana_gotatun::packet::WgKind;
use snaptun::{Packet, PublicKey, StaticSecret};

use crate::{StepError, gateway_key};

/// Both ends of a number of tunnels.
pub struct RawTunnels {
    tunnels: Vec<(Tunn, Tunn)>,
}

impl RawTunnels {
    /// Connects `count` clients to as many `Tunn` of a gateway.
    ///
    /// # Errors
    ///
    /// [`StepError::Tunnel`] when a handshake fails.
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

    /// The datagram in which the client of tunnel `number` (modulo the number of tunnels) sends
    /// `packet`.
    ///
    /// # Errors
    ///
    /// [`StepError::Tunnel`] without a session.
    pub fn encapsulate_at_client(
        &mut self,
        number: usize,
        packet: &[u8],
    ) -> Result<Packet, StepError> {
        let (client, _) = self.pair(number)?;
        encapsulate(client, Packet::copy_from(packet))
    }

    /// The packet in a datagram of tunnel `number`'s client: what a gateway does at least.
    ///
    /// # Errors
    ///
    /// [`StepError::Tunnel`] when it is not authentic.
    pub fn decapsulate_at_gateway(
        &mut self,
        number: usize,
        datagram: Packet,
    ) -> Result<Packet, StepError> {
        let (_, gateway) = self.pair(number)?;
        let message = datagram
            .try_into_wg()
            .map_err(|_| StepError::Tunnel("a datagram was no message"))?;
        match gateway.handle_incoming_packet(message) {
            TunnResult::WriteToTunnel(packet) => Ok(packet),
            _ => Err(StepError::Tunnel("a datagram was refused")),
        }
    }

    /// The datagram in which the gateway sends `packet` into tunnel `number`.
    ///
    /// # Errors
    ///
    /// [`StepError::Tunnel`] without a session.
    pub fn encapsulate_at_gateway(
        &mut self,
        number: usize,
        packet: Packet,
    ) -> Result<Packet, StepError> {
        let (_, gateway) = self.pair(number)?;
        encapsulate(gateway, packet)
    }

    /// Client and gateway of tunnel `number`, modulo the number of tunnels.
    fn pair(&mut self, number: usize) -> Result<&mut (Tunn, Tunn), StepError> {
        number
            .checked_rem(self.tunnels.len())
            .and_then(|number| self.tunnels.get_mut(number))
            .ok_or(StepError::Tunnel("there is none"))
    }
}

fn encapsulate(tunn: &mut Tunn, packet: Packet) -> Result<Packet, StepError> {
    tunn.encapsulate_with_session(packet)
        .map(Packet::from)
        .map_err(|_| StepError::Tunnel("it has no session"))
}

fn connect(mut client: Tunn, mut gateway: Tunn) -> Result<(Tunn, Tunn), StepError> {
    let initiation = client
        .format_handshake_initiation(false)
        .ok_or(StepError::Tunnel("it made no initiation"))?;
    let TunnResult::WriteToNetwork(response) =
        gateway.handle_incoming_packet(WgKind::HandshakeInit(initiation))
    else {
        return Err(StepError::Tunnel("an initiation was not answered"));
    };
    let TunnResult::WriteToNetwork(keepalive) = client.handle_incoming_packet(response) else {
        return Err(StepError::Tunnel("the client refused the response"));
    };
    match gateway.handle_incoming_packet(keepalive) {
        TunnResult::WriteToTunnel(packet) if packet.is_empty() => Ok((client, gateway)),
        _ => Err(StepError::Tunnel("the keepalive was refused")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_goes_in_and_comes_out_of_every_tunnel() {
        let mut tunnels = RawTunnels::connect(2).unwrap();
        for number in 0..4 {
            let datagram = tunnels.encapsulate_at_client(number, b"packet").unwrap();
            let packet = tunnels.decapsulate_at_gateway(number, datagram).unwrap();
            assert!(packet.starts_with(b"packet"));
            tunnels.encapsulate_at_gateway(number, packet).unwrap();
        }
    }
}
