//! X25519 keys as they appear in files and on the command line: 32 bytes in base64, like `wg`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of an X25519 key, private or public (RFC 7748, section 5).
pub const KEY_LEN: usize = 32;

/// Characters of a key in base64: 32 bytes make 43 characters and one `=`.
pub const KEY_BASE64_LEN: usize = 44;
const _: () = assert!(KEY_BASE64_LEN == KEY_LEN.div_ceil(3) * 4);

/// Why a text is no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is empty.
    #[error("is empty")]
    Empty,
    /// The text is not base64.
    #[error("is not base64")]
    NotBase64,
    /// The text is base64, but of another number of bytes.
    #[error("holds {0} bytes instead of {KEY_LEN}")]
    WrongLength(usize),
    /// The point has a low order, so every secret agreed on with it is zero (RFC 7748, section 6.1).
    #[error("is a low-order point, with which nothing secret can be agreed")]
    LowOrder,
}

/// A static X25519 public key: of the gateway, or the identity of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// A key with these bytes (little-endian u-coordinate, RFC 7748).
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Reads a key from base64 and refuses points of low order.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let bytes = decode(text)?;
        let key = Self(*bytes);
        if key.has_low_order() {
            Err(KeyError::LowOrder)
        } else {
            Ok(key)
        }
    }

    /// The bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Whether every agreement with this point gives zero.
    fn has_low_order(&self) -> bool {
        // Every clamped scalar is a multiple of 8, the cofactor, so any of them shows a low order.
        let any_scalar = StaticSecret::from([0x55; KEY_LEN]);
        !any_scalar
            .diffie_hellman(&x25519_dalek::PublicKey::from(self.0))
            .was_contributory()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A static X25519 private key. Wiped from memory when dropped; `Debug` does not show it.
#[derive(Clone)]
pub struct PrivateKey(StaticSecret);

impl PrivateKey {
    /// A new key from the operating system's random numbers, clamped like those of `wg genkey`.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        getrandom::fill(bytes.as_mut())?;
        bytes[0] &= 0b1111_1000;
        bytes[KEY_LEN - 1] &= 0b0111_1111;
        bytes[KEY_LEN - 1] |= 0b0100_0000;
        Ok(Self(StaticSecret::from(*bytes)))
    }

    /// Reads a key from base64.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        Ok(Self(StaticSecret::from(*decode(text)?)))
    }

    /// The key in base64, wiped from memory when dropped.
    pub fn to_base64(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(KEY_BASE64_LEN));
        STANDARD.encode_string(self.0.as_bytes(), &mut text);
        text
    }

    /// The public key that belongs to this private key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&self.0).to_bytes())
    }

    /// The key for the cryptography.
    pub const fn secret(&self) -> &StaticSecret {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

/// Decodes base64 of exactly one key, and leaves no copy of it behind.
fn decode(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    if text.is_empty() {
        return Err(KeyError::Empty);
    }
    let mut decoded = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let len = STANDARD
        .decode_slice(text, &mut decoded)
        .map_err(|_| KeyError::NotBase64)?;
    decoded.truncate(len);
    let mut key = Zeroizing::new([0; KEY_LEN]);
    match <[u8; KEY_LEN]>::try_from(decoded.as_slice()) {
        Ok(mut bytes) => {
            key.copy_from_slice(&bytes);
            bytes.zeroize();
            Ok(key)
        }
        Err(_) => Err(KeyError::WrongLength(len)),
    }
}
