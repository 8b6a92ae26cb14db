//! Received trains.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;

/// A train: one or more datagrams of one flow, as the kernel delivered them.
///
/// ```
/// let train = udp_shards::Received {
///     from: "192.0.2.1:4000".parse().unwrap(),
///     local_ip: None,
///     buffer: b"firstotherend".as_slice().into(),
///     segment_size: 5,
///     truncated: false,
/// };
/// assert_eq!(train.datagram_count(), 3);
/// assert!(train.into_datagrams().eq([&b"first"[..], b"other", b"end"]));
/// ```
#[derive(Debug)]
pub struct Received {
    /// Source address of the datagrams.
    pub from: SocketAddr,
    /// Destination address of the datagrams; `Some` only on a socket bound to the unspecified address. Pass it to
    /// [`SendQueue::push`](crate::SendQueue::push) with the answers.
    pub local_ip: Option<IpAddr>,
    /// All datagrams, one after the other.
    pub buffer: BytesMut,
    /// Size of each datagram in bytes; the last one may be shorter. 0 for an empty datagram.
    pub segment_size: usize,
    /// True if the receive slot was too small (64 KiB) and the end of the train is lost: its last datagram is
    /// incomplete and should be dropped.
    pub truncated: bool,
}

impl Received {
    /// Returns the number of datagrams, at least 1.
    #[must_use]
    pub fn datagram_count(&self) -> usize {
        self.buffer
            .len()
            .checked_div(self.segment_size)
            .map_or(1, |whole| {
                let rest = usize::from(whole * self.segment_size < self.buffer.len());
                (whole + rest).max(1)
            })
    }

    /// Splits the train into its datagrams without copying.
    #[must_use]
    pub fn into_datagrams(self) -> Datagrams {
        Datagrams {
            segment_size: self.segment_size,
            rest: Some(self.buffer),
        }
    }
}

/// Iterator over the datagrams of a train, see [`Received::into_datagrams`].
#[derive(Debug)]
pub struct Datagrams {
    segment_size: usize,
    rest: Option<BytesMut>,
}

impl Iterator for Datagrams {
    type Item = BytesMut;

    #[inline]
    fn next(&mut self) -> Option<BytesMut> {
        let rest = self.rest.as_mut()?;
        if self.segment_size == 0 || rest.len() <= self.segment_size {
            return self.rest.take();
        }
        Some(rest.split_to(self.segment_size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_has_at_least_one_datagram() {
        for (bytes, segment_size, count) in [
            (0, 0, 1),
            (5, 5, 1),
            (10, 5, 2),
            (11, 5, 3),
            (4, 5, 1),
            (5, 0, 1),
            (0, 5, 1),
        ] {
            let received = Received {
                from: "127.0.0.1:1".parse().unwrap(),
                local_ip: None,
                buffer: BytesMut::zeroed(bytes),
                segment_size,
                truncated: false,
            };
            assert_eq!(received.datagram_count(), count, "{bytes} / {segment_size}");
            assert_eq!(
                received.into_datagrams().count(),
                count,
                "{bytes} / {segment_size}"
            );
        }
    }
}
