//! The check of a token.

use std::sync::Arc;

use jiff::Timestamp;

use super::fault::{TokenFault, TokenFaultKind};
use super::jwt::UnverifiedToken;
use super::key_set::KeySet;
use super::rules::TokenRules;
use crate::claims::Claims;

/// Verifies tokens with the keys in force.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Arc<KeySet>,
    rules: Arc<TokenRules>,
}

impl Verifier {
    /// Creates a verifier.
    pub fn new(keys: Arc<KeySet>, rules: TokenRules) -> Self {
        let rules = Arc::new(rules);
        Self { keys, rules }
    }

    /// Returns the keys, for their [status](KeySet::status).
    pub fn keys(&self) -> &Arc<KeySet> {
        &self.keys
    }

    /// Verifies a token at the time `now` and returns its claims. It costs one Ed25519 verification and waits for
    /// nothing; a token of an unknown key is refused, and the keys are refreshed meanwhile.
    ///
    /// # Errors
    ///
    /// Why the token is refused.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenFault> {
        let token = UnverifiedToken::parse(token)?;
        let keys = self.keys.keys();
        let key = keys.select(token.key_id.as_deref()).inspect_err(|fault| {
            if matches!(fault, TokenFaultKind::UnknownKey | TokenFaultKind::NoKeys) {
                self.keys.refresh_early();
            }
        })?;
        if !key.verifies(token.signed.as_bytes(), &token.signature()?) {
            return Err(TokenFaultKind::Signature.into());
        }
        self.rules.check(&token.claims()?, token.signed, now)
    }
}
