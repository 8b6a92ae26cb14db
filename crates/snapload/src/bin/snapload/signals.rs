//! SIGINT and SIGTERM.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use snapload::StopSwitch;

use crate::failure::{EXIT_INTERRUPTED, Failure};

/// Sets the switch on SIGINT and SIGTERM. A second signal ends the process at once.
pub(crate) fn set_on_interrupt(stop: &StopSwitch) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::Failed(format!("cannot install signal handlers: {error}"));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, i32::from(EXIT_INTERRUPTED), stop.as_flag())
            .map_err(failed)?;
        flag::register(signal, stop.as_flag()).map_err(failed)?;
    }
    Ok(())
}
