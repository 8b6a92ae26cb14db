//! Keys, the first half of the handshake, and the wiping of secrets.

pub(crate) mod initiation;
pub(crate) mod key_agreement;
pub(crate) mod randomness;
pub(crate) mod stack;
pub(crate) mod static_key;
