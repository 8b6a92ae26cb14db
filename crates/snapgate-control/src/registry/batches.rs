//! Group commit: requests of many threads are handled together by one of them.
//!
//! A thread puts its request into the queue. If no other thread leads, it leads: it handles all requests that wait, its
//! own among them. Otherwise it waits for its answer. While one batch is written, the next one gathers.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Maximum number of requests that are handled together. Bounds the time for which the contents are locked.
const BATCH_MAX: usize = 256;

/// The place for the answer to one request.
pub(super) struct Answer<A>(Arc<Mutex<Option<A>>>);

impl<A> Answer<A> {
    pub(super) fn give(&self, answer: A) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    fn take(&self) -> Option<A> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns true if the request was dropped, answered or not.
    fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// A request that was handed in.
pub(super) struct Pending<A>(Answer<A>);

/// Requests that wait for a thread to handle them.
pub(super) struct Batches<R> {
    queue: Mutex<Queue<R>>,
    answered: Condvar,
}

struct Queue<R> {
    waiting: VecDeque<R>,
    /// A thread handles requests.
    is_led: bool,
}

/// Ends the lead of a thread, also when it panics.
struct Lead<'a, R>(&'a Batches<R>);

impl<R> Drop for Lead<'_, R> {
    fn drop(&mut self) {
        self.0.lock().is_led = false;
        self.0.answered.notify_all();
    }
}

impl<R> Batches<R> {
    pub(super) fn new() -> Self {
        Self {
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                is_led: false,
            }),
            answered: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<R>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands in a request and waits for its answer, see [`hand_in`](Self::hand_in) and [`wait`](Self::wait).
    pub(super) fn submit<A>(
        &self,
        request: impl FnOnce(Answer<A>) -> R,
        lead: impl Fn(),
    ) -> Option<A> {
        self.wait(self.hand_in(request), lead)
    }

    /// Hands in a request without waiting. Unless [`wait`](Self::wait) is called for it, it is handled with the next
    /// request that a thread waits for.
    pub(super) fn hand_in<A>(&self, request: impl FnOnce(Answer<A>) -> R) -> Pending<A> {
        let answer = Answer(Arc::new(Mutex::new(None)));
        let request = request(Answer(Arc::clone(&answer.0)));
        self.lock().waiting.push_back(request);
        Pending(answer)
    }

