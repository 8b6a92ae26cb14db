//! The queue against a scripted kernel.

use std::collections::{HashMap, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Answer to one call: a number of accepted messages, or an error.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Take(usize),
    Fail(i32),
}

/// A message that the scripted kernel accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    to: SocketAddr,
    from_ip: Option<IpAddr>,
    segment_size: Option<u16>,
    datagrams: Vec<Vec<u8>>,
}

/// A queue, a scripted kernel, and the recorded messages and outcomes.
struct Fixture {
    queue: SendQueue<Vec<u8>>,
    gso: bool,
    now: Instant,
    /// Answers to the next calls; after the last one, all messages are accepted.
    script: VecDeque<Answer>,
    /// Source address that the host does not have: the kernel refuses messages with it, before any scripted answer.
    missing: Option<IpAddr>,
    sent: Vec<Sent>,
    outcomes: Vec<(Vec<u8>, Result<(), SendError>)>,
}

impl Fixture {
    fn new(script: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            queue: SendQueue::with_limits(usize::MAX, usize::MAX),
            gso: true,
            now: Instant::now(),
            script: script.into_iter().collect(),
            missing: None,
            sent: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// Queues datagrams of the given sizes for a destination; their bytes are a counter.
    fn push(&mut self, to: SocketAddr, sizes: impl IntoIterator<Item = usize>) {
        for size in sizes {
            let number = (self.queue.len() + self.outcomes.len()) as u8;
            self.queue.push(to, None, vec![number; size]).unwrap();
        }
    }

    fn flush(&mut self) -> Flush {
        let Self {
            queue,
            gso,
            now,
            script,
            missing,
            sent,
            outcomes,
        } = self;
        queue.flush_through(
            &mut |messages, parts| {
                assert!(!messages.is_empty() && messages.len() <= MESSAGES_PER_CALL_MAX);
                let is_sendable =
                    |message: &&Message| message.from_ip.is_none() || message.from_ip != *missing;
                let sendable = messages.iter().take_while(is_sendable).count();
                if sendable == 0 {
                    return Err(io::Error::from_raw_os_error(libc::EINVAL));
                }
                let take = match script.pop_front() {
                    None => sendable,
                    Some(Answer::Take(take)) => take.clamp(1, sendable),
                    Some(Answer::Fail(errno)) => return Err(io::Error::from_raw_os_error(errno)),
                };
                for message in &messages[..take] {
                    sent.push(Sent {
                        to: message.to,
                        from_ip: message.from_ip,
                        segment_size: message.segment_size,
                        datagrams: parts[message.parts.clone()]
                            .iter()
                            .map(|part| part.to_vec())
                            .collect(),
                    });
                }
                Ok(take)
            },
            *gso,
            *now,
            &mut |datagram, outcome| outcomes.push((datagram, outcome)),
        )
    }

    /// Limits the age of datagrams.
    fn with_max_age(mut self, max_age: Duration) -> Self {
        self.queue = self.queue.with_max_age(max_age);
        self
    }

    /// Does what a worker does in a turn in which the socket is not writable.
    fn expire(&mut self) {
        let outcomes = &mut self.outcomes;
        self.queue.expire(self.now, &mut |datagram, outcome| {
            outcomes.push((datagram, outcome));
        });
    }

    fn destinations_without_gso(&mut self) -> usize {
        self.queue.destinations_without_gso(self.now)
    }

    /// Number of datagrams and segment size of each message sent.
    fn shapes(&self) -> Vec<(usize, Option<u16>)> {
        self.sent
            .iter()
            .map(|sent| (sent.datagrams.len(), sent.segment_size))
            .collect()
    }

    fn results(&self) -> Vec<Result<(), SendError>> {
        self.outcomes.iter().map(|(_, result)| *result).collect()
    }
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::new([192, 0, 2, 1].into(), port)
}

#[test]
fn equal_datagrams_to_one_destination_leave_as_a_train() {
    let mut fixture = Fixture::new([]);
    fixture.push(peer(1), [100; 10]);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.shapes(), [(10, Some(100))]);
    assert_eq!(fixture.results(), [Ok(()); 10]);
    assert!(fixture.queue.is_empty());
    assert_eq!(fixture.queue.bytes(), 0);
}

