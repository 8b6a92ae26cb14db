//! X25519 keys in the format of `wg`: 32 bytes in base64.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use snaptun::{StaticKey, on_wiped_stack};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::config::text_file::{self, FileFault};

/// Length of a private or public X25519 key in bytes (RFC 7748, section 5).
pub const KEY_LEN: usize = 32;

/// Length of a key in base64: 43 characters and one `=`.
pub const KEY_BASE64_LEN: usize = 44;
const _: () = assert!(KEY_BASE64_LEN == KEY_LEN.div_ceil(3) * 4);

/// Error in the text of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is empty.
    #[error("expected {KEY_LEN} bytes in base64, got an empty text")]
    Empty,
    /// The text is not base64.
    #[error("expected {KEY_LEN} bytes in base64, got other text")]
    NotBase64,
    /// The text is base64 of another number of bytes.
    #[error("expected {KEY_LEN} bytes in base64, got {0}")]
    WrongLength(usize),
    /// The public key is a point of low order, with which every shared secret is zero (RFC 7748, section 6.1).
    #[error("expected a public key, got a low-order point, which gives no shared secret")]
    LowOrder,
}

/// A static X25519 public key of the gateway or of a client (its identity).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// Creates a key from its bytes (little-endian u-coordinate, RFC 7748).
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Parses a key in base64.
    ///
    /// # Errors
    ///
    /// [`KeyError`], also for a point of low order.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let mut key = Self([0; KEY_LEN]);
        decode(text, &mut key.0)?;
        if key.has_low_order() {
            Err(KeyError::LowOrder)
        } else {
            Ok(key)
        }
    }

    /// Returns the bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Returns true if every shared secret with this point is zero.
    fn has_low_order(&self) -> bool {
        let mut coordinate = self.0;
        // X25519 ignores the most significant bit (RFC 7748, section 5).
        coordinate[KEY_LEN - 1] &= 0x7f;
        LOW_ORDER.contains(&coordinate)
    }
}

/// 255-bit u-coordinates of the points of order 1, 2, 4 and 8 on Curve25519 and its twist: 0, 1, the two of order 8,
/// -1, and 0 and 1 plus the prime. A comparison is faster than a key agreement (80 µs), and a file may contain hundreds
/// of thousands of keys.
const LOW_ORDER: [[u8; KEY_LEN]; 7] = [
    little(0x00, 0x00, 0x00),
    little(0x01, 0x00, 0x00),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    little(0xec, 0xff, 0x7f),
    little(0xed, 0xff, 0x7f),
    little(0xee, 0xff, 0x7f),
];

