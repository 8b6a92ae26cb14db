//! Detection of a gateway built with the mock clock.

use std::time::Instant;

use snaptun::ClockProbe;
use snaptun_virtual_time::VirtualClock;

#[test]
fn a_clock_that_stands_still_is_detected() {
    let mut clock = VirtualClock::start();
    let mut probe = ClockProbe::start();
    let started = Instant::now();
    while started.elapsed() < 2 * ClockProbe::DEADLINE {
        assert!(!probe.has_advanced());
    }
    assert!(!probe.has_advanced());

    clock.advance(ClockProbe::DEADLINE);
    assert!(probe.has_advanced());
}