#[test]
fn a_single_datagram_has_no_segment_size() {
    let mut fixture = Fixture::new([]);
    fixture.push(peer(1), [1400]);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.shapes(), [(1, None)]);
}

#[test]
fn interleaved_destinations_make_one_train_each() {
    let mut fixture = Fixture::new([]);
    for _ in 0..20 {
        for port in 1..=100 {
            fixture.push(peer(port), [500]);
        }
    }
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.shapes(), [(20, Some(500)); 100]);
}

#[test]
fn the_source_address_is_part_of_the_destination() {
    let mut fixture = Fixture::new([]);
    for _ in 0..2 {
        for last in [1, 2] {
            let from_ip = Some([127, 0, 0, last].into());
            fixture.queue.push(peer(1), from_ip, vec![0; 10]).unwrap();
        }
    }
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.shapes(), [(2, Some(10)); 2]);
}

#[test]
fn a_shorter_datagram_ends_a_train_and_a_longer_one_begins_another() {
    let mut fixture = Fixture::new([]);
    fixture.push(peer(1), [100, 100, 40, 100, 100, 200, 200]);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(
        fixture.shapes(),
        [(3, Some(100)), (2, Some(100)), (2, Some(200))]
    );
}

#[test]
fn empty_datagrams_leave_alone_and_in_order() {
    let mut fixture = Fixture::new([]);
    fixture.push(peer(1), [0, 0, 10, 10, 0, 10]);
    assert_eq!(fixture.flush(), Flush::Empty);
    let shapes = [(1, None), (1, None), (2, Some(10)), (1, None), (1, None)];
    assert_eq!(fixture.shapes(), shapes);
}

#[test]
fn a_train_has_64_datagrams_at_most() {
    let mut fixture = Fixture::new([]);
    fixture.push(peer(1), [10; 130]);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(
        fixture.shapes(),
        [(64, Some(10)), (64, Some(10)), (2, Some(10))]
    );
}

#[test]
fn a_train_fits_into_one_ip_packet() {
    for (to, bytes_max) in [
        (peer(1), 65_507),
        ("[2001:db8::1]:1".parse().unwrap(), 65_527),
    ] {
        let mut fixture = Fixture::new([]);
        fixture.push(to, [9000; 8]);
        fixture.push(to, [bytes_max]);
        fixture.push(to, [bytes_max / 2, bytes_max / 2, 1, 1, 1]);
        assert_eq!(fixture.flush(), Flush::Empty);
        let half = Some((bytes_max / 2) as u16);
        let shapes = [
            (7, Some(9000)),
            (1, None),
            (1, None),
            (3, half),
            (2, Some(1)),
        ];
        assert_eq!(fixture.shapes(), shapes);
    }
}

#[test]
fn without_gso_each_datagram_is_a_message() {
    let mut fixture = Fixture::new([]);
    fixture.gso = false;
    fixture.push(peer(1), [100; 70]);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.shapes(), [(1, None); 70]);
}

#[test]
fn a_partial_send_continues_at_the_first_unsent_message() {
    let mut fixture = Fixture::new([Answer::Take(1), Answer::Take(2)]);
    for port in 1..=5 {
        fixture.push(peer(port), [100; 3]);
    }
    assert_eq!(fixture.flush(), Flush::Empty);
    let ports: Vec<u16> = fixture.sent.iter().map(|sent| sent.to.port()).collect();
    assert_eq!(ports, [1, 2, 3, 4, 5]);
    assert_eq!(fixture.results(), [Ok(()); 15]);
}

