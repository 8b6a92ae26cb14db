//! Constants and message kinds of WireGuard and SNAPtun.
//!
//! Section numbers refer to the [WireGuard whitepaper](https://www.wireguard.com/papers/wireguard.pdf). SNAPtun adds
//! one field: the handshake response ends with the socket address that the responder saw.
//!
//! # Test clients
//!
//! `Tunn` of `ana-gotatun` 0.8.1-ana.0, the version that this crate uses, is the client's side as well. (The client
//! `snap-tun` 0.8.6 uses 0.2.1-ana.0, which has the same messages.)
//!
//! ```
//! use std::net::SocketAddr;
//! use std::sync::Arc;
//!
//! use ana_gotatun::noise::Tunn;
//! use ana_gotatun::noise::index_table::IndexTable;
//! use ana_gotatun::noise::rate_limiter::RateLimiter;
//! use snaptun::{PublicKey, StaticSecret};
//!
//! fn new_client(key: StaticSecret, server_key: PublicKey, server: SocketAddr) -> Tunn {
//!     let limiter = Arc::new(RateLimiter::new(&PublicKey::from(&key), u64::MAX));
//!     let preshared_key = None;
//!     let persistent_keepalive_seconds = Some(10);
//!     Tunn::new(
//!         key,
//!         server_key,
//!         preshared_key,
//!         persistent_keepalive_seconds,
//!         IndexTable::from_os_rng(),
//!         limiter,
//!         server,
//!     )
//! }
//! ```
//!
//! - `format_handshake_initiation(true)` returns its initiation.
//! - `handle_outgoing_packet(packet, None)` returns a data message once there is a session.
//! - `handle_incoming_packet` takes a datagram that `Packet::try_into_wg` has converted, and returns a `TunnResult`: send
//!   the message in `WriteToNetwork`, among others the keepalive that confirms a session; `WriteToTunnel` has a packet.
//! - `Packet::from(message)` has the bytes of a message.

use std::time::Duration;

use ana_gotatun::packet::{WgCookieReply, WgData, WgHandshakeInit, WgHandshakeResp};

/// `Rekey-After-Time` (section 6.1), 120 s: age of a session at which its initiator begins the next handshake.
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);

/// `Reject-After-Time` (section 6.1), 180 s: age at which a session is no longer used.
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);

/// `Rekey-Timeout` (section 6.1), 5 s: time after which an unanswered initiation is sent again.
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

/// `Keepalive-Timeout` (section 6.1): time after which unanswered data is acknowledged with a keepalive.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without a new session after which a peer has wiped all keys of a tunnel and needs a new handshake (section
/// 6.3): three times [`REJECT_AFTER_TIME`].
pub(crate) const FORGET_AFTER_TIME: Duration = REJECT_AFTER_TIME.saturating_mul(3);

/// Lifetime of a cookie at the client (section 5.4.7).
pub(crate) const COOKIE_LIFETIME: Duration = Duration::from_secs(120);

/// Length in bytes of an initiation (section 5.4.2): 148.
pub const INITIATION_BYTES: usize = WgHandshakeInit::LEN;

/// Length in bytes of a response: 112, which are WireGuard's 92 (section 5.4.3) and SNAPtun's 20 for the reported
/// address.
pub const RESPONSE_BYTES: usize = WgHandshakeResp::LEN;

/// Length in bytes of a cookie reply (section 5.4.7): 64.
pub const COOKIE_REPLY_BYTES: usize = WgCookieReply::LEN;

/// Length in bytes of a data message's header and tag (section 5.4.6), and of the shortest message, the keepalive: 32.
pub const DATA_OVERHEAD_BYTES: usize = WgData::OVERHEAD;

/// Offset of the receiver index of a response (section 5.4.3).
pub(crate) const RESPONSE_RECEIVER_INDEX: usize = 8;

/// Offset of the receiver index of a cookie reply (section 5.4.7).
pub(crate) const COOKIE_REPLY_RECEIVER_INDEX: usize = 4;

const _: () = assert!(INITIATION_BYTES == 148);
const _: () = assert!(RESPONSE_BYTES == 92 + 20);
const _: () = assert!(COOKIE_REPLY_BYTES == 64);
const _: () = assert!(DATA_OVERHEAD_BYTES == 32);

/// Kinds of messages (section 5.4). The first byte is the type, the next three are reserved and zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Type 1: begins a handshake.
    Initiation,
    /// Type 2: answers an initiation.
    Response,
    /// Type 3: carries a cookie for the sender of a handshake message.
    CookieReply,
    /// Type 4: carries a packet, or nothing (a keepalive).
    Data,
}

impl MessageKind {
    /// Returns the kind of a UDP payload by its type, reserved bytes and length, or `None` if it is not a message.
    #[must_use]
    pub fn of(datagram: &[u8]) -> Option<Self> {
        // `Packet::try_into_wg` accepts every datagram accepted here. Its errors allocate a report with a backtrace.
        let (kind, fits) = match datagram.first_chunk()? {
            [1, 0, 0, 0] => (Self::Initiation, datagram.len() == INITIATION_BYTES),
            [2, 0, 0, 0] => (Self::Response, datagram.len() == RESPONSE_BYTES),
            [3, 0, 0, 0] => (Self::CookieReply, datagram.len() == COOKIE_REPLY_BYTES),
            [4, 0, 0, 0] => (Self::Data, datagram.len() >= DATA_OVERHEAD_BYTES),
            _ => return None,
        };
        fits.then_some(kind)
    }
}

/// Returns the little-endian session index at `offset` of a message.
pub(crate) fn index_at(datagram: &[u8], offset: usize) -> Option<u32> {
    let bytes = datagram.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}
