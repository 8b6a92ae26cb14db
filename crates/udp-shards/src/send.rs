//! A bounded send queue that gathers datagrams into trains.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use closed_enum::closed_enum;

use crate::ShardSocket;
use crate::refusals::Refusals;
use crate::sys::sendmmsg::{self, Message, SendHeaders};
use crate::train::{Destination, Sending, Source, TRAIN_DATAGRAMS_MAX, Trains};

/// Maximum number of messages per system call. At this size the cost of the call per message is small,
/// and so is the work that is lost when the send buffer is full.
const MESSAGES_PER_CALL_MAX: usize = 64;

/// Number of datagrams in a call after which no further train is added.
const DATAGRAMS_PER_CALL: usize = 1024;

/// Time for which a destination gets single datagrams after the kernel refused a train. Routes and offloads of network
/// cards can change.
const GSO_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Maximum number of destinations that get single datagrams.
const GSO_REFUSALS_MAX: usize = 256;

/// Time for which a source address is not tried again. The host may have it again; the next datagram finds out.
const SOURCE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Maximum number of source addresses that are not tried.
const LOST_SOURCES_MAX: usize = 64;

/// A bounded queue of datagrams, sent in trains with few system calls. It owns its datagrams until they are sent or
/// have failed. Use one queue per socket.
///
/// ```
/// use std::time::Instant;
///
/// use udp_shards::{Flush, ReceiveBatch, SendQueue, SocketOptions, bind_client_socket};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = SocketOptions::default();
/// let [from, to] = [(); 2].map(|()| bind_client_socket(([127, 0, 0, 1], 0).into(), &options));
/// let (from, to) = (from?, to?);
/// let mut queue = SendQueue::with_limits(1024, 1024 * 1024);
/// for number in 0..10_u8 {
///     queue.push(to.local_addr(), None, [number; 1200]).map_err(|_| "the queue is full")?;
/// }
/// let flush = queue.flush(&from, Instant::now(), &mut |_datagram, outcome| assert_eq!(outcome, Ok(())));
/// assert_eq!(flush, Flush::Empty);
///
/// let mut batch = ReceiveBatch::new(16);
/// assert_eq!(to.receive(&mut batch)?, 1); // One train of 10 datagrams.
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SendQueue<B> {
    trains: Trains<B>,
    datagrams_max: usize,
    bytes_max: usize,
    max_age: Option<Duration>,
    /// Destinations for which the kernel refused a train with EIO or EINVAL, because of their route (IPsec), their network
    /// card or the kernel's version. They get single datagrams.
    gso_refusals: Refusals,
    /// Source addresses with which the kernel refused to send, while it accepted the same datagrams without them.
    lost_sources: Refusals,
    scratch: Scratch,
}

/// Allocations reused between calls.
#[derive(Debug, Default)]
struct Scratch {
    messages: Vec<Message>,
    /// Always empty between calls.
    parts: Vec<IoSlice<'static>>,
    headers: SendHeaders,
}

/// State of the queue after a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flush {
    /// The queue is empty.
    Empty,
    /// The socket's send buffer is full: flush again when the socket is writable.
    Blocked,
}

closed_enum! {
    /// Why a datagram was not sent.
    pub enum SendError {
        MessageTooLong: "message_too_long",
            "larger than the interface or the known path takes (EMSGSIZE)";
        Unreachable: "unreachable",
            "no route, or no host or socket there (ENETUNREACH, EHOSTUNREACH, EHOSTDOWN, ECONNREFUSED)";
        NotPermitted: "not_permitted", "refused by a firewall rule (EPERM, EACCES)";
        NoBuffers: "no_buffers",
            "the queue of the network device or the kernel's memory is full (ENOBUFS, ENOMEM)";
        TooOld: "too_old", "waited too long for room in the socket's send buffer";
        Other: "other", "any other error";
    }
}

impl SendError {
    fn from_errno(errno: i32) -> Self {
        match errno {
            libc::EMSGSIZE => Self::MessageTooLong,
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::ECONNREFUSED => {
                Self::Unreachable
            }
            libc::EPERM | libc::EACCES => Self::NotPermitted,
            libc::ENOBUFS | libc::ENOMEM => Self::NoBuffers,
            _ => Self::Other,
        }
    }
}

impl<B: AsRef<[u8]>> SendQueue<B> {
    /// Creates a queue of at most `datagrams` datagrams and at most `bytes` bytes in total.
    #[must_use]
    pub fn with_limits(datagrams: usize, bytes: usize) -> Self {
        Self {
            trains: Trains::new(),
            datagrams_max: datagrams,
            bytes_max: bytes,
            max_age: None,
            gso_refusals: Refusals::new(GSO_RETRY_AFTER, GSO_REFUSALS_MAX),
            lost_sources: Refusals::new(SOURCE_RETRY_AFTER, LOST_SOURCES_MAX),
            scratch: Scratch::default(),
        }
    }

