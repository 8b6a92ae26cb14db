//! The thread that follows the clocks, and what it does when they do not advance evenly.
//!
//! | event | reaction |
//! | --- | --- |
//! | the system clock is set | every shard asks for its grants again |
//! | the system clock is set forward by 10 s or more, or the kernel reports a new VM generation | all sessions end |
//! | the host was suspended | a log line; shards notice it by the gateway's clock |
//!
//! Each reaction precedes its log line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, io, thread};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use snaptun::ReplayGuard;

use crate::authorization::Authorizer;
use crate::gateway_clock::GatewayClock;
use crate::session_endings::SessionEndings;
use crate::system_clock::steps::{Reading, Step};
use crate::system_clock::trust::Trust;
use crate::system_clock::vm_generation::VmGeneration;

mod steps;
mod trust;
mod vm_generation;

/// Interval between readings.
const READ_INTERVAL: Duration = Duration::from_millis(250);

/// Minimum step forward that ends all sessions.
///
/// A virtual machine does not notice that it is stopped and continues later, perhaps from a snapshot, until its system
/// clock is corrected. Its sessions are then older than its clocks say, or are used elsewhere. Interruptions by a live
/// migration are shorter, and corrections of a clock that runs wrong are smaller or gradual.
const LOST_TIME_MIN: Duration = Duration::from_secs(10);

/// The thread. It ends after this is dropped.
pub(crate) struct SystemClock {
    is_trusted: Arc<AtomicBool>,
    _stop: Sender<()>,
}

/// Parts of a gateway that depend on the clocks.
pub(crate) struct Dependents {
    pub(crate) guard: Arc<ReplayGuard>,
    pub(crate) authorization: Arc<Authorizer>,
    pub(crate) sessions: SessionEndings,
}

impl SystemClock {
    /// Reads the clocks, now and from then on in a thread.
    pub(crate) fn start(clock: GatewayClock, dependents: Dependents) -> io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let reading = read(&clock);
        let follower = Follower::new(dependents, reading, udp_shards::is_clock_synchronized());
        let is_trusted = Arc::clone(&follower.is_trusted);
        // Opened here, so that no report is missed once the gateway serves.
        let vm_generation = VmGeneration::watch().inspect_err(log_unwatched).ok();
        thread::Builder::new()
            .name("clock".to_owned())
            .spawn(move || run(&clock, follower, vm_generation, &stopped))?;
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

fn run(
    clock: &GatewayClock,
    mut follower: Follower,
    mut vm_generation: Option<VmGeneration>,
    stopped: &Receiver<()>,
) {
    if follower.trust != Trust::Trusted {
        follower.trust.log();
    }
    loop {
        match &vm_generation {
            Some(vm_generation) => vm_generation.wait(READ_INTERVAL),
            None => {
                let _wait: Result<(), RecvTimeoutError> = stopped.recv_timeout(READ_INTERVAL);
            }
        }
        if stopped.try_recv() != Err(TryRecvError::Empty) {
            return;
        }
        match vm_generation.as_ref().map(VmGeneration::has_changed) {
            Some(Ok(true)) => {
                follower.end_sessions(format_args!(
                    "the kernel reports a restored virtual machine"
                ));
            }
            Some(Ok(false)) | None => {}
            Some(Err(error)) => {
                log_unwatched(&error);
                vm_generation = None;
            }
        }
        follower.follow(read(clock), udp_shards::is_clock_synchronized());
    }
}

fn log_unwatched(error: &io::Error) {
    tracing::info!(
        %error,
        hint = "allow AF_NETLINK (RestrictAddressFamilies=), or restart snapgate after a snapshot is restored",
        "cannot watch for restored virtual machines"
    );
}

fn read(clock: &GatewayClock) -> Reading {
    Reading {
        now: clock.now(),
        monotonic: Instant::now(),
        wall: SystemTime::now(),
    }
}

/// Reacts to readings of the clocks.
struct Follower {
    dependents: Dependents,
    last: Reading,
    trust: Trust,
    is_trusted: Arc<AtomicBool>,
}

impl Follower {
    fn new(dependents: Dependents, reading: Reading, synchronized: Option<bool>) -> Self {
        let trust = Trust::of(reading.wall, synchronized);
        let follower = Self {
            dependents,
            last: reading,
            trust,
            is_trusted: Arc::new(AtomicBool::new(trust == Trust::Trusted)),
        };
        follower.tell_guard();
        follower
    }

