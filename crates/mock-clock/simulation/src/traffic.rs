//! Traffic through the network, and its handling at both ends.

use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng as _;
use snaptun::{Consumed, Endpoint, Transmit};

use crate::client::{Heard, Sending};
use crate::fault_free::TICK;
use crate::gateway::Fate;
use crate::packets::Answered;
use crate::scenario::Conditions;
use crate::trace::{Happening, Message};
use crate::violation::Violation;
use crate::world::{Event, World};

/// Maximum age of an accepted response: it is accepted for 10 s after the next initiation, which follows within 10 s.
const RESPONSE_AGE_MAX: Duration = Duration::from_secs(20);

impl World<'_> {
    /// Sends a packet of a client, or begins a handshake if there is no session.
    pub(crate) fn speak(&mut self, number: usize) {
        let now = self.clock.elapsed();
        if self.clients[number].is_away(now) {
            return;
        }
        let packet = self.packets.send(number, now);
        let datagram = self.clients[number].encapsulate(&packet);
        if datagram.is_none() {
            self.packets.unsend(number);
        }
        if let Some(datagram) = datagram.or_else(|| self.clients[number].initiation()) {
            self.send_to_gateway(number, datagram);
        }
    }

    pub(crate) fn send_to_gateway(&mut self, number: usize, datagram: Vec<u8>) {
        let now = self.clock.elapsed();
        let client = &self.clients[number];
        let message = Message::of(&datagram);
        let sent = Happening::ClientSent {
            client: number,
            message,
        };
        self.trace.note(now, sent);
        if let Some(ephemeral) = ephemeral_of_response(&datagram) {
            self.responses.insert(ephemeral, now);
        }
        if client.is_cut_off(now) {
            self.trace.note(now, Happening::Lost { message });
            return;
        }
        let from = Endpoint {
            remote: client.address,
            via: client.via,
        };
        self.attackers.see(&mut self.rng, from, &datagram);
        for (delay, bytes) in self.pass_network(datagram) {
            self.agenda
                .add(now + delay, Event::AtGateway { from, bytes });
        }
    }

    pub(crate) fn send_to_clients(&mut self, sent: Vec<Transmit>) {
        let now = self.clock.elapsed();
        for transmit in sent {
            let to = transmit.to;
            let bytes = transmit.packet.to_vec();
            let message = Message::of(&bytes);
            let sent = Happening::Sent {
                to: to.remote,
                message,
            };
            self.trace.note(now, sent);
            let sent = Sending {
                at: now,
                tunnel_age: self.gateway.age_of(to.remote, self.clock.now()),
            };
            for (delay, bytes) in self.pass_network(bytes) {
                let arrival = Event::AtClient { to, bytes, sent };
                self.agenda.add(now + delay, arrival);
            }
        }
    }

    /// Passes a datagram through the network. Returns the copies that arrive, with their delays.
    fn pass_network(&mut self, datagram: Vec<u8>) -> Vec<(Duration, Vec<u8>)> {
        let conditions = if self.fault_free.is_some() {
            &Conditions::FAULT_FREE
        } else {
            &self.scenario.network
        };
        let rng = &mut self.rng;
        if rng.random_bool(conditions.loss) {
            let message = Message::of(&datagram);
            self.trace
                .note(self.clock.elapsed(), Happening::Lost { message });
            return Vec::new();
        }
        let copies = if rng.random_bool(conditions.duplication) {
            2
        } else {
            1
        };
        let mut arriving = vec![datagram; copies];
        for datagram in &mut arriving {
            if !datagram.is_empty() && rng.random_bool(conditions.damage) {
                let damaged = rng.random_range(0..datagram.len());
                datagram[damaged] ^= 1 << rng.random_range(0..8);
            }
        }
        let delays = conditions.delay_millis.clone();
        arriving
            .into_iter()
            .map(|datagram| {
                let delay = Duration::from_millis(rng.random_range(delays.clone()));
                (delay, datagram)
            })
            .collect()
    }

    pub(crate) fn arrive_at_gateway(
        &mut self,
        from: Endpoint,
        datagram: &[u8],
    ) -> Result<(), Violation> {
        let now = self.clock.now();
        let (fate, delivered, sent) = self.gateway.receive(now, datagram, from)?;
        self.coverage.note_fate(&fate);
        if fate == Fate::Consumed(Consumed::HandshakeCompleted) {
            self.check_age_of_response(from.remote, datagram)?;
        }
        let incoming = Happening::Incoming {
            from: from.remote,
            message: Message::of(datagram),
            fate,
        };
        self.trace.note(self.clock.elapsed(), incoming);
        self.send_to_clients(sent);
        let Some(delivered) = delivered else {
            return Ok(());
        };
        let scenario = &self.scenario;
        let answered = self
            .packets
            .deliver(&delivered.packet, delivered.session, |client| {
                scenario.identity_of(client)
            })?;
        if self.fault_free.is_some() || self.rng.random() {
            self.send_from_scion(from.remote, Some(answered))?;
        }
        Ok(())
    }

    fn check_age_of_response(&self, from: SocketAddr, response: &[u8]) -> Result<(), Violation> {
        let sent_at = ephemeral_of_response(response).and_then(|key| self.responses.get(&key));
        let age = sent_at.map(|sent_at| self.clock.elapsed() - *sent_at);
        match age {
            Some(age) if age > RESPONSE_AGE_MAX => Err(Violation::LateResponse { from, age }),
            _ => Ok(()),
        }
    }

    pub(crate) fn arrive_at_client(
        &mut self,
        to: Endpoint,
        datagram: &[u8],
        sent: Sending,
    ) -> Result<(), Violation> {
        const RESPONSE: u8 = 2;
        let now = self.clock.elapsed();
        let message = Message::of(datagram);
        if let Some(insider) = self.attackers.insider_at(to.remote) {
            // Half of its tunnels stay half-open.
            if let Heard::Answer(bytes) = insider.receive(&self.clock, datagram, sent)
                && self.rng.random()
            {
                self.agenda
                    .add(now + TICK, Event::AtGateway { from: to, bytes });
            }
            return Ok(());
        }
        let here = self.clients.iter().position(|client| {
            client.address == to.remote
                && client.via == to.via
                && !client.is_away(now)
                && !client.is_cut_off(now)
        });
        let Some(number) = here else {
            self.trace.note(now, Happening::Lost { message });
            return Ok(());
        };
        let client = &mut self.clients[number];
        let heard = client.receive(&self.clock, datagram, sent);
        let meant = match &heard {
            Heard::Packet(_) => "a packet",
            Heard::Answer(_) => "to be answered",
            Heard::Nothing => "nothing to do",
            Heard::Refused => "refused",
        };
        let told = client.reported_address();
        if matches!(heard, Heard::Answer(_))
            && datagram.first() == Some(&RESPONSE)
            && told != Some(client.address)
        {
            return Err(Violation::WrongAddressReported {
                client: number,
                is: client.address,
                told,
            });
        }
        let received = Happening::ClientReceived {
            client: number,
            message,
            meant,
        };
        self.trace.note(now, received);
        match heard {
            Heard::Packet(packet) => self.take_packet(number, &packet)?,
            Heard::Answer(datagram) => self.send_to_gateway(number, datagram),
            Heard::Nothing | Heard::Refused => {}
        }
        Ok(())
    }

    fn take_packet(&mut self, client: usize, packet: &[u8]) -> Result<(), Violation> {
        let identity = self.scenario.identity_of(client);
        let answered = self.packets.receive(client, identity, packet)?;
        if let (Some(period), Some(answered)) = (&mut self.fault_free, answered) {
            let sent_at = self.packets.sent_at(client, answered);
            period.answered(client, sent_at, self.clock.elapsed());
        }
        Ok(())
    }

    /// Sends packets from SCION to a client, to an address that a client gave up, or to an unknown address.
    pub(crate) fn come_from_scion(&mut self) -> Result<(), Violation> {
        let to = if self.rng.random_bool(0.9) {
            self.clients[self.rng.random_range(0..self.clients.len())].address
        } else {
            self.addresses.left_or_unknown(&mut self.rng)
        };
        // Sometimes more at once than may wait.
        let packets = if self.rng.random_bool(0.1) { 6 } else { 1 };
        for _ in 0..packets {
            self.send_from_scion(to, None)?;
        }
        Ok(())
    }

    fn send_from_scion(
        &mut self,
        to: SocketAddr,
        answers: Option<Answered>,
    ) -> Result<(), Violation> {
        let (packet, bytes) = self.packets.come(answers);
        let (fate, identity, sent) = self.gateway.send(self.clock.now(), &bytes, to)?;
        if let Some(identity) = identity {
            self.packets.accept(packet, identity);
        }
        self.coverage.note_fate(&fate);
        let outgoing = Happening::Outgoing { to, packet, fate };
        self.trace.note(self.clock.elapsed(), outgoing);
        self.send_to_clients(sent);
        Ok(())
    }
}

/// Returns the ephemeral key of a response, which is unique. It follows the type and both indexes.
fn ephemeral_of_response(datagram: &[u8]) -> Option<[u8; 32]> {
    const RESPONSE: u8 = 2;
    if datagram.first() != Some(&RESPONSE) {
        return None;
    }
    datagram.get(12..44)?.try_into().ok()
}