#[test]
fn a_full_send_buffer_keeps_the_queue() {
    let mut fixture = Fixture::new([Answer::Take(1), Answer::Fail(libc::EAGAIN)]);
    fixture.push(peer(1), [100; 3]);
    fixture.push(peer(2), [100; 3]);
    assert_eq!(fixture.flush(), Flush::Blocked);
    assert_eq!(fixture.results(), [Ok(()); 3]);
    assert_eq!((fixture.queue.len(), fixture.queue.bytes()), (3, 300));
    // Later datagrams join the queued train.
    fixture.push(peer(2), [100; 2]);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.shapes(), [(3, Some(100)), (5, Some(100))]);
    assert_eq!(fixture.results(), [Ok(()); 8]);
}

#[test]
fn an_interrupted_call_is_repeated() {
    let mut fixture = Fixture::new([Answer::Fail(libc::EINTR), Answer::Fail(libc::EINTR)]);
    fixture.push(peer(1), [100; 3]);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.shapes(), [(3, Some(100))]);
}

/// Answers to a train that the kernel cannot send: EIO from network cards and IPsec routes, EINVAL from old kernels.
const REFUSALS_OF_TRAINS: [i32; 2] = [libc::EIO, libc::EINVAL];

#[test]
fn a_refused_train_is_sent_as_single_datagrams() {
    for errno in REFUSALS_OF_TRAINS {
        let mut fixture = Fixture::new([Answer::Fail(errno)]);
        fixture.push(peer(1), [100; 3]);
        assert_eq!(fixture.flush(), Flush::Empty);
        assert_eq!(fixture.shapes(), [(1, None); 3]);
        assert_eq!(fixture.results(), [Ok(()); 3]);
        assert_eq!(fixture.destinations_without_gso(), 1);

        // Trains to other ports of the host have the same route.
        fixture.push(peer(2), [100; 2]);
        assert_eq!(fixture.flush(), Flush::Empty);
        assert_eq!(fixture.shapes(), [(1, None); 5]);
    }
}

#[test]
fn other_destinations_still_get_trains_after_one_refused_them() {
    for errno in REFUSALS_OF_TRAINS {
        let mut fixture = Fixture::new([Answer::Fail(errno)]);
        let other = "192.0.2.2:1".parse().unwrap();
        fixture.push(peer(1), [100; 2]);
        fixture.push(other, [100; 3]);
        assert_eq!(fixture.flush(), Flush::Empty);
        assert_eq!(fixture.shapes(), [(1, None), (1, None), (3, Some(100))]);
    }
}

#[test]
fn trains_to_a_destination_are_tried_again_after_a_minute() {
    for errno in REFUSALS_OF_TRAINS {
        let mut fixture = Fixture::new([Answer::Fail(errno)]);
        fixture.push(peer(1), [100; 2]);
        assert_eq!(fixture.flush(), Flush::Empty);
        fixture.now += Duration::from_secs(60);
        assert_eq!(fixture.destinations_without_gso(), 0);
        fixture.push(peer(1), [100; 2]);
        assert_eq!(fixture.flush(), Flush::Empty);
        assert_eq!(fixture.shapes(), [(1, None), (1, None), (2, Some(100))]);
    }
}

