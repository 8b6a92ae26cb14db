//! Local hosts to which packets did not leave, and which are not tried again for some time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::host::Host;

/// First time for which a host is not tried.
const FIRST: Duration = Duration::from_secs(1);

/// Maximum time for which a host is not tried.
const LAST: Duration = Duration::from_secs(8);

/// Time after the end during which another failure doubles the next time.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Maximum number of hosts. Further ones are tried with each packet.
const HOSTS_MAX: usize = 1024;

/// Hosts that are not tried at the moment, and those that were not tried until recently.
#[derive(Default)]
pub(super) struct BackOff {
    hosts: HashMap<Host, Pause, ahash::RandomState>,
}

struct Pause {
    until: Instant,
    length: Duration,
}

impl BackOff {
    /// Returns true if packets for `host` are not sent.
    pub(super) fn contains(&self, now: Instant, host: Host) -> bool {
        !self.hosts.is_empty() && self.hosts.get(&host).is_some_and(|pause| now < pause.until)
    }

    /// Begins a pause: 1 s, or twice as long as the previous one, at most 8 s.
    pub(super) fn insert(&mut self, now: Instant, host: Host) {
        if self.hosts.len() >= HOSTS_MAX && !self.hosts.contains_key(&host) {
            self.remove_ended(now);
            if self.hosts.len() >= HOSTS_MAX {
                return;
            }
        }
        let previous = self
            .hosts
            .get(&host)
            .filter(|pause| now < pause.until + REMEMBERED);
        let length = previous.map_or(FIRST, |pause| (2 * pause.length).min(LAST));
        let until = now + length;
        self.hosts.insert(host, Pause { until, length });
    }

    /// Forgets a host, which is there.
    pub(super) fn remove(&mut self, host: Host) {
        if !self.hosts.is_empty() {
            self.hosts.remove(&host);
        }
    }

    /// Forgets hosts whose pause ended long ago.
    pub(super) fn remove_ended(&mut self, now: Instant) {
        self.hosts.retain(|_, pause| now < pause.until + REMEMBERED);
    }

    /// Returns the number of hosts that are not tried.
    pub(super) fn len(&self, now: Instant) -> usize {
        let pauses = self.hosts.values();
        pauses.filter(|pause| now < pause.until).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: usize) -> Host {
        (std::net::IpAddr::from((number as u32).to_be_bytes()), 0)
    }

    #[test]
    fn each_failure_doubles_the_pause_up_to_eight_seconds() {
        let mut back_off = BackOff::default();
        let mut now = Instant::now();
        for seconds in [1, 2, 4, 8, 8] {
            back_off.insert(now, host(1));
            let end = now + Duration::from_secs(seconds);
            assert!(back_off.contains(end - Duration::from_millis(1), host(1)));
            assert!(!back_off.contains(end, host(1)));
            assert!(!back_off.contains(now, host(2)));
            now = end;
        }
        // A failure after a long time is a first one.
        now += REMEMBERED;
        back_off.insert(now, host(1));
        assert!(!back_off.contains(now + FIRST, host(1)));
    }

    #[test]
    fn a_host_that_was_heard_is_tried_at_once() {
        let mut back_off = BackOff::default();
        let now = Instant::now();
        back_off.insert(now, host(1));
        assert_eq!(back_off.len(now), 1);
        back_off.remove(host(1));
        assert!(!back_off.contains(now, host(1)));
        assert_eq!(back_off.len(now), 0);
    }

    #[test]
    fn the_number_of_hosts_is_bounded() {
        let mut back_off = BackOff::default();
        let now = Instant::now();
        for number in 0..2 * HOSTS_MAX {
            back_off.insert(now, host(number));
        }
        assert_eq!(back_off.len(now), HOSTS_MAX);
        let later = now + FIRST + REMEMBERED;
        back_off.insert(later, host(3 * HOSTS_MAX));
        assert_eq!(back_off.len(later), 1);
        back_off.remove_ended(later);
        assert_eq!(back_off.hosts.len(), 1);
    }
}