    fn follow(&mut self, reading: Reading, synchronized: Option<bool>) {
        let before = std::mem::replace(&mut self.last, reading);
        let trust_before =
            std::mem::replace(&mut self.trust, Trust::of(reading.wall, synchronized));
        self.is_trusted
            .store(self.trust == Trust::Trusted, Ordering::Relaxed);
        self.tell_guard();

        let changes = reading.changes_since(&before);
        if let Some(step) = changes.step {
            if self.dependents.authorization.ask_again() {
                tracing::warn!(%step, "system clock was set, checking the expiry of identities");
            }
            // Before its first setting after a boot, the clock says nothing about lost time.
            if let Step::Forward(lost) = step
                && lost >= LOST_TIME_MIN
                && trust::is_plausible(before.wall)
            {
                self.end_sessions(format_args!(
                    "the system clock leapt by {step}, as on a machine that was stopped or restored"
                ));
            }
        }
        if let Some(suspended) = changes.suspended {
            let suspended = Duration::from_secs(suspended.as_secs());
            tracing::info!(?suspended, "host was suspended");
        }
        if self.trust != trust_before {
            self.trust.log();
        }
    }

    /// Ends all sessions; workers begin new handshakes.
    fn end_sessions(&self, reason: fmt::Arguments<'_>) {
        self.dependents.sessions.end_all();
        tracing::warn!(%reason, "all sessions ended");
    }

    fn tell_guard(&self) {
        let wall = (self.trust == Trust::Trusted).then_some(self.last.wall);
        self.dependents.guard.set_clock(self.last.now, wall);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Authorization;
    use snaptun::SnapTunAuthorization as _;

    const SECOND: Duration = Duration::from_secs(1);

    /// A follower of clocks that the test sets, for a gateway with a list of identities.
    struct World {
        follower: Follower,
        reading: Reading,
    }

    impl World {
        fn starting_at(wall: SystemTime) -> Self {
            let now = Instant::now();
            let reading = Reading {
                now,
                monotonic: now,
                wall,
            };
            let guard = ReplayGuard::new(now, 64, SECOND);
            let dependents = Dependents {
                guard: Arc::new(guard),
                authorization: Arc::new(Authorizer::new(&Authorization::Identities(Vec::new()))),
                sessions: SessionEndings::default(),
            };
            Self {
                follower: Follower::new(dependents, reading, Some(true)),
                reading,
            }
        }

        fn new() -> Self {
            // In 2030.
            Self::starting_at(SystemTime::UNIX_EPOCH + 60 * 366 * 86_400 * SECOND)
        }

        /// Lets a second pass, in which the clocks are also changed by `change`. Returns how often sessions were ended
        /// and grants checked since the start.
        fn pass(&mut self, change: impl FnOnce(&mut Reading)) -> (u64, u64) {
            self.reading.now += SECOND;
            self.reading.monotonic += SECOND;
            self.reading.wall += SECOND;
            change(&mut self.reading);
            self.follower.follow(self.reading, Some(true));
            let Dependents {
                sessions,
                authorization,
                ..
            } = &self.follower.dependents;
            (sessions.count(), authorization.generation())
        }
    }

    #[test]
    fn time_that_passes_ends_no_session_and_no_grant() {
        let mut world = World::new();
        for _ in 0..10 {
            assert_eq!(world.pass(|_| {}), (0, 0));
        }
    }

    #[test]
    fn grants_are_checked_after_every_step_of_the_system_clock() {
        let mut world = World::new();
        assert_eq!(world.pass(|reading| reading.wall += SECOND), (0, 1));
        assert_eq!(world.pass(|_| {}), (0, 1));
        assert_eq!(world.pass(|reading| reading.wall -= SECOND), (0, 2));
        // By more than the process has run, and by more than since 1970.
        let years = 100 * 365 * 86_400 * SECOND;
        assert_eq!(world.pass(|reading| reading.wall -= years), (0, 3));
        assert_eq!(world.pass(|_| {}), (0, 3));
    }

    #[test]
    fn sessions_end_when_the_system_clock_leaps_forward() {
        let mut world = World::new();
        let set = |reading: &mut Reading, seconds| reading.wall += seconds * SECOND;
        assert_eq!(world.pass(|reading| set(reading, 9)), (0, 1));
        assert_eq!(world.pass(|reading| set(reading, 10)), (1, 2));
        assert_eq!(world.pass(|_| {}), (1, 2));
        assert_eq!(world.pass(|reading| set(reading, 86_400)), (2, 3));
        // Back again.
        assert_eq!(
            world.pass(|reading| reading.wall -= 86_400 * SECOND),
            (2, 4)
        );
    }

    #[test]
    fn the_first_setting_of_the_clock_after_a_boot_ends_no_session() {
        let mut world = World::starting_at(SystemTime::UNIX_EPOCH);
        assert_eq!(world.follower.trust, Trust::Implausible);
        let years = 60 * 366 * 86_400 * SECOND;
        assert_eq!(world.pass(|reading| reading.wall += years), (0, 1));
        assert_eq!(world.follower.trust, Trust::Trusted);
        assert_eq!(world.pass(|reading| reading.wall += 60 * SECOND), (1, 2));
    }

    #[test]
    fn a_suspension_of_the_host_is_no_step_of_the_clock() {
        let mut world = World::new();
        for suspended in [SECOND, 240 * SECOND, 86_400 * SECOND] {
            let counts = world.pass(|reading| {
                reading.now += suspended;
                reading.wall += suspended;
            });
            assert_eq!(counts, (0, 0));
        }
    }
}