#[test]
fn any_number_of_destinations_can_refuse_trains() {
    let destinations = 1000;
    let mut fixture = Fixture::new([]);
    for number in 0..destinations {
        let ip = IpAddr::from([10, 0, (number / 256) as u8, (number % 256) as u8]);
        fixture.push(SocketAddr::new(ip, 1), [100; 2]);
    }
    let Fixture {
        queue, now, sent, ..
    } = &mut fixture;
    let mut outcomes = 0;
    let flush = queue.flush_through(
        &mut |messages, _| {
            if messages[0].segment_size.is_some() {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            let singles = messages.iter().take_while(|one| one.segment_size.is_none());
            let singles = singles.count();
            sent.extend(messages[..singles].iter().map(|message| Sent {
                to: message.to,
                from_ip: message.from_ip,
                segment_size: None,
                datagrams: Vec::new(),
            }));
            Ok(singles)
        },
        true,
        *now,
        &mut |_, outcome| outcomes += usize::from(outcome.is_ok()),
    );
    assert_eq!(flush, Flush::Empty);
    assert_eq!((sent.len(), outcomes), (2 * destinations, 2 * destinations));
    assert_eq!(fixture.destinations_without_gso(), 256);
}

#[test]
fn a_train_that_is_invalid_for_another_reason_leaves_gso_on() {
    // Older kernels return EINVAL for a train whose segments exceed the MTU.
    for errno in [libc::EMSGSIZE, libc::EINVAL] {
        let refused = Answer::Fail(errno);
        let mut fixture = Fixture::new([Answer::Fail(libc::EINVAL), refused, refused]);
        fixture.push(peer(1), [100, 100, 40]);
        fixture.push(peer(2), [100; 2]);
        assert_eq!(fixture.flush(), Flush::Empty);
        let error = Err(SendError::from_errno(errno));
        assert_eq!(fixture.results(), [error, error, Ok(()), Ok(()), Ok(())]);
        assert_eq!(fixture.shapes(), [(1, None), (2, Some(100))]);
        assert_eq!(fixture.destinations_without_gso(), 0);
    }
}

#[test]
fn only_the_oversized_datagram_of_a_train_is_dropped() {
    let too_long = Answer::Fail(libc::EMSGSIZE);
    let mut fixture = Fixture::new([too_long, Answer::Take(1), too_long]);
    fixture.push(peer(1), [100; 4]);
    assert_eq!(fixture.flush(), Flush::Empty);
    let results = [Ok(()), Err(SendError::MessageTooLong), Ok(()), Ok(())];
    assert_eq!(fixture.results(), results);
    assert_eq!(fixture.destinations_without_gso(), 0);
}

#[test]
fn an_error_about_one_destination_drops_its_train_and_no_other() {
    for (errno, error) in [
        (libc::ENETUNREACH, SendError::Unreachable),
        (libc::EHOSTUNREACH, SendError::Unreachable),
        (libc::EPERM, SendError::NotPermitted),
        (libc::EACCES, SendError::NotPermitted),
        (libc::ENOBUFS, SendError::NoBuffers),
        (libc::ENOMEM, SendError::NoBuffers),
        (libc::EAFNOSUPPORT, SendError::Other),
    ] {
        let mut fixture = Fixture::new([Answer::Take(1), Answer::Fail(errno)]);
        for port in 1..=3 {
            fixture.push(peer(port), [100; 2]);
        }
        assert_eq!(fixture.flush(), Flush::Empty);
        let results = [Ok(()), Ok(()), Err(error), Err(error), Ok(()), Ok(())];
        assert_eq!(fixture.results(), results);
        assert_eq!(fixture.destinations_without_gso(), 0);
    }
}

#[test]
fn an_icmp_answer_to_an_earlier_datagram_costs_no_datagram() {
    let mut fixture = Fixture::new([Answer::Fail(libc::ECONNREFUSED)]);
    fixture.push(peer(1), [100; 2]);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.results(), [Ok(()); 2]);

    // The second error in a row counts.
    let mut fixture = Fixture::new([Answer::Fail(libc::ECONNREFUSED); 2]);
    fixture.push(peer(1), [100; 2]);
    fixture.push(peer(2), [100; 2]);
    assert_eq!(fixture.flush(), Flush::Empty);
    let refused = Err(SendError::Unreachable);
    assert_eq!(fixture.results(), [refused, refused, Ok(()), Ok(())]);
}

const MAX_AGE: Duration = Duration::from_millis(160);

const BLOCKED: Answer = Answer::Fail(libc::EAGAIN);

#[test]
fn datagrams_that_waited_for_too_long_are_not_sent() {
    let mut fixture = Fixture::new([BLOCKED]).with_max_age(MAX_AGE);
    fixture.push(peer(1), [100; 3]);
    assert_eq!(fixture.flush(), Flush::Blocked);
    fixture.now += MAX_AGE + Duration::from_millis(1);
    fixture.push(peer(2), [100; 2]);
    assert_eq!(fixture.flush(), Flush::Empty);
    let too_old = Err(SendError::TooOld);
    assert_eq!(
        fixture.results(),
        [too_old, too_old, too_old, Ok(()), Ok(())]
    );
    assert_eq!(fixture.shapes(), [(2, Some(100))]);
}

