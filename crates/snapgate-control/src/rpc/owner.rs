//! Bytes that own a value.

use bytes::Bytes;

struct Owned<T> {
    bytes: Bytes,
    _value: T,
}

impl<T> AsRef<[u8]> for Owned<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Returns the same bytes, with a value that is dropped with the last of them. hyper drops the bytes of an answer when
/// they were passed to the kernel or to TLS, when the client gave up the request, or when the connection ended.
pub(super) fn owning<T: Send + 'static>(bytes: Bytes, value: T) -> Bytes {
    Bytes::from_owner(Owned {
        bytes,
        _value: value,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_value_is_dropped_with_the_last_of_the_bytes() {
        let value = Arc::new(());
        let mut bytes = owning(Bytes::from_static(b"abc"), Arc::clone(&value));
        let end = bytes.split_off(1);
        assert_eq!((&bytes[..], &end[..]), (&b"a"[..], &b"bc"[..]));
        drop(bytes);
        assert_eq!(Arc::strong_count(&value), 2);
        drop(end);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
