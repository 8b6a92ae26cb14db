//! Private key of a gateway.

use std::fmt;
use std::sync::Arc;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::crypto::stack::on_wiped_stack;

/// Static X25519 private key. Clones share one copy of the bytes on the heap, which is wiped when the last is dropped.
/// `Debug` does not print it.
///
/// Keep the key in a file, because clients need to know its [public key](Self::public_key):
///
/// ```
/// use std::fs::File;
/// use std::io::{self, Read as _};
/// use std::path::Path;
///
/// use snaptun::{StaticKey, on_wiped_stack};
///
/// # mod getrandom {
/// #     use std::io::Read as _;
/// #     pub fn fill(bytes: &mut [u8]) -> std::io::Result<()> {
/// #         std::fs::File::open("/dev/urandom")?.read_exact(bytes)
/// #     }
/// # }
/// #
/// /// Loads a key from a file with its 32 bytes.
/// fn load(path: &Path) -> io::Result<StaticKey> {
///     on_wiped_stack(|| StaticKey::try_filled(|bytes| File::open(path)?.read_exact(bytes)))
/// }
///
/// // Makes a new key, with the crate `getrandom` and its feature `std`.
/// let key = on_wiped_stack(|| StaticKey::try_filled(|bytes| getrandom::fill(bytes)))?;
/// println!("public key: {:02x?}", key.public_key().as_bytes());
/// # assert!(load(Path::new("/no/such/file")).is_err());
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Clone)]
pub struct StaticKey(Arc<Zeroizing<[u8; 32]>>);

impl StaticKey {
    /// Makes a key from the bytes that `fill` writes. They are written in place, because moving a key leaves copies on
    /// the stack.
    ///
    /// # Errors
    /// Returns the error of `fill`.
    pub fn try_filled<E>(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Arc::new(Zeroizing::new([0; 32]));
        // The only reference, so nothing is copied.
        let bytes: &mut Zeroizing<[u8; 32]> = Arc::make_mut(&mut key);
        fill(bytes)?;
        Ok(StaticKey(key))
    }

    /// Returns the bytes of the key, unclamped.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        on_wiped_stack(|| PublicKey::from(&self.to_secret()))
    }

    /// Returns a copy of the key for code that takes it by value, such as `Tunn`. Moving the copy leaves more copies on
    /// the stack; call it inside [`on_wiped_stack`].
    #[must_use]
    pub fn to_secret(&self) -> StaticSecret {
        StaticSecret::from(*self.as_bytes())
    }
}

impl From<StaticSecret> for StaticKey {
    fn from(secret: StaticSecret) -> Self {
        StaticKey(Arc::new(Zeroizing::new(secret.to_bytes())))
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticKey(redacted)")
    }
}
