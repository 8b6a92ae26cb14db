//! Keys, the first half of the handshake, and what keeps secrets from staying in memory.

pub(crate) mod initiation;
pub(crate) mod key_agreement;
pub(crate) mod randomness;
pub(crate) mod stack;
pub(crate) mod static_key;