    /// Waits for the answer to a request. `lead` handles the requests that [`take`](Self::take) returns, and drops them.
    /// Returns `None` if a request was dropped without an answer: the thread that led panicked.
    pub(super) fn wait<A>(&self, pending: Pending<A>, lead: impl Fn()) -> Option<A> {
        let Pending(answer) = pending;
        let mut queue = self.lock();
        loop {
            // In this order: an answer is given before its request is dropped.
            let is_last = answer.is_last();
            let given = answer.take();
            if given.is_some() || is_last {
                return given;
            }
            if queue.is_led {
                queue = self
                    .answered
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.is_led = true;
            drop(queue);
            let end = Lead(self);
            lead();
            drop(end);
            queue = self.lock();
        }
    }

    /// Returns the requests that have waited for longest.
    pub(super) fn take(&self) -> Vec<R> {
        let mut queue = self.lock();
        let batch = queue.waiting.len().min(BATCH_MAX);
        queue.waiting.drain(..batch).collect()
    }

    /// Returns the number of requests that wait for a thread to handle them.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    type Doubling = (u64, Answer<u64>);

    fn double_all(batches: &Batches<Doubling>) -> usize {
        let batch = batches.take();
        for (number, answer) in &batch {
            answer.give(2 * number);
        }
        batch.len()
    }

    #[test]
    fn every_request_gets_its_own_answer() {
        let batches: Batches<Doubling> = Batches::new();
        let handled = AtomicUsize::new(0);
        thread::scope(|scope| {
            for thread in 0..8 {
                let (batches, handled) = (&batches, &handled);
                scope.spawn(move || {
                    for number in thread * 1000..thread * 1000 + 200 {
                        let lead = || {
                            handled.fetch_add(double_all(batches), Ordering::Relaxed);
                        };
                        let answer = batches.submit(|answer| (number, answer), lead);
                        assert_eq!(answer, Some(2 * number));
                    }
                });
            }
        });
        assert_eq!(handled.into_inner(), 8 * 200);
    }

    /// Waits until this many requests wait in the queue.
    fn wait_for(batches: &Batches<Doubling>, waiting: usize) {
        while batches.waiting() < waiting {
            thread::yield_now();
        }
    }

    #[test]
    fn a_request_that_no_thread_waits_for_is_handled_with_the_next_one() {
        let batches: Batches<Doubling> = Batches::new();
        let first = batches.hand_in(|answer| (1, answer));
        drop(batches.hand_in(|answer: Answer<u64>| (2, answer)));
        let sizes = Mutex::new(Vec::new());
        let lead = || sizes.lock().unwrap().push(double_all(&batches));
        assert_eq!(batches.submit(|answer| (3, answer), lead), Some(6));
        assert_eq!(batches.wait(first, || panic!("it is answered")), Some(2));
        assert_eq!(sizes.into_inner().unwrap(), [3]);
    }

    #[test]
    fn requests_that_arrive_during_a_batch_are_handled_together() {
        let batches: Batches<Doubling> = Batches::new();
        let sizes = Mutex::new(Vec::new());
        let (begin, begun) = mpsc::sync_channel(1);
        let (go_on, may_go_on) = mpsc::sync_channel::<()>(1);
        let may_go_on = Mutex::new(may_go_on);
        let submit = |number| {
            let lead = || {
                let batch = batches.take();
                if number == 0 {
                    begin.send(()).unwrap();
                    may_go_on.lock().unwrap().recv().unwrap();
                }
                sizes.lock().unwrap().push(batch.len());
                for (number, answer) in &batch {
                    answer.give(2 * number);
                }
            };
            batches.submit(|answer| (number, answer), lead)
        };
        thread::scope(|scope| {
            let submit = &submit;
            scope.spawn(move || submit(0));
            begun.recv().unwrap();
            for number in 1..=20 {
                scope.spawn(move || assert_eq!(submit(number), Some(2 * number)));
            }
            wait_for(&batches, 20);
            go_on.send(()).unwrap();
        });
        assert_eq!(sizes.into_inner().unwrap(), [1, 20]);
    }

    #[test]
    fn more_requests_than_fit_into_a_batch_are_all_answered() {
        let batches: Batches<Doubling> = Batches::new();
        let is_full = Mutex::new(());
        thread::scope(|scope| {
            let hold = is_full.lock().unwrap();
            for number in 0..BATCH_MAX as u64 + 50 {
                let (batches, is_full) = (&batches, &is_full);
                scope.spawn(move || {
                    let lead = || {
                        drop(is_full.lock().unwrap());
                        assert!(double_all(batches) <= BATCH_MAX);
                    };
                    let answer = batches.submit(|answer| (number, answer), lead);
                    assert_eq!(answer, Some(2 * number));
                });
            }
            wait_for(&batches, BATCH_MAX + 50);
            drop(hold);
        });
    }

    #[test]
    fn a_panic_of_the_leader_leaves_no_request_waiting() {
        let batches: Batches<Doubling> = Batches::new();
        let panic = || {
            let lead = || {
                let _batch = batches.take();
                panic!("a test");
            };
            batches.submit(|answer| (1, answer), lead)
        };
        assert!(catch_unwind(AssertUnwindSafe(panic)).is_err());
        let lead = || {
            double_all(&batches);
        };
        assert_eq!(batches.submit(|answer| (2, answer), lead), Some(4));
        // A request that is dropped without an answer.
        let lead = || drop(batches.take());
        assert_eq!(batches.submit(|answer| (3, answer), lead), None);
    }
}
