//! Check of the clock at the start.

use std::thread;

use snaptun::ClockProbe;

/// Waits for the clock: 50 ms at the least, where a scheduler that is late only makes it longer.
const WAITS_MAX: u32 = 50;

/// Whether the clock that tunnels go by advances. It does after the first wait, about a millisecond, unless the
/// program was built with the mock clock of `ana-gotatun`.
pub(super) fn advances() -> bool {
    let mut probe = ClockProbe::start();
    (0..WAITS_MAX).any(|_| {
        thread::sleep(ClockProbe::DEADLINE);
        probe.has_advanced()
    })
}
