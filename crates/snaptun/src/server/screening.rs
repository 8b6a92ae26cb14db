//! Screening of handshake messages before they use memory or a place in a queue.

use std::net::SocketAddr;

use ana_gotatun::packet::{WgHandshakeBase, WgHandshakeInit, WgHandshakeResp};

use crate::authorization::SnapTunAuthorization;
use crate::drop_reason::DropReason;
use crate::protocol::{
    COOKIE_REPLY_RECEIVER_INDEX, MessageKind, RESPONSE_RECEIVER_INDEX, index_at,
};
use crate::server::SnapTunServer;
use crate::tunnel::outstanding::Outstanding;

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Refuses a handshake message that cannot succeed, without changing the shard, copying or allocating.
    ///
    /// `datagram` is a UDP payload of this `kind` (by [`MessageKind::of`]), received from `from`. Costs at most one
    /// look-up of the address and one BLAKE2s of 116 bytes. Pass accepted messages to
    /// [`handle_screened_packet`](Self::handle_screened_packet). Data messages are always accepted.
    ///
    /// # Errors
    ///
    /// - [`InvalidMac`](DropReason::InvalidMac): the sender of an initiation or response does not know our public key.
    /// - [`NoTunnel`](DropReason::NoTunnel): a response or cookie reply from an address without a tunnel.
    /// - [`Unsolicited`](DropReason::Unsolicited): a response that answers neither of the tunnel's last two
    ///   initiations, or a cookie reply that does not answer its last handshake message.
    pub fn screen_handshake(
        &self,
        kind: MessageKind,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        match kind {
            MessageKind::Data => Ok(()),
            MessageKind::Initiation => self.check_mac1::<WgHandshakeInit>(datagram),
            MessageKind::Response => {
                let index = index_at(datagram, RESPONSE_RECEIVER_INDEX);
                self.check_solicited(from, |ours| index.is_some_and(|i| ours.is_initiation(i)))?;
                self.check_mac1::<WgHandshakeResp>(datagram)
            }
            MessageKind::CookieReply => {
                let index = index_at(datagram, COOKIE_REPLY_RECEIVER_INDEX);
                self.check_solicited(from, |ours| index.is_some_and(|i| ours.awaits_cookie(i)))
            }
        }
    }

    fn check_mac1<M: WgHandshakeBase>(&self, datagram: &[u8]) -> Result<(), DropReason> {
        if self.admission.is_mac1_valid::<M>(datagram) {
            Ok(())
        } else {
            Err(DropReason::InvalidMac)
        }
    }

    fn check_solicited(
        &self,
        from: SocketAddr,
        is_answer: impl FnOnce(&Outstanding) -> bool,
    ) -> Result<(), DropReason> {
        let slot = self.tunnels.find(from).ok_or(DropReason::NoTunnel)?;
        let tunnel = self.tunnels.get(slot).ok_or(DropReason::NoTunnel)?;
        if is_answer(tunnel.outstanding()) {
            Ok(())
        } else {
            Err(DropReason::Unsolicited)
        }
    }
}
