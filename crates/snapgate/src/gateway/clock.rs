//! Check of the tunnels' clock at start.

use std::thread;

use snaptun::ClockProbe;

/// Maximum number of waits for the clock: 50 ms in total, more if the scheduler is late.
const WAITS_MAX: u32 = 50;

/// Returns true if the clock of the tunnels advances. It does after the first wait, about a millisecond, unless the
/// program was built with the mock clock of `ana-gotatun`.
pub(super) fn advances() -> bool {
    let mut probe = ClockProbe::start();
    (0..WAITS_MAX).any(|_| {
        thread::sleep(ClockProbe::DEADLINE);
        probe.has_advanced()
    })
}
