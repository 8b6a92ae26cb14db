//! Ctrl-C.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use snapload::StopSwitch;

use crate::failure::EXIT_INTERRUPTED;

/// Lets Ctrl-C and SIGTERM set the switch; when it is set already, they end the process at once.
pub(crate) fn set_on_interrupt(stop: &StopSwitch) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, i32::from(EXIT_INTERRUPTED), stop.as_flag())?;
        flag::register(signal, stop.as_flag())?;
    }
    Ok(())
}
