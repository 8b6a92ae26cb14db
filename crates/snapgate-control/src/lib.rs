//! The control plane of a SCION Network Access Point: tokens, registrations and RPCs.

mod claims;
mod grants;
pub mod registry;
pub mod rpc;
pub mod token;

pub use claims::{Claims, Identity, Pssid, TokenId};
pub use grants::{Grant, GrantChange, Grants};
