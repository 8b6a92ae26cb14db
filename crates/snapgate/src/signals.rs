//! Signals of the process.
//!
//! They are blocked while there is only one thread, so that later threads inherit the mask, and one thread receives
//! them. A signal handler would miss the signals that arrive while it is being installed.
//!
//! The thread also sets the shutdown deadline, so that the process ends even if the main thread is blocked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use crossbeam_channel::{Receiver, Sender};
use nix::sys::signal::{SigSet, Signal as SystemSignal};

use crate::shutdown::{END_TIME, END_TIME_AFTER_SECOND_SIGNAL, ShutdownDeadline};

/// A second SIGTERM within this time is a duplicate: service managers and process groups send it twice.
const DUPLICATE_TIME: Duration = Duration::from_millis(500);

/// A signal that ends the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndSignal {
    /// SIGINT: stop at once.
    Interrupt,
    /// SIGTERM: drain, then stop.
    Terminate,
}

impl EndSignal {
    const fn system(self) -> SystemSignal {
        match self {
            Self::Interrupt => SystemSignal::SIGINT,
            Self::Terminate => SystemSignal::SIGTERM,
        }
    }
}

impl fmt::Display for EndSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.system().as_str())
    }
}

/// Signals that the thread receives. SIGUSR1 and SIGUSR2 have no effect, but would end the process by default.
const WAITED_FOR: [SystemSignal; 5] = [
    SystemSignal::SIGHUP,
    SystemSignal::SIGINT,
    SystemSignal::SIGTERM,
    SystemSignal::SIGUSR1,
    SystemSignal::SIGUSR2,
];

/// Signals that the kernel sends to a thread in addition to the error of its write. SIGTTOU would stop a background
/// process that logs to a terminal.
const BLOCKED: [SystemSignal; 3] = [
    SystemSignal::SIGPIPE,
    SystemSignal::SIGTTOU,
    SystemSignal::SIGXFSZ,
];

/// Receivers of the signals.
pub(crate) struct Signals {
    /// SIGHUP; several that arrive before the first is handled count as one.
    pub(crate) hangups: Receiver<()>,
    /// SIGINT and SIGTERM, without duplicates.
    pub(crate) ends: Receiver<EndSignal>,
    pub(crate) shutdown: ShutdownDeadline,
    is_serving: Arc<AtomicBool>,
}

impl Signals {
    /// Makes SIGINT and SIGTERM stop the gateway in order. Before, they end the process at once.
    pub(crate) fn serving(&self) {
        self.is_serving.store(true, Ordering::Relaxed);
    }
}

/// Blocks the signals in the calling thread and the threads that it starts from now on, and sends them to the returned
/// channels. Must be called while there is no other thread.
///
/// `exit` ends the process at once with an exit code.
pub(crate) fn listen(exit: fn(u8)) -> io::Result<Signals> {
    let waited_for: SigSet = WAITED_FOR.into_iter().collect();
    WAITED_FOR
        .into_iter()
        .chain(BLOCKED)
        .collect::<SigSet>()
        .thread_block()?;
    let (hangup, hangups) = crossbeam_channel::bounded(1);
    // Room for the first signal and the second; further ones change nothing.
    let (end, ends) = crossbeam_channel::bounded(2);
    let shutdown = ShutdownDeadline::start(exit)?;
    let is_serving = Arc::new(AtomicBool::new(false));
    let signals = Signals {
        hangups,
        ends,
        shutdown: shutdown.clone(),
        is_serving: Arc::clone(&is_serving),
    };
    let mut thread = SignalThread {
        first: None,
        hangup,
        end,
        shutdown,
        exit,
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            while let Ok(signal) = waited_for.wait() {
                thread.take(signal, Instant::now(), is_serving.load(Ordering::Relaxed));
            }
        })?;
    Ok(signals)
}

/// State of the thread, which waits for nothing but signals.
struct SignalThread {
    /// The first signal that ends the process.
    first: Option<(EndSignal, Instant)>,
    hangup: Sender<()>,
    end: Sender<EndSignal>,
    shutdown: ShutdownDeadline,
    exit: fn(u8),
}

impl SignalThread {
    fn take(&mut self, signal: SystemSignal, now: Instant, is_serving: bool) {
        match signal {
            SystemSignal::SIGHUP => {
                // Full: a SIGHUP is about to be handled.
                let _coalesced = self.hangup.try_send(());
            }
            SystemSignal::SIGINT => self.end(EndSignal::Interrupt, now, is_serving),
            SystemSignal::SIGTERM => self.end(EndSignal::Terminate, now, is_serving),
            _ => {}
        }
    }

    fn end(&mut self, signal: EndSignal, now: Instant, is_serving: bool) {
        if !is_serving {
            return (self.exit)(0);
        }
        match self.first {
            None => {
                self.first = Some((signal, now));
                self.shutdown.expect_reaction(now + END_TIME);
            }
            Some((EndSignal::Terminate, at))
                if signal == EndSignal::Terminate
                    && now.saturating_duration_since(at) < DUPLICATE_TIME =>
            {
                return;
            }
            Some(_) => self.shutdown.end_by(now + END_TIME_AFTER_SECOND_SIGNAL, 0),
        }
        // Full: the process ends by the deadline.
        let _not_needed = self.end.try_send(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use EndSignal::{Interrupt, Terminate};

    fn thread() -> (SignalThread, Receiver<()>, Receiver<EndSignal>) {
        let (hangup, hangups) = crossbeam_channel::bounded(1);
        let (end, ends) = crossbeam_channel::bounded(2);
        let thread = SignalThread {
            first: None,
            hangup,
            end,
            shutdown: ShutdownDeadline::start(|_| {}).unwrap(),
            exit: |_| panic!("the process ended"),
        };
        (thread, hangups, ends)
    }

    #[test]
    fn a_sigterm_within_half_a_second_of_the_first_is_a_duplicate() {
        let (mut thread, _, ends) = thread();
        let start = Instant::now();
        let mut take = |signal, milliseconds| {
            thread.take(signal, start + Duration::from_millis(milliseconds), true);
            ends.try_iter().collect::<Vec<_>>()
        };
        assert_eq!(take(SystemSignal::SIGTERM, 0), [Terminate]);
        assert_eq!(take(SystemSignal::SIGTERM, 0), []);
        assert_eq!(take(SystemSignal::SIGTERM, 499), []);
        assert_eq!(take(SystemSignal::SIGTERM, 500), [Terminate]);
    }

    #[test]
    fn sigint_is_not_a_duplicate_of_sigterm() {
        let (mut thread, _, ends) = thread();
        let now = Instant::now();
        thread.take(SystemSignal::SIGTERM, now, true);
        thread.take(SystemSignal::SIGINT, now, true);
        assert_eq!(ends.try_iter().collect::<Vec<_>>(), [Terminate, Interrupt]);
    }

    #[test]
    fn full_channels_do_not_block_the_signal_thread() {
        let (mut thread, hangups, ends) = thread();
        let now = Instant::now();
        for seconds in 0..10 {
            let now = now + Duration::from_secs(seconds);
            thread.take(SystemSignal::SIGHUP, now, true);
            thread.take(SystemSignal::SIGUSR1, now, true);
            thread.take(SystemSignal::SIGTERM, now, true);
        }
        assert_eq!(hangups.try_iter().count(), 1);
        assert_eq!(ends.try_iter().count(), 2);
    }

    #[test]
    #[should_panic(expected = "the process ended")]
    fn a_signal_before_serving_ends_the_process_at_once() {
        thread()
            .0
            .take(SystemSignal::SIGTERM, Instant::now(), false);
    }
}