#[test]
fn datagrams_within_the_age_limit_are_sent() {
    let mut fixture = Fixture::new([BLOCKED]).with_max_age(MAX_AGE);
    fixture.push(peer(1), [100; 3]);
    assert_eq!(fixture.flush(), Flush::Blocked);
    fixture.now += MAX_AGE;
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.results(), [Ok(()); 3]);
}

#[test]
fn old_datagrams_leave_the_queue_while_the_socket_is_blocked() {
    let mut fixture = Fixture::new([BLOCKED]).with_max_age(MAX_AGE);
    fixture.push(peer(1), [100; 3]);
    assert_eq!(fixture.flush(), Flush::Blocked);
    // Queued later, while the socket is still blocked.
    fixture.now += MAX_AGE / 2;
    fixture.push(peer(2), [100; 2]);
    fixture.expire();
    assert_eq!(fixture.queue.len(), 5);

    fixture.now += MAX_AGE / 2 + Duration::from_millis(1);
    fixture.expire();
    assert_eq!(fixture.results(), [Err(SendError::TooOld); 3]);
    fixture.now += MAX_AGE / 2;
    fixture.expire();
    assert_eq!(fixture.results(), [Err(SendError::TooOld); 5]);
    assert_eq!((fixture.queue.len(), fixture.queue.bytes()), (0, 0));
}

#[test]
fn a_train_that_has_waited_takes_no_more_datagrams() {
    let mut fixture = Fixture::new([BLOCKED]).with_max_age(MAX_AGE);
    fixture.push(peer(1), [100; 2]);
    assert_eq!(fixture.flush(), Flush::Blocked);
    fixture.now += MAX_AGE / 16;
    fixture.expire();
    fixture.push(peer(1), [100]);
    fixture.now += Duration::from_millis(1);
    fixture.expire();
    fixture.push(peer(1), [100; 4]);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.shapes(), [(3, Some(100)), (4, Some(100))]);
}

#[test]
fn without_an_age_limit_datagrams_wait_for_any_time() {
    let mut fixture = Fixture::new([BLOCKED]);
    fixture.push(peer(1), [100; 2]);
    assert_eq!(fixture.flush(), Flush::Blocked);
    fixture.now += Duration::from_secs(3600);
    fixture.expire();
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.results(), [Ok(()); 2]);
}

/// Queues three datagrams from `from_ip` for each of two destinations.
fn push_from(fixture: &mut Fixture, from_ip: IpAddr) {
    for port in 1..=2 {
        for number in 0..3 {
            let datagram = vec![number; 100];
            fixture
                .queue
                .push(peer(port), Some(from_ip), datagram)
                .unwrap();
        }
    }
}

#[test]
fn trains_from_an_address_that_the_host_lost_leave_with_another_source() {
    let (lost, kept) = ([192, 0, 2, 8].into(), [192, 0, 2, 9].into());
    let mut fixture = Fixture::new([]);
    fixture.missing = Some(lost);
    push_from(&mut fixture, lost);
    push_from(&mut fixture, kept);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.shapes(), [(3, Some(100)); 4]);
    assert_eq!(fixture.results(), [Ok(()); 12]);
    let sources: Vec<_> = fixture.sent.iter().map(|sent| sent.from_ip).collect();
    assert_eq!(sources, [None, None, Some(kept), Some(kept)]);
    assert_eq!(fixture.destinations_without_gso(), 0);
}

