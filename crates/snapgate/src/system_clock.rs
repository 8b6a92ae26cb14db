//! Telling the replay guard what the system clock says, and whether it can be trusted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use snaptun::ReplayGuard;

/// Time between two readings. A clock that is set forward refuses correct timestamps for no longer.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// 2026-11-01: no version of this code was built before.
const BUILT_AFTER: Duration = Duration::from_secs(1_793_491_200);

/// Whether the system clock can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trust {
    Trusted,
    /// It is earlier than this program, as after a boot without a battery-backed clock.
    BeforeBuild,
    /// The kernel says that nothing synchronizes it.
    Unsynchronized,
}

impl Trust {
    /// `synchronized` is what the kernel says; `None` if it does not.
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
                tracing::info!("system clock is trusted: handshakes from the future are refused");
                return;
            }
            Self::BeforeBuild => "it is earlier than the build of this program",
            Self::Unsynchronized => "the kernel reports it as not synchronized",
        };
        tracing::warn!(
            reason,
            "system clock is not trusted: handshakes from the future are accepted, so a client whose clock \
             is ahead can lock itself out; synchronize the clock (timedatectl, chronyc tracking)"
        );
    }
}

/// Reads the clock until it is dropped.
pub(crate) struct SystemClock {
    is_trusted: Arc<AtomicBool>,
    _stop: Sender<()>,
}

impl SystemClock {
    /// Tells `guard` what the clock says, now and every second from now on.
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

    /// Whether the clock can be trusted, as of the last reading.
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
    fn a_clock_is_trusted_unless_it_is_known_to_be_wrong() {
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
