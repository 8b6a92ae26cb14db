//! What a valid token says about its holder.

use std::sync::Arc;

use jiff::Timestamp;

/// Static X25519 public key of a client.
pub type Identity = [u8; 32];

/// Pseudonymous id of a subscriber (claim `pssid`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pssid(pub Arc<str>);

/// Id of a token (claim `jti`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TokenId(pub Arc<str>);

/// What a valid token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// Its subscriber.
    pub pssid: Pssid,
    /// Its id.
    pub token: TokenId,
    /// Its end (claim `exp`), without leeway.
    pub expires: Timestamp,
}
