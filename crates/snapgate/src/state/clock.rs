//! Whether the system clock has passed that of the previous process.
//!
//! Every initiation has a timestamp by the system clock, and a client refuses one that is not later than the last.
//! After that clock was set back, a new process would stamp earlier than the previous one. Within one boot the kernel
//! has a second clock, which cannot be set and counts on from process to process, so it is known exactly how late
//! the system clock can have been. After a reboot there is a bound.

use std::time::Duration;
use std::{fs, io};

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::state::COMMIT_INTERVAL_MAX;

/// What one boot of the kernel is known by.
pub(crate) type BootId = [u8; 16];

/// Two clocks are read one after the other; they are read again if that took longer.
const READING_TIME_MAX: Duration = Duration::from_micros(20);

/// Readings before the last one is taken as it is.
const READINGS_MAX: usize = 16;

/// Two clocks that nobody sets differ by no more than this between two readings. No process begins within so
/// short a time after the end of the one before, so its stamps are later by as much.
const READINGS_DIFFER_MAX: Duration = Duration::from_millis(1);

/// What the clocks say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reading {
    /// The boot that `boottime` is counted from.
    pub(crate) boot: BootId,
    /// Time since the boot, that in suspension included (CLOCK_BOOTTIME).
    pub(crate) boottime: Duration,
    /// The system clock, since 1970 (CLOCK_REALTIME).
    pub(crate) wall: Duration,
}

impl Reading {
    /// Reads the clocks.
    pub(crate) fn take(boot: BootId) -> Self {
        let mut reading = Self::take_once(boot);
        for _ in 1..READINGS_MAX {
            if reading.0 <= READING_TIME_MAX {
                break;
            }
            reading = Self::take_once(boot);
        }
        reading.1
    }

    /// Reads the clocks, and says how long that took.
    fn take_once(boot: BootId) -> (Duration, Self) {
        let boottime = now(ClockId::Boottime);
        let wall = now(ClockId::Realtime);
        let took = now(ClockId::Boottime).saturating_sub(boottime);
        let reading = Self {
            boot,
            boottime,
            wall,
        };
        (took, reading)
    }
}

