//! A set of keys, and which of them a token has to be signed with.

use super::fault::TokenFaultKind;
use super::public_key::PublicKey;

/// Keys with different ids.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Keys(Vec<Key>);

/// A key and its id (`kid`).
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Key {
    /// `None` only for the one key of a set, which then verifies tokens with any id.
    pub(super) id: Option<String>,
    pub(super) public_key: PublicKey,
}

impl Keys {
    pub(super) fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the number of keys that `other` does not have.
    pub(super) fn missing_in(&self, other: &Self) -> usize {
        self.0.iter().filter(|key| !other.0.contains(key)).count()
    }

    /// Returns the key for a token whose header has `id`. The search is linear, since a set has few keys.
    pub(super) fn select(&self, id: Option<&str>) -> Result<&PublicKey, TokenFaultKind> {
        match (self.0.as_slice(), id) {
            ([], _) => Err(TokenFaultKind::NoKeys),
            ([only], None) => Ok(&only.public_key),
            ([only], Some(_)) if only.id.is_none() => Ok(&only.public_key),
            (_, None) => Err(TokenFaultKind::MissingKeyId),
            (keys, id @ Some(_)) => keys
                .iter()
                .find(|key| key.id.as_deref() == id)
                .map(|key| &key.public_key)
                .ok_or(TokenFaultKind::UnknownKey),
        }
    }
}
