//! Identities of the tunnels: X25519 key pairs.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::input_file::{self, FileError};

const EXPECTED_KEY: &str =
    "expected a private key of 32 bytes in base64, as printed by `wg genkey`";

/// Key pairs of a run, one per tunnel. Private keys are wiped from memory when dropped.
#[derive(Clone)]
pub struct Identities(Vec<StaticSecret>);

impl Identities {
    /// Generates `count` random identities, different on every call. For gateways that admit any identity, or whose
    /// process also authorizes [`Identities::public_keys`].
    ///
    /// # Errors
    /// Fails if the operating system provides no random numbers.
    pub fn random(count: usize) -> Result<Self, getrandom::Error> {
        let mut secrets = Vec::with_capacity(count);
        for _ in 0..count {
            let mut secret = Zeroizing::new([0; 32]);
            getrandom::fill(secret.as_mut())?;
            secrets.push(StaticSecret::from(*secret));
        }
        Ok(Self(secrets))
    }

    /// Derives `count` identities from a seed: the same ones in every version of this crate.
    ///
    /// The seed reveals the private keys, so use it only for tests and measurements.
    #[must_use]
    pub fn from_seed(seed: u64, count: usize) -> Self {
        Self(
            (0..count as u64)
                .map(|index| secret_from_seed(seed, index))
                .collect(),
        )
    }

    /// Reads private keys from a file with one base64 key per line, as printed by `wg genkey`. Empty lines and lines
    /// that start with `#` are skipped.
    ///
    /// # Errors
    /// Fails if the file cannot be read, has a line that is not a key, or has no key.
    pub fn read_file(path: &Path) -> Result<Self, FileError> {
        let text = input_file::read(path).map(Zeroizing::new)?;
        let mut secrets = Vec::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some(secret) = key_from_base64(line).map(Zeroizing::new) else {
                return Err(FileError::at_line(path, number, EXPECTED_KEY));
            };
            secrets.push(StaticSecret::from(*secret));
        }
        if secrets.is_empty() {
            let end = text.lines().count() + 1;
            return Err(FileError::at_line(path, end, EXPECTED_KEY));
        }
        Ok(Self(secrets))
    }

    /// Keeps the first `count` identities.
    pub fn truncate(&mut self, count: usize) {
        self.0.truncate(count);
    }

    /// Returns some of the identities.
    pub(crate) fn range(&self, range: std::ops::Range<usize>) -> Self {
        Self(self.0[range].to_vec())
    }

    /// Returns the number of identities.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there are no identities.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the public keys in the order of the tunnels. The gateway must authorize them.
    #[must_use]
    pub fn public_keys(&self) -> Vec<[u8; 32]> {
        self.0
            .iter()
            .map(|secret| PublicKey::from(secret).to_bytes())
            .collect()
    }

    pub(crate) fn secrets(&self) -> &[StaticSecret] {
        &self.0
    }
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Private keys are not printed.
        write!(f, "Identities({})", self.0.len())
    }
}

/// Decodes a 32-byte key from base64 (44 characters, RFC 4648 section 4), the format of WireGuard tools.
#[must_use]
pub fn key_from_base64(text: &str) -> Option<[u8; 32]> {
    // The key may be private.
    let key = Zeroizing::new(BASE64_STANDARD.decode(text).ok()?);
    key.as_slice().try_into().ok()
}

/// Encodes a 32-byte key as base64 (RFC 4648 section 4), the format of WireGuard tools.
#[must_use]
pub fn key_to_base64(key: &[u8; 32]) -> String {
    BASE64_STANDARD.encode(key)
}

/// Returns the secret with this index: four chained outputs of SplitMix64.
fn secret_from_seed(seed: u64, index: u64) -> StaticSecret {
    let mut state = split_mix(seed) ^ index;
    let mut secret = Zeroizing::new([0; 32]);
    for part in secret.chunks_exact_mut(8) {
        state = split_mix(state);
        part.copy_from_slice(&state.to_le_bytes());
    }
    StaticSecret::from(*secret)
}

/// Performs one step of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), a
/// bijection that mixes all bits.
pub(crate) fn split_mix(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn identities_of_a_seed_never_change() {
        // Gateways keep files of these keys: a change would lock out their load generators.
        let keys: Vec<String> = Identities::from_seed(1, 2)
            .public_keys()
            .iter()
            .map(key_to_base64)
            .collect();
        let wanted = [
            "UMXSJtlzLU3mqFD2vfGKdfnFaLYHhxQZSI4Z8g4Juy0=",
            "7CJOZbkDzbZcejJsgFS+ECWcJkMTlXoJ/ZqTpAXAYi4=",
        ];
        assert_eq!(keys, wanted);
    }

    #[test]
    fn identities_differ_by_index_and_by_seed() {
        let mut seen = HashSet::new();
        for seed in 0..4 {
            for key in Identities::from_seed(seed, 50).public_keys() {
                assert!(seen.insert(key));
            }
        }
    }

    #[test]
    fn identities_of_a_seed_do_not_depend_on_their_number() {
        let long = Identities::from_seed(9, 10).public_keys();
        assert_eq!(Identities::from_seed(9, 3).public_keys(), long[..3]);
    }

    #[test]
    fn keys_file_has_one_key_per_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let secrets = [[1_u8; 32], [2; 32]];
        writeln!(
            file,
            "# two keys\n{}\n\n  {}",
            key_to_base64(&secrets[0]),
            key_to_base64(&secrets[1])
        )
        .unwrap();
        let identities = Identities::read_file(file.path()).unwrap();
        let wanted = secrets.map(|s| PublicKey::from(&StaticSecret::from(s)).to_bytes());
        assert_eq!(identities.public_keys(), wanted);
    }

    #[test]
    fn invalid_line_of_a_keys_file_is_reported() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "# header\nnot a key").unwrap();
        let error = Identities::read_file(file.path()).unwrap_err();
        assert!(
            matches!(error, FileError::Invalid { line: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn keys_are_not_printed() {
        let identities = Identities::from_seed(1, 3);
        assert_eq!(format!("{identities:?}"), "Identities(3)");
    }
}
