//! Tokens: who may register, according to the issuer of tokens.
//!
//! A token is a JWT in compact form, signed with Ed25519 (`alg` `EdDSA`; RFC 7519, RFC 8037), as the clients of
//! scion-stack present it in `Authorization: Bearer`. A [`Verifier`] checks tokens with the public keys of a
//! [`KeySet`], whose [`refresh`](KeySet::refresh) follows the [`KeySource`].
//!
//! # Claims
//!
//! | claim | `ver` 1 | without `ver` | accepted |
//! | --- | --- | --- | --- |
//! | `ver` | 1 | absent | no other version |
//! | `pssid` | required | required | text of 1 to 128 printable ASCII characters without spaces; compared byte by byte |
//! | `exp` | required | required | later than now, without leeway |
//! | `aud` | required | optional | the configured audience (`snap`), or a list with it |
//! | `jti` | required | optional | as `pssid` |
//! | `nbf`, `iat` | required | optional | not later than now and the leeway (60 s) |
//! | `iss` | required | ignored | any text |
//! | others | optional | optional | ignored |
//!
//! Times are whole seconds since 1970. A token is expired from `exp` on: a leeway would let a client register an
//! identity whose registration has already ended. A token whose `nbf` or `iat` is in the future is refused as a clock
//! error, with the number of seconds, because a clock of the issuer or of the gateway is the usual cause.
//!
//! A token without `jti` gets an id: `sha256:` and the SHA-256 hash of its signed part (header, dot and claims) in
//! base64url without padding. The signature is not part of it, so that the issuer's signing of the same claims again
//! makes no other token.
//!
//! # Header
//!
//! `alg` must be `EdDSA`. A header with `crit` is refused. Keys and URLs in a header (`jwk`, `jku`, `x5c`, `x5u`) are
//! ignored. `kid` selects the key:
//!
//! | keys | `kid` in the token | key |
//! | --- | --- | --- |
//! | one, without an id (PEM) | any or none | that one |
//! | one, with an id | the same or none | that one |
//! | several, all with ids | one of them | that one |
//! | any | another | none: `unknown_key`, and an early refresh |
//! | several | none | none: `missing_key_id` |
//!
//! # Keys
//!
//! Only Ed25519 keys are used, and only for EdDSA. Other entries of a JWK set are skipped with a warning, and counted:
//! another `kty` or `crv`; an `alg`, `use` or `key_ops` that excludes the verification of EdDSA signatures; a `kid` that
//! is not 1 to 128 printable ASCII characters; a key without `kid` among several; an `x` that is not a point of the
//! curve, or one of low order, for which anyone can make signatures. A set is refused as a whole if it is not JSON, has
//! more than 100 entries, or different keys have the same `kid`.
//!
//! A private key does not belong here. A file with one is refused. In a set from a URL such a key is skipped, because
//! everyone who can read the set could sign with it.
//!
//! | source | read | error at the start |
//! | --- | --- | --- |
//! | file | every 0.4 s; a content is used when it is seen twice in a row | unreadable, invalid, or without a usable key |
//! | URL | at once, then every 5 minutes (`refresh_interval`), earlier by `Cache-Control: max-age`, but not below 30 s | `https`, and no root certificates on the host |
//!
//! A key that is no longer in the source verifies nothing as soon as that is seen, even if no key is left (in a file,
//! at least one has to be left). If the source cannot be read or is invalid, the keys stay in force;
//! [`KeySet::status`] has the time of the last success and the kind of the failure. A failed request is repeated after
//! 10 s, 20 s and so on up to the interval. A token of an unknown key, or any while there is none, causes a request at
//! most every 10 s. Until a URL has answered for the first time, tokens are refused as `no_keys`.
//!
//! A request ends within 10 s (5 s for the TCP connection) and reads at most 1 MiB. It is repeated with the entity tag
//! of the last answer. Only status 200 counts, and 304 for that tag; redirects are refused. `http` is accepted only for
//! a loopback address.
//!
//! # Errors
//!
//! [`TokenFaultKind`] lists the reasons with their names for metrics. Neither tokens nor values of their claims are part
//! of an error or a log line.
//!
//! # Test tokens
//!
//! [`signing`] makes keys, and signs tokens for tutorials and tests. A gateway does not need it.

mod fault;
mod jwks_client;
mod jwks_url;
mod jwt;
mod key_document;
mod key_file;
mod key_set;
mod keys;
mod metrics;
mod public_key;
mod refresh_schedule;
mod rules;
pub mod signing;
#[cfg(test)]
mod test_server;
mod verifier;

pub use fault::{TokenFault, TokenFaultKind};
pub use jwks_url::{JwksUrl, JwksUrlFault};
pub use key_document::{JwkFault, KeyDocumentFault};
pub use key_file::KeyFileFault;
pub use key_set::{KeySet, KeySetError, KeySetStatus, KeySource, RefreshFailure};
pub use metrics::TokenMetrics;
pub use public_key::PublicKeyFault;
pub use rules::TokenRules;
pub use verifier::Verifier;
