//! Comparison of the system clock with that of the previous process.
//!
//! An initiation has a timestamp of the system clock, and a client refuses one that is not later than the last. After
//! the clock was set back, a new process would use earlier timestamps than the previous one. Within a boot, the kernel
//! has a second clock that cannot be set and that continues across processes, so the latest possible timestamp of the
//! previous process is known exactly. After a reboot there is a bound.

use std::time::Duration;
use std::{fs, io};

use rustix::time::ClockId;

use crate::kernel_clock;
use crate::state::COMMIT_INTERVAL_MAX;

/// Identifier of a boot of the kernel.
pub(crate) type BootId = [u8; 16];

/// Maximum time between the readings of two clocks; if it took longer, both are read again.
const READING_TIME_MAX: Duration = Duration::from_micros(20);

/// Maximum number of readings; the last one is always used.
const READINGS_MAX: usize = 16;

/// Maximum drift between two clocks from one reading to another, if neither is set. A process starts more than this
/// after the end of the previous one, so its timestamps are later.
const READINGS_DIFFER_MAX: Duration = Duration::from_millis(1);

/// A reading of all clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reading {
    /// The boot that `boottime` counts from.
    pub(crate) boot: BootId,
    /// Time since the boot, including suspension (CLOCK_BOOTTIME).
    pub(crate) boottime: Duration,
    /// System clock, since 1970 (CLOCK_REALTIME).
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

    /// Reads the clocks once, and returns the time that it took.
    fn take_once(boot: BootId) -> (Duration, Self) {
        let boottime = kernel_clock::read(ClockId::Boottime);
        let wall = kernel_clock::read(ClockId::Realtime);
        let took = kernel_clock::read(ClockId::Boottime).saturating_sub(boottime);
        let reading = Self {
            boot,
            boottime,
            wall,
        };
        (took, reading)
    }
}

/// Returns the identifier of this boot (random(4)).
pub(crate) fn boot_id() -> io::Result<BootId> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    parse_boot_id(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Parses 32 hexadecimal digits with hyphens.
fn parse_boot_id(text: &str) -> Option<BootId> {
    let digits = text.trim().replace('-', "");
    let number = u128::from_str_radix(&digits, 16).ok()?;
    (digits.len() == 32).then(|| number.to_be_bytes())
}

/// A point in time, comparable across processes of the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moment {
    pub(crate) boot: BootId,
    pub(crate) boottime: Duration,
    /// Latest possible timestamp of an initiation up to this moment.
    pub(crate) latest_stamp: Duration,
}

impl Moment {
    /// Returns the moment of a first reading.
    pub(crate) fn first(reading: &Reading) -> Self {
        Self {
            boot: reading.boot,
            boottime: reading.boottime,
            latest_stamp: reading.wall,
        }
    }

    /// Returns the moment of a later reading. The latest timestamp advances with the boot clock, so it stays ahead of a
    /// system clock that is set back.
    pub(crate) fn at(&self, reading: &Reading) -> Self {
        let gone_by = self.until(reading).unwrap_or(COMMIT_INTERVAL_MAX);
        Self {
            boot: reading.boot,
            boottime: reading.boottime,
            latest_stamp: reading.wall.max(self.latest_stamp + gone_by),
        }
    }

    /// Returns true if timestamps from now on are later than those up to this moment, the last of a previous process.
    pub(crate) fn is_passed_by(&self, reading: &Reading) -> bool {
        reading.wall + READINGS_DIFFER_MAX > self.latest_stamp
    }

    /// Returns true if the system clock has been set forward since.
    pub(crate) fn is_overtaken_by(&self, reading: &Reading) -> bool {
        self.until(reading)
            .is_some_and(|gone_by| reading.wall > self.latest_stamp + gone_by + READINGS_DIFFER_MAX)
    }

