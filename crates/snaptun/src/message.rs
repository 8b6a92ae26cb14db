//! What can be told about a datagram before anything is spent on it.

use ana_gotatun::packet::{WgCookieReply, WgData, WgHandshakeInit, WgHandshakeResp};

/// The kinds of SNAPtun messages (WireGuard whitepaper, section 5.4). The first byte is the type, the
/// next three are reserved and zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Type 1: begins a handshake.
    Initiation,
    /// Type 2: answers an initiation.
    Response,
    /// Type 3: gives the sender of a handshake message a cookie.
    CookieReply,
    /// Type 4: carries a packet, or nothing (a keepalive).
    Data,
}

impl MessageKind {
    /// Length in bytes of the shortest message, a keepalive. A datagram of fewer bytes is no message.
    pub const BYTES_MIN: usize = WgData::OVERHEAD;

    // `Packet::try_into_wg` allocates an error report, with a backtrace, for every packet that it
    // refuses. It refuses nothing that passes here.
    /// Tells the kind by type, reserved bytes and length; `None` for what is no message at all.
    #[must_use]
    pub fn of(datagram: &[u8]) -> Option<Self> {
        let kind = match datagram.first_chunk()? {
            [1, 0, 0, 0] => MessageKind::Initiation,
            [2, 0, 0, 0] => MessageKind::Response,
            [3, 0, 0, 0] => MessageKind::CookieReply,
            [4, 0, 0, 0] => MessageKind::Data,
            _ => return None,
        };
        let len = datagram.len();
        let fits = match kind {
            MessageKind::Initiation => len == WgHandshakeInit::LEN,
            MessageKind::Response => len == WgHandshakeResp::LEN,
            MessageKind::CookieReply => len == WgCookieReply::LEN,
            MessageKind::Data => len >= Self::BYTES_MIN,
        };
        fits.then_some(kind)
    }
}

// The handshake response is longer than WireGuard's (92) by the address that it reports.
const _: () = assert!(WgHandshakeInit::LEN == 148);
const _: () = assert!(WgHandshakeResp::LEN == 112);
const _: () = assert!(WgCookieReply::LEN == 64);
const _: () = assert!(WgData::OVERHEAD == 32);
