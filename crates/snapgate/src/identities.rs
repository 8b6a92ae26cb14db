//! The file of identities that may open a tunnel.

use crate::keys::PublicKey;

/// A peer that may open tunnels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The peer's static public key.
    pub public_key: PublicKey,
    /// What people call it: for messages only.
    pub name: Option<String>,
    /// From this moment on the peer has no tunnel.
    pub expires: Option<jiff::Timestamp>,
}
