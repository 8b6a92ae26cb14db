//! Admission of handshake messages, and answers to those beyond the limits.

use std::collections::VecDeque;
use std::time::Instant;

use ana_gotatun::packet::WgHandshakeBase;

use crate::admission::Excess;
use crate::admission::allowance::COOKIES_DRAWN;
use crate::admission::handshake_limits::{Limit, Purpose, Sender};
use crate::authorization::SnapTunAuthorization;
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::fate::{Consumed, Incoming};
use crate::server::SnapTunServer;
use crate::transmit::Transmit;
use crate::tunnel_table::Slot;

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Admits a handshake message if its limits allow.
    pub(crate) fn admit<M: WgHandshakeBase>(
        &mut self,
        now: Instant,
        from: Endpoint,
        purpose: Purpose,
        message: &M,
    ) -> Result<Sender, Excess> {
        let sender = self.admission.admit(now, from.remote, purpose, message)?;
        self.counters.handshakes_verified += u64::from(sender == Sender::Verified);
        Ok(sender)
    }

    /// Answers a handshake message beyond the limits with a cookie, or drops it. `slot` is the tunnel of its address.
    ///
    /// The address of a tunnel in use has a separate cookie limit, which others at its IP address cannot use up.
    pub(crate) fn refuse<M: WgHandshakeBase>(
        &mut self,
        slot: Option<Slot>,
        now: Instant,
        excess: Excess,
        message: &M,
        from: Endpoint,
        send_to_network: &mut VecDeque<Transmit>,
    ) -> Incoming<'_, A::SessionData> {
        let Excess { sender, limit } = excess;
        if sender == Sender::Verified {
            return Incoming::Dropped(match limit {
                Limit::Address => DropReason::AddressHandshakeLimit,
                Limit::Total => DropReason::TotalHandshakeLimit,
            });
        }
        let own = slot
            .and_then(|slot| self.tunnels.get_mut(slot))
            .and_then(|tunnel| tunnel.allowance(now));
        let may_have_cookie = match own {
            Some(allowance) => {
                allowance.take_cookie(now, |nth| self.admission.draw(COOKIES_DRAWN, nth))
            }
            None => self.admission.take_cookie(now, from.remote.ip(), limit),
        };
        if !may_have_cookie {
            return Incoming::Dropped(DropReason::CookieReplyLimit);
        }
        match limit {
            Limit::Address => self.counters.cookies_demanded_address_limit += 1,
            Limit::Total => self.counters.cookies_demanded_total_limit += 1,
        }
        let reply = self.admission.cookie_reply(now, from.remote, message);
        send_to_network.push_back(Transmit::cookie_reply(from, &reply));
        Incoming::Consumed(Consumed::CookieReplySent)
    }
}