/// Zero before the clock's zero.
fn now(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    let seconds = u64::try_from(tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

/// The identifier of this boot (random(4)).
pub(crate) fn boot_id() -> io::Result<BootId> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    parse_boot_id(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Thirty-two hexadecimal digits, and hyphens.
fn parse_boot_id(text: &str) -> Option<BootId> {
    let digits = text.trim().replace('-', "");
    let number = u128::from_str_radix(&digits, 16).ok()?;
    (digits.len() == 32).then(|| number.to_be_bytes())
}

/// A moment in the life of the gateway, over all its processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moment {
    pub(crate) boot: BootId,
    pub(crate) boottime: Duration,
    /// The latest that an initiation up to this moment can be stamped.
    pub(crate) latest_stamp: Duration,
}

impl Moment {
    /// The moment of a reading when there was none before.
    pub(crate) fn first(reading: &Reading) -> Self {
        Self {
            boot: reading.boot,
            boottime: reading.boottime,
            latest_stamp: reading.wall,
        }
    }

    /// The moment of a later reading. Stamps count on from when they were first taken, so a clock that is set
    /// back leaves them ahead.
    pub(crate) fn at(&self, reading: &Reading) -> Self {
        let gone_by = self.until(reading).unwrap_or(COMMIT_INTERVAL_MAX);
        Self {
            boot: reading.boot,
            boottime: reading.boottime,
            latest_stamp: reading.wall.max(self.latest_stamp + gone_by),
        }
    }

    /// Whether stamps taken from now on are later than those up to this moment, the last of a process that
    /// has ended.
    pub(crate) fn is_passed_by(&self, reading: &Reading) -> bool {
        reading.wall + READINGS_DIFFER_MAX > self.latest_stamp
    }

    /// Whether the system clock has been set forward since.
    pub(crate) fn is_overtaken_by(&self, reading: &Reading) -> bool {
        self.until(reading)
            .is_some_and(|gone_by| reading.wall > self.latest_stamp + gone_by + READINGS_DIFFER_MAX)
    }

    /// How far the system clock is behind.
    pub(crate) fn ahead_of(&self, reading: &Reading) -> Duration {
        self.latest_stamp.saturating_sub(reading.wall)
    }

    /// A point of time of this boot, at `reading`: how long ago it is, and when it was by the clock since the
    /// boot of the reading.
    pub(crate) fn translate(&self, boottime: Duration, reading: &Reading) -> (Duration, Duration) {
        let before_moment = self.boottime.saturating_sub(boottime);
        let since_moment = self
            .until(reading)
            .unwrap_or_else(|| reading.wall.saturating_sub(self.latest_stamp));
        let age = before_moment + since_moment;
        (age, reading.boottime.saturating_sub(age))
    }

    /// The time from this moment to a reading, if they are of one boot.
    fn until(&self, reading: &Reading) -> Option<Duration> {
        let same_boot = self.boot == reading.boot;
        same_boot.then(|| reading.boottime.checked_sub(self.boottime))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    fn reading(boot: u8, boottime: Duration, wall: Duration) -> Reading {
        Reading {
            boot: [boot; 16],
            boottime,
            wall,
        }
    }

    /// A process that ran from the second hour to the third, and began one second of which later.
    fn last_moment() -> Moment {
        Moment::first(&reading(1, 2 * HOUR, 100 * HOUR)).at(&reading(1, 3 * HOUR, 101 * HOUR))
    }

    #[test]
    fn a_restart_is_past_the_stamps_of_the_process_before() {
        let now = reading(1, 3 * HOUR + SECOND, 101 * HOUR + SECOND);
        assert!(last_moment().at(&now).is_passed_by(&now));
        // Two clocks that are not read at one instant.
        let now = reading(
            1,
            3 * HOUR + SECOND,
            101 * HOUR + SECOND - Duration::from_micros(20),
        );
        assert!(last_moment().at(&now).is_passed_by(&now));
    }

    #[test]
    fn a_clock_that_was_set_back_between_processes_has_to_pass() {
        let start = reading(1, 3 * HOUR + SECOND, 101 * HOUR - 9 * SECOND);
        let end_of_other = last_moment().at(&start);
        assert!(!end_of_other.is_passed_by(&start));
        assert_eq!(end_of_other.ahead_of(&start), 10 * SECOND);
        let later = |seconds| {
            reading(
                1,
                start.boottime + seconds * SECOND,
                start.wall + seconds * SECOND,
            )
        };
        assert!(!end_of_other.is_passed_by(&later(9)));
        assert!(end_of_other.is_passed_by(&later(10)));
    }

    #[test]
    fn a_clock_that_was_set_back_while_a_process_ran_leaves_its_stamps_ahead() {
        let set_back = last_moment().at(&reading(1, 4 * HOUR, 92 * HOUR));
        let start = reading(1, 4 * HOUR + SECOND, 92 * HOUR + SECOND);
        let end_of_other = set_back.at(&start);
        assert_eq!(end_of_other.ahead_of(&start), 10 * HOUR);
    }

    #[test]
    fn it_is_noticed_when_the_clock_is_set_forward() {
        let after = |wall| last_moment().is_overtaken_by(&reading(1, 3 * HOUR + SECOND, wall));
        assert!(!after(101 * HOUR + SECOND));
        assert!(!after(101 * HOUR - SECOND));
        assert!(after(101 * HOUR + SECOND + Duration::from_millis(2)));
    }

    #[test]
    fn a_clock_that_was_set_forward_is_past() {
        let start = reading(1, 3 * HOUR + SECOND, 500 * HOUR);
        assert!(last_moment().at(&start).is_passed_by(&start));
    }

    #[test]
    fn after_a_reboot_the_process_before_may_have_lived_until_its_next_commit() {
        let start = |after| reading(2, SECOND, 101 * HOUR + after);
        let early = start(COMMIT_INTERVAL_MAX - SECOND);
        assert!(!last_moment().at(&early).is_passed_by(&early));
        let late = start(COMMIT_INTERVAL_MAX);
        assert!(last_moment().at(&late).is_passed_by(&late));
    }

    /// A namespace of its own can give a container another zero.
    #[test]
    fn a_boot_clock_that_goes_back_is_another_boot() {
        let start = reading(1, HOUR, 101 * HOUR + COMMIT_INTERVAL_MAX - SECOND);
        assert!(!last_moment().at(&start).is_passed_by(&start));
    }

    #[test]
    fn ages_do_not_depend_on_the_clock_of_the_day_within_a_boot() {
        let heard_at = 3 * HOUR - 10 * SECOND;
        for wall in [HOUR, 101 * HOUR, 500 * HOUR] {
            let now = reading(1, 3 * HOUR + 5 * SECOND, wall);
            let (age, boottime) = last_moment().translate(heard_at, &now);
            assert_eq!((age, boottime), (15 * SECOND, heard_at));
        }
    }

    #[test]
    fn ages_go_on_over_a_reboot() {
        let heard_at = 3 * HOUR - 10 * SECOND;
        let now = reading(2, 60 * SECOND, 101 * HOUR + 30 * SECOND);
        let (age, boottime) = last_moment().translate(heard_at, &now);
        assert_eq!((age, boottime), (40 * SECOND, 20 * SECOND));
    }

    #[test]
    fn the_kernels_clocks_can_be_read() {
        let boot = boot_id().unwrap();
        assert_ne!(boot, [0; 16]);
        let one = Reading::take(boot);
        let other = Reading::take(boot);
        assert!(one.boottime <= other.boottime && !one.boottime.is_zero());
        assert!(Moment::first(&one).at(&other).is_passed_by(&other));
    }

    #[test]
    fn a_boot_id_has_32_digits() {
        let text = "00112233-4455-6677-8899-aabbccddeeff\n";
        let expected = [
            0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
            0xee, 0xff,
        ];
        assert_eq!(parse_boot_id(text), Some(expected));
        assert_eq!(parse_boot_id(""), None);
        assert_eq!(parse_boot_id("00112233"), None);
        assert_eq!(parse_boot_id("0011223x-4455-6677-8899-aabbccddeeff"), None);
    }
}