    /// Returns how far the system clock is behind this moment.
    pub(crate) fn ahead_of(&self, reading: &Reading) -> Duration {
        self.latest_stamp.saturating_sub(reading.wall)
    }

    /// Translates a boot time of this moment's boot to `reading`: returns its age, and the boot time of the reading's
    /// boot.
    pub(crate) fn translate(&self, boottime: Duration, reading: &Reading) -> (Duration, Duration) {
        let before_moment = self.boottime.saturating_sub(boottime);
        let since_moment = self
            .until(reading)
            .unwrap_or_else(|| reading.wall.saturating_sub(self.latest_stamp));
        let age = before_moment + since_moment;
        (age, reading.boottime.saturating_sub(age))
    }

    /// Returns the time from this moment to a reading of the same boot.
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

    /// A process that ran from hour 2 to hour 3 after the boot.
    fn last_moment() -> Moment {
        Moment::first(&reading(1, 2 * HOUR, 100 * HOUR)).at(&reading(1, 3 * HOUR, 101 * HOUR))
    }

    #[test]
    fn a_restart_has_later_timestamps_than_the_previous_process() {
        let now = reading(1, 3 * HOUR + SECOND, 101 * HOUR + SECOND);
        assert!(last_moment().at(&now).is_passed_by(&now));
        // Two clocks are not read at the same instant.
        let now = reading(
            1,
            3 * HOUR + SECOND,
            101 * HOUR + SECOND - Duration::from_micros(20),
        );
        assert!(last_moment().at(&now).is_passed_by(&now));
    }

    #[test]
    fn a_clock_set_back_between_processes_must_catch_up() {
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
    fn a_clock_set_back_during_a_process_must_catch_up() {
        let set_back = last_moment().at(&reading(1, 4 * HOUR, 92 * HOUR));
        let start = reading(1, 4 * HOUR + SECOND, 92 * HOUR + SECOND);
        let end_of_other = set_back.at(&start);
        assert_eq!(end_of_other.ahead_of(&start), 10 * HOUR);
    }

    #[test]
    fn a_clock_set_forward_is_detected() {
        let after = |wall| last_moment().is_overtaken_by(&reading(1, 3 * HOUR + SECOND, wall));
        assert!(!after(101 * HOUR + SECOND));
        assert!(!after(101 * HOUR - SECOND));
        assert!(after(101 * HOUR + SECOND + Duration::from_millis(2)));
    }

    #[test]
    fn a_clock_set_forward_between_processes_has_passed() {
        let start = reading(1, 3 * HOUR + SECOND, 500 * HOUR);
        assert!(last_moment().at(&start).is_passed_by(&start));
    }

    #[test]
    fn after_a_reboot_the_previous_process_may_have_lived_until_its_next_commit() {
        let start = |after| reading(2, SECOND, 101 * HOUR + after);
        let early = start(COMMIT_INTERVAL_MAX - SECOND);
        assert!(!last_moment().at(&early).is_passed_by(&early));
        let late = start(COMMIT_INTERVAL_MAX);
        assert!(last_moment().at(&late).is_passed_by(&late));
    }

    /// A time namespace can give a container another zero.
    #[test]
    fn a_boot_clock_that_goes_back_counts_as_another_boot() {
        let start = reading(1, HOUR, 101 * HOUR + COMMIT_INTERVAL_MAX - SECOND);
        assert!(!last_moment().at(&start).is_passed_by(&start));
    }

    #[test]
    fn ages_within_a_boot_do_not_depend_on_the_system_clock() {
        let heard_at = 3 * HOUR - 10 * SECOND;
        for wall in [HOUR, 101 * HOUR, 500 * HOUR] {
            let now = reading(1, 3 * HOUR + 5 * SECOND, wall);
            let (age, boottime) = last_moment().translate(heard_at, &now);
            assert_eq!((age, boottime), (15 * SECOND, heard_at));
        }
    }

    #[test]
    fn ages_continue_across_a_reboot() {
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