/// Returns a coordinate from its first byte, the bytes between and its last byte.
const fn little(first: u8, between: u8, last: u8) -> [u8; KEY_LEN] {
    let mut bytes = [between; KEY_LEN];
    bytes[0] = first;
    bytes[KEY_LEN - 1] = last;
    bytes
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

/// A static X25519 private key. Clones share one copy in memory, which is wiped when the last clone is dropped. `Debug`
/// does not show the key.
#[derive(Clone)]
pub struct PrivateKey(StaticKey);

impl PrivateKey {
    /// Generates a key from the operating system's random numbers, clamped like the keys of `wg genkey`.
    ///
    /// # Errors
    ///
    /// The error of the random number generator.
    pub fn generate() -> Result<Self, getrandom::Error> {
        StaticKey::try_filled(|bytes| {
            getrandom::fill(bytes)?;
            bytes[0] &= 0b1111_1000;
            bytes[KEY_LEN - 1] &= 0b0111_1111;
            bytes[KEY_LEN - 1] |= 0b0100_0000;
            Ok(())
        })
        .map(Self)
    }

    /// Parses a key in base64. The text is not wiped.
    ///
    /// # Errors
    ///
    /// [`KeyError`]; any 32 bytes are a key.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        on_wiped_stack(|| StaticKey::try_filled(|bytes| decode(text, bytes)).map(Self))
    }

    /// Returns the key in base64, wiped from memory when dropped.
    pub fn to_base64(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(KEY_BASE64_LEN));
        STANDARD.encode_string(self.0.as_bytes(), &mut text);
        text
    }

    /// Returns the public key of this private key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.public_key().to_bytes())
    }

    /// Returns true if the key is clamped (RFC 7748, section 5), like the keys of `wg genkey` and
    /// [`PrivateKey::generate`]. Any 32 bytes are a valid private key, but only 1 of 16 public keys, or 1 of 32 random
    /// values, is clamped.
    pub fn is_clamped(&self) -> bool {
        let bytes = self.0.as_bytes();
        bytes[0] & 0b0000_0111 == 0 && bytes[KEY_LEN - 1] & 0b1100_0000 == 0b0100_0000
    }

    /// Returns true if `listed`, which should be a public key, has the bytes of this private key.
    pub(crate) fn is_equal_to(&self, listed: &PublicKey) -> bool {
        self.0.as_bytes() == listed.as_bytes()
    }

    /// Returns the key for a gateway, which shares the copy in memory.
    pub const fn static_key(&self) -> &StaticKey {
        &self.0
    }

    /// Returns a copy of the key for code that takes it by value. It leaves copies on the stack; see
    /// [`StaticKey::to_secret`].
    pub fn to_secret(&self) -> StaticSecret {
        self.0.to_secret()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

/// Decodes a key in base64, and wipes the intermediate copy.
fn decode(text: &str, key: &mut [u8; KEY_LEN]) -> Result<(), KeyError> {
    if text.is_empty() {
        return Err(KeyError::Empty);
    }
    let mut decoded = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let len = STANDARD
        .decode_slice(text, &mut decoded)
        .map_err(|_| KeyError::NotBase64)?;
    if len != KEY_LEN {
        return Err(KeyError::WrongLength(len));
    }
    key.copy_from_slice(&decoded[..len]);
    Ok(())
}

/// Room for a key, a newline, and what editors add.
const MAX_KEY_FILE_BYTES: u64 = 4096;

/// Error in a private key file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum KeyFileFault {
    /// The file is unusable.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The content of the file is not a key.
    #[error("{0}; `snapgate genkey --output FILE` creates a key file")]
    Key(#[from] KeyError),
}

/// Reads a private key from `source`: one key in base64, with optional white space around it.
pub(crate) fn read_private_key(source: impl io::Read) -> Result<PrivateKey, KeyFileFault> {
    let text = text_file::read_from(source, MAX_KEY_FILE_BYTES)?;
    Ok(PrivateKey::from_base64(text.trim())?)
}

/// Reads a private key from a file. Returns the key and the mode bits of the file.
pub(crate) fn read_private_key_file(path: &Path) -> Result<(PrivateKey, u32), KeyFileFault> {
    let file = File::open(path).map_err(|error| FileFault::from_reading(&error))?;
    let mode = file
        .metadata()
        .map_err(|error| FileFault::from_reading(&error))?
        .permissions()
        .mode()
        & 0o7777;
    Ok((read_private_key(file)?, mode))
}

/// Writes a private key to a new file with mode 0600.
///
/// An existing file, which may contain a key in use, is an error (O_EXCL).
pub(crate) fn write_private_key_file(path: &Path, key: &PrivateKey) -> Result<(), FileFault> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(key.to_base64().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    write().map_err(|error| FileFault::from_creating(&error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Alice's and Bob's private and public keys in RFC 7748, section 6.1.
    const RFC_7748: [([u8; KEY_LEN], [u8; KEY_LEN]); 2] = [
        (
            hex(b"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"),
            hex(b"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"),
        ),
        (
            hex(b"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"),
            hex(b"de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"),
        ),
    ];

    const fn hex(digits: &[u8; 2 * KEY_LEN]) -> [u8; KEY_LEN] {
        const fn nibble(digit: u8) -> u8 {
            if digit <= b'9' {
                digit - b'0'
            } else {
                digit - b'a' + 10
            }
        }
        let mut bytes = [0; KEY_LEN];
        let mut at = 0;
        while at < KEY_LEN {
            bytes[at] = nibble(digits[2 * at]) << 4 | nibble(digits[2 * at + 1]);
            at += 1;
        }
        bytes
    }

    #[test]
    fn public_keys_match_rfc_7748() {
        for (private, public) in RFC_7748 {
            let key = PrivateKey::from_base64(&STANDARD.encode(private)).unwrap();
            assert_eq!(key.public_key(), PublicKey::from_bytes(public));
        }
    }

    /// Returns true if a key agreement with a point gives zero. Every clamped scalar is a multiple of 8, the cofactor,
    /// so all of them give the same answer.
    fn gives_no_secret(point: [u8; KEY_LEN]) -> bool {
        let any_scalar = StaticSecret::from([0x55; KEY_LEN]);
        let shared = any_scalar.diffie_hellman(&x25519_dalek::PublicKey::from(point));
        !shared.was_contributory()
    }

    #[test]
    fn low_order_points_are_rejected() {
        for point in LOW_ORDER {
            for last_bit in [0x00, 0x80] {
                let mut point = point;
                point[KEY_LEN - 1] |= last_bit;
                assert!(gives_no_secret(point), "{point:?}");
                assert_eq!(
                    PublicKey::from_base64(&STANDARD.encode(point)),
                    Err(KeyError::LowOrder),
                    "{point:?}"
                );
            }
        }
    }

    #[test]
    fn keys_are_32_bytes_in_base64() {
        let from = |text: &str| PublicKey::from_base64(text);
        assert_eq!(from(""), Err(KeyError::Empty));
        assert_eq!(from("not a key"), Err(KeyError::NotBase64));
        assert_eq!(
            from("hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo"),
            Err(KeyError::NotBase64)
        );
        assert_eq!(
            from(&STANDARD.encode([9; 31])),
            Err(KeyError::WrongLength(31))
        );
        assert_eq!(
            from(&STANDARD.encode([9; 33])),
            Err(KeyError::WrongLength(33))
        );
        assert!(from(&STANDARD.encode([9; 32])).is_ok());
    }

    #[test]
    fn generated_keys_are_clamped_and_different() {
        let (one, other) = (
            PrivateKey::generate().unwrap(),
            PrivateKey::generate().unwrap(),
        );
        assert_ne!(one.static_key().as_bytes(), other.static_key().as_bytes());
        for key in [one, other] {
            let bytes = key.static_key().as_bytes();
            assert_eq!((bytes[0] & 7, bytes[31] & 0xc0), (0, 0x40));
            assert!(key.is_clamped());
        }
    }

    #[test]
    fn debug_output_hides_the_private_key() {
        let key = PrivateKey::from_base64(&STANDARD.encode([9; 32])).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(redacted)");
    }

    #[test]
    fn key_file_has_mode_0600_and_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = PrivateKey::generate().unwrap();
        write_private_key_file(&path, &key).unwrap();
        let (read, mode) = read_private_key_file(&path).unwrap();
        assert_eq!(mode, 0o600);
        assert_eq!(read.static_key().as_bytes(), key.static_key().as_bytes());
        assert_eq!(write_private_key_file(&path, &key), Err(FileFault::Exists));
    }

    proptest! {
        #[test]
        fn points_that_give_a_secret_are_public_keys(
            near in proptest::option::of(0..LOW_ORDER.len()),
            distance in 0..3_u8,
            random: [u8; KEY_LEN],
        ) {
            let mut point = near.map_or(random, |index| LOW_ORDER[index]);
            point[0] = point[0].wrapping_add(distance);
            let is_key = PublicKey::from_base64(&STANDARD.encode(point)).is_ok();
            prop_assert_eq!(is_key, !gives_no_secret(point));
        }

        #[test]
        fn formatted_private_key_is_parsed_back(bytes: [u8; KEY_LEN]) {
            let key = PrivateKey::from_base64(&STANDARD.encode(bytes)).unwrap();
            let text = key.to_base64();
            prop_assert_eq!(text.len(), KEY_BASE64_LEN);
            let read = read_private_key(format!("  {}\r\n\n", &*text).as_bytes()).unwrap();
            prop_assert_eq!(read.static_key().as_bytes(), &bytes);
        }
    }
}