#[test]
fn a_lost_source_is_not_tried_again_at_once() {
    let lost = [192, 0, 2, 8].into();
    let mut fixture = Fixture::new([]);
    fixture.missing = Some(lost);
    push_from(&mut fixture, lost);
    assert_eq!(fixture.flush(), Flush::Empty);

    // The host has the address again, but for a second the queue does not ask.
    fixture.missing = None;
    push_from(&mut fixture, lost);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.sent.last().unwrap().from_ip, None);

    fixture.now += Duration::from_secs(1);
    push_from(&mut fixture, lost);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.sent.last().unwrap().from_ip, Some(lost));
    assert_eq!(fixture.results(), [Ok(()); 18]);
}

#[test]
fn a_source_without_a_route_is_tried_again_for_the_next_train() {
    let from_ip = [192, 0, 2, 8].into();
    let mut fixture = Fixture::new([Answer::Fail(libc::ENETUNREACH)]);
    push_from(&mut fixture, from_ip);
    assert_eq!(fixture.flush(), Flush::Empty);
    let sources: Vec<_> = fixture.sent.iter().map(|sent| sent.from_ip).collect();
    assert_eq!(sources, [None, Some(from_ip)]);
    assert_eq!(fixture.results(), [Ok(()); 6]);
}

#[test]
fn a_destination_without_any_route_is_an_error_of_its_datagrams_only() {
    let from_ip = [192, 0, 2, 8].into();
    let unreachable = Answer::Fail(libc::ENETUNREACH);
    let mut fixture = Fixture::new([unreachable, unreachable]);
    push_from(&mut fixture, from_ip);
    assert_eq!(fixture.flush(), Flush::Empty);
    let failed = Err(SendError::Unreachable);
    assert_eq!(
        fixture.results(),
        [failed, failed, failed, Ok(()), Ok(()), Ok(())]
    );
    assert_eq!(fixture.sent[0].from_ip, Some(from_ip));
}

#[test]
fn an_invalid_train_keeps_its_source() {
    let from_ip = [192, 0, 2, 8].into();
    let invalid = Answer::Fail(libc::EINVAL);
    // The train is invalid with the source and without it.
    let mut fixture = Fixture::new([invalid, invalid]);
    push_from(&mut fixture, from_ip);
    assert_eq!(fixture.flush(), Flush::Empty);
    assert_eq!(fixture.results(), [Ok(()); 6]);
    assert!(
        fixture
            .sent
            .iter()
            .all(|sent| sent.from_ip == Some(from_ip))
    );
    assert_eq!(fixture.destinations_without_gso(), 1);
}

#[test]
fn a_full_queue_returns_the_datagram() {
    let mut queue = SendQueue::with_limits(2, 100);
    assert_eq!(queue.push(peer(1), None, vec![1; 101]), Err(vec![1; 101]));
    assert_eq!(queue.push(peer(1), None, vec![1; 60]), Ok(()));
    assert_eq!(queue.push(peer(1), None, vec![2; 41]), Err(vec![2; 41]));
    assert_eq!(queue.push(peer(2), None, vec![3; 40]), Ok(()));
    assert_eq!(queue.push(peer(1), None, vec![]), Err(vec![]));
    assert_eq!((queue.len(), queue.bytes()), (2, 100));
}

#[test]
fn an_emptied_queue_stores_no_destination() {
    let mut fixture = Fixture::new([]);
    for port in 1..=1000 {
        fixture.push(peer(port), [10; 2]);
        assert_eq!(fixture.flush(), Flush::Empty);
        assert!(fixture.queue.trains.has_no_destination());
    }
}

#[test]
fn errors_have_distinct_indexes_and_names() {
    for (index, error) in SendError::ALL.into_iter().enumerate() {
        assert_eq!(error.index(), index);
        let same_name = SendError::ALL
            .into_iter()
            .filter(|other| other.name() == error.name());
        assert_eq!(same_name.count(), 1);
    }
}

fn answers() -> impl Strategy<Value = Answer> {
    let errors = prop::sample::select(vec![
        libc::EAGAIN,
        libc::EINTR,
        libc::EIO,
        libc::EINVAL,
        libc::EMSGSIZE,
        libc::ENOBUFS,
        libc::ECONNREFUSED,
        libc::EHOSTUNREACH,
        libc::EPERM,
    ]);
    prop_oneof![
        (0..8_usize).prop_map(Answer::Take),
        errors.prop_map(Answer::Fail)
    ]
}