    /// Limits the time for which a datagram waits in the queue after a flush that left it behind. Older datagrams fail
    /// with [`SendError::TooOld`]. A datagram that joins a waiting train fails up to 1/16 of the limit early. Without
    /// this, datagrams wait for any time.
    #[must_use]
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// Returns the number of datagrams in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.trains.len()
    }

    /// Returns the number of bytes in the queue.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.trains.bytes()
    }

    /// Returns true if the queue holds no datagram.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of destination IP addresses that get single datagrams because the kernel refused a train to
    /// them in the last minute. At most 256 are remembered.
    pub fn destinations_without_gso(&mut self, now: Instant) -> usize {
        self.gso_refusals.len(now)
    }

    /// Queues a datagram for `to`. `from_ip` is the source address on a wildcard socket; pass `None` on
    /// other sockets, which send from the address that they are bound to. If the host does not have `from_ip`, or no
    /// route from it, the kernel chooses the source.
    ///
    /// Datagrams with the same `to` and `from_ip` are sent in the order in which they were pushed;
    /// others can be reordered.
    ///
    /// # Errors
    ///
    /// Returns the datagram if the queue is full, or if its bytes do not fit. Nothing else is checked: a datagram that
    /// is too long for UDP fails in [`flush`](Self::flush).
    pub fn push(&mut self, to: SocketAddr, from_ip: Option<IpAddr>, datagram: B) -> Result<(), B> {
        let bytes = datagram.as_ref().len();
        if self.len() >= self.datagrams_max || bytes > self.bytes_max.saturating_sub(self.bytes()) {
            return Err(datagram);
        }
        self.trains.push(Destination { to, from_ip }, datagram);
        Ok(())
    }

    /// Sends queued datagrams until the queue is empty or the socket's send buffer is full, and calls
    /// `done` once per datagram that left the queue, with its outcome. Never waits. `now` is the current time.
    ///
    /// `Ok` means that the kernel took the datagram, not that it left the host. An error for one datagram or
    /// destination does not affect the others. `done` gets failed datagrams back; the queue does not send them again.
    ///
    /// If the kernel cannot send trains to a destination, its datagrams are sent singly, and nothing is lost. Trains to
    /// this IP address are tried again after a minute.
    pub fn flush(
        &mut self,
        socket: &ShardSocket,
        now: Instant,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) -> Flush {
        let mut headers = std::mem::take(&mut self.scratch.headers);
        let flush = self.flush_through(
            &mut |messages, parts| headers.send(socket, messages, parts),
            socket.is_gso_enabled(),
            now,
            done,
        );
        self.scratch.headers = headers;
        flush
    }

    /// Removes the datagrams that are older than the [age limit](Self::with_max_age), and calls `done` for each. The
    /// others wait from now on, if they did not already. Call it in place of [`flush`](Self::flush) while the socket is
    /// not writable.
    pub fn expire(&mut self, now: Instant, done: &mut impl FnMut(B, Result<(), SendError>)) {
        self.drop_old(now, done);
        if self.max_age.is_some() {
            self.trains.mark_waiting(now);
        }
    }

    /// Removes all datagrams and returns them, train by train.
    pub fn drain(&mut self) -> impl Iterator<Item = B> + '_ {
        std::iter::from_fn(|| self.trains.pop_front())
    }

    /// Implements [`Self::flush`] with a replaceable system call: `send` sends messages until one fails,
    /// and returns the number sent, or the error if the first one failed.
    fn flush_through(
        &mut self,
        send: &mut impl FnMut(&[Message], &[IoSlice<'_>]) -> io::Result<usize>,
        gso: bool,
        now: Instant,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) -> Flush {
        self.drop_old(now, done);
        while !self.is_empty() {
            match self.send_front(send, gso, now) {
                Ok(sent) => self.finish_sent(sent, now, done),
                Err(error) => match error.raw_os_error().unwrap_or(libc::EIO) {
                    libc::EINTR => {}
                    libc::EAGAIN => {
                        if self.max_age.is_some() {
                            self.trains.mark_waiting(now);
                        }
                        return Flush::Blocked;
                    }
                    errno => self.handle_refusal(errno, now, done),
                },
            }
        }
        Flush::Empty
    }

    /// Removes datagrams that waited for too long, and ends the growth of trains that waited for a sixteenth of the
    /// limit, so that no datagram is dropped much too early.
    fn drop_old(&mut self, now: Instant, done: &mut impl FnMut(B, Result<(), SendError>)) {
        let Some(max_age) = self.max_age else { return };
        while let Some(train) = self.trains.front_mut()
            && train.age(now) > max_age
        {
            for _ in 0..train.datagrams {
                if let Some(datagram) = self.trains.pop_front() {
                    done(datagram, Err(SendError::TooOld));
                }
            }
        }
        self.trains.close_older(now, max_age / 16);
    }

    /// Offers the front trains to the kernel, and returns the number of accepted messages. The messages
    /// stay in `scratch.messages` and their datagrams in the queue.
    fn send_front(
        &mut self,
        send: &mut impl FnMut(&[Message], &[IoSlice<'_>]) -> io::Result<usize>,
        gso: bool,
        now: Instant,
    ) -> io::Result<usize> {
        let messages = &mut self.scratch.messages;
        messages.clear();
        let mut parts: Vec<IoSlice<'_>> = std::mem::take(&mut self.scratch.parts);
        for train in self.trains.iter() {
            let whole = gso
                && train.datagrams > 1
                && train.sending == Sending::Whole
                && !self.gso_refusals.contains(now, train.destination.to.ip());
            let messages_wanted = if whole { 1 } else { train.datagrams };
            if !messages.is_empty()
                && (messages.len() + messages_wanted > MESSAGES_PER_CALL_MAX
                    || parts.len() >= DATAGRAMS_PER_CALL)
            {
                break;
            }
            let start = parts.len();
            parts.extend(self.trains.datagrams_of(train).map(IoSlice::new));
            let Destination { to, from_ip } = train.destination;
            let from_ip = from_ip.filter(|ip| {
                train.source == Source::Given && !self.lost_sources.contains(now, *ip)
            });
            if whole {
                // Fits: a train has less than 64 KiB.
                let segment_size = u16::try_from(train.segment_size).ok();
                messages.push(Message {
                    to,
                    from_ip,
                    segment_size,
                    parts: start..parts.len(),
                });
            } else {
                messages.extend((start..parts.len()).map(|part| Message {
                    to,
                    from_ip,
                    segment_size: None,
                    parts: part..part + 1,
                }));
            }
        }
        let answer = send(messages, &parts);
        self.scratch.parts = sendmmsg::into_memory(parts);
        answer
    }

    /// Removes the datagrams of the first `sent` messages and reports them as sent.
    fn finish_sent(
        &mut self,
        sent: usize,
        now: Instant,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) {
        let messages = self
            .scratch
            .messages
            .get(..sent)
            .unwrap_or(&self.scratch.messages);
        for message in messages {
            if let Some(train) = self.trains.front_mut() {
                if train.sending == Sending::SinglyOnTrial {
                    // Only the train was invalid: the kernel cannot send trains to this destination.
                    train.sending = Sending::Singly;
                    self.gso_refusals.insert(now, train.destination.to.ip());
                }
                if let Source::ChosenOnTrial { errno } = train.source {
                    train.source = Source::Chosen;
                    // Without a route from the source, other destinations may have one.
                    if errno != libc::ENETUNREACH
                        && let Some(lost) = train.destination.from_ip
                    {
                        self.lost_sources.insert(now, lost);
                    }
                }
            }
            for _ in message.parts.clone() {
                if let Some(datagram) = self.trains.pop_front() {
                    done(datagram, Ok(()));
                }
            }
        }
    }

    /// Handles a refusal of the first message: changes how its train is sent, or reports its datagrams
    /// as failed.
    fn handle_refusal(
        &mut self,
        errno: i32,
        now: Instant,
        done: &mut impl FnMut(B, Result<(), SendError>),
    ) {
        let Some(message) = self.scratch.messages.first() else {
            return;
        };
        let datagrams = message.parts.len();
        let is_train = message.segment_size.is_some();
        let has_source = message.from_ip.is_some();
        let Some(train) = self.trains.front_mut() else {
            return;
        };

        if has_source && may_be_about_source(errno) {
            return train.source = Source::ChosenOnTrial { errno };
        }
        if let Source::ChosenOnTrial { .. } = train.source {
            // The source was not the cause, or not the only one.
            train.source = Source::Given;
            if errno == libc::EINVAL && is_train {
                return train.sending = Sending::SinglyOnTrial;
            }
        }
        match errno {
            // The network card or the route (IPsec) cannot cut trains.
            libc::EIO if is_train => {
                train.sending = Sending::Singly;
                return self.gso_refusals.insert(now, train.destination.to.ip());
            }
            // The segments are too long, but the last one may be short enough. Older kernels return
            // EINVAL for such a train.
            libc::EMSGSIZE if is_train => return train.sending = Sending::Singly,
            libc::EINVAL if is_train => return train.sending = Sending::SinglyOnTrial,
            // An ICMP answer to an earlier datagram, reported once; this message was not sent.
            libc::ECONNREFUSED if !train.retried => return train.retried = true,
            _ => {}
        }
        if train.sending == Sending::SinglyOnTrial {
            train.sending = Sending::Singly;
        }
        for _ in 0..datagrams {
            if let Some(datagram) = self.trains.pop_front() {
                done(datagram, Err(SendError::from_errno(errno)));
            }
        }
    }
}

/// Returns true if the kernel may have refused a datagram for its source address: the host does not have it (EINVAL from
/// `ip_route_output_key` and `ip6_datagram_send_ctl`), or has no route from it.
fn may_be_about_source(errno: i32) -> bool {
    matches!(
        errno,
        libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENETUNREACH
    )
}

const _: () = assert!(
    TRAIN_DATAGRAMS_MAX <= MESSAGES_PER_CALL_MAX,
    "a train that is sent datagram by datagram fits into one call",
);

#[cfg(test)]
mod tests;
