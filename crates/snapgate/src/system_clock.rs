//! Readings of the system clock for the replay guard, and whether the clock can be trusted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use snaptun::ReplayGuard;

/// Interval between readings. After the clock was set forward, correct timestamps are refused for at most this time.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// 2026-11-01, a time before which no version of this code was built.
const BUILT_AFTER: Duration = Duration::from_secs(1_793_491_200);

/// Trust in the system clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trust {
    Trusted,
    /// It is earlier than this program, as after a boot without a battery-backed clock.
    BeforeBuild,
    /// The kernel reports it as not synchronized.
    Unsynchronized,
}

impl Trust {
    /// `synchronized` is the kernel's report, if there is one.
    fn of(wall: SystemTime, synchronized: Option<bool>) -> Self {
        if wall < SystemTime::UNIX_EPOCH + BUILT_AFTER {
            Self::BeforeBuild
        } else if synchronized == Some(false) {
            Self::Unsynchronized
        } else {
            Self::Trusted
        }
    }

    fn log(self) {
        let reason = match self {
            Self::Trusted => {
                tracing::info!("system clock trusted");
                return;
            }
            Self::BeforeBuild => "earlier than the build of this program",
            Self::Unsynchronized => "not synchronized",
        };
        tracing::warn!(
            reason,
            hint = "a client whose clock is ahead can lock itself out; synchronize the clock (timedatectl, chronyc \
                    tracking)",
            "system clock not trusted, handshakes with future timestamps are accepted"
        );
    }
}

/// The thread that reads the clock. It ends after this is dropped.
pub(crate) struct SystemClock {
    is_trusted: Arc<AtomicBool>,
    _stop: Sender<()>,
}

impl SystemClock {
    /// Reads the clock for `guard`, now and every second.
    pub(crate) fn start(guard: Arc<ReplayGuard>) -> io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let first = read(&guard);
        let is_trusted = Arc::new(AtomicBool::new(first == Trust::Trusted));
        thread::Builder::new().name("clock".to_owned()).spawn({
            let is_trusted = Arc::clone(&is_trusted);
            move || follow(&guard, first, &is_trusted, &stopped)
        })?;
        Ok(Self {
            is_trusted,
            _stop: stop,
        })
    }

    /// Returns a flag that is true if the clock could be trusted at the last reading.
    pub(crate) fn is_trusted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_trusted)
    }
}

fn follow(guard: &ReplayGuard, first: Trust, is_trusted: &AtomicBool, stopped: &Receiver<()>) {
    let mut trust = first;
    if trust != Trust::Trusted {
        trust.log();
    }
    while stopped.recv_timeout(READ_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let now = read(guard);
        is_trusted.store(now == Trust::Trusted, Ordering::Relaxed);
        if now != trust {
            now.log();
        }
        trust = now;
    }
}

fn read(guard: &ReplayGuard) -> Trust {
    let wall = SystemTime::now();
    let now = Instant::now();
    let trust = Trust::of(wall, udp_shards::is_clock_synchronized());
    guard.set_clock(now, (trust == Trust::Trusted).then_some(wall));
    trust
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_or_unsynchronized_clock_is_not_trusted() {
        let built = SystemTime::UNIX_EPOCH + BUILT_AFTER;
        let second = Duration::from_secs(1);
        for (wall, synchronized, trust) in [
            (built + second, Some(true), Trust::Trusted),
            (built + second, None, Trust::Trusted),
            (built + second, Some(false), Trust::Unsynchronized),
            (built - second, Some(true), Trust::BeforeBuild),
            (SystemTime::UNIX_EPOCH, Some(false), Trust::BeforeBuild),
        ] {
            assert_eq!(Trust::of(wall, synchronized), trust);
        }
    }
}