/// Bursts of datagrams: destination port and size of each.
fn bursts() -> impl Strategy<Value = Vec<(u16, usize)>> {
    let sizes = prop_oneof![
        Just(0_usize),
        Just(40),
        Just(100),
        Just(100),
        Just(1400),
        Just(65_507)
    ];
    vec((1..5_u16, sizes), 0..100)
}

proptest! {
    #[test]
    fn every_datagram_has_one_outcome_and_order_is_kept_for_all_kernel_answers(
        bursts in vec(bursts(), 1..4),
        script in vec(answers(), 0..60),
        pause_ms in 0..200_u64,
        has_source: bool,
        is_source_lost: bool,
    ) {
        let from_ip = has_source.then_some(IpAddr::from([192, 0, 2, 8]));
        let mut fixture = Fixture::new(script).with_max_age(MAX_AGE);
        fixture.missing = from_ip.filter(|_| is_source_lost);
        let mut pushed: HashMap<SocketAddr, Vec<Vec<u8>>> = HashMap::new();
        let mut count = 0_u32;
        for burst in bursts {
            for (port, size) in burst {
                // A counter to tell datagrams apart, if there is room.
                let mut datagram = vec![port as u8; size];
                if size >= 4 {
                    datagram[..4].copy_from_slice(&count.to_be_bytes());
                }
                count += 1;
                pushed.entry(peer(port)).or_default().push(datagram.clone());
                fixture.queue.push(peer(port), from_ip, datagram).unwrap();
            }
            // The next burst follows even if the queue is blocked.
            let _ = fixture.flush();
            fixture.now += Duration::from_millis(pause_ms);
        }
        while fixture.flush() == Flush::Blocked {}
        prop_assert!(fixture.queue.is_empty());
        prop_assert_eq!(fixture.queue.bytes(), 0);
        prop_assert!(fixture.queue.trains.has_no_destination());

        // Exactly one outcome per datagram.
        let mut reported: Vec<Vec<u8>> =
            fixture.outcomes.iter().map(|(datagram, _)| datagram.clone()).collect();
        let mut all: Vec<Vec<u8>> = pushed.values().flatten().cloned().collect();
        reported.sort();
        all.sort();
        prop_assert!(reported == all);

        // The outcome is `Ok` for exactly the accepted datagrams, in the kernel's order.
        let taken: Vec<&Vec<u8>> = fixture.sent.iter().flat_map(|sent| &sent.datagrams).collect();
        let accepted: Vec<&Vec<u8>> = fixture
            .outcomes
            .iter()
            .filter(|(_, outcome)| outcome.is_ok())
            .map(|(datagram, _)| datagram)
            .collect();
        prop_assert!(taken == accepted);

        for (to, pushed) in pushed {
            let sent = fixture.sent.iter().filter(|sent| sent.to == to);
            let sent = sent.flat_map(|sent| &sent.datagrams);
            prop_assert!(is_subsequence(sent, &pushed), "order towards {to}");
        }
        for sent in &fixture.sent {
            if let Some(segment_size) = sent.segment_size {
                let sizes: Vec<usize> = sent.datagrams.iter().map(Vec::len).collect();
                let (last, others) = sizes.split_last().unwrap();
                prop_assert!(others.iter().all(|&size| size == usize::from(segment_size)));
                prop_assert!((1..=usize::from(segment_size)).contains(last));
                prop_assert!((2..=64).contains(&sizes.len()));
                prop_assert!(sizes.iter().sum::<usize>() <= 65_507);
            } else {
                prop_assert_eq!(sent.datagrams.len(), 1);
            }
        }
    }
}

fn is_subsequence<'a>(mut part: impl Iterator<Item = &'a Vec<u8>>, whole: &[Vec<u8>]) -> bool {
    let mut whole = whole.iter();
    part.all(|datagram| whole.any(|other| other == datagram))
}
