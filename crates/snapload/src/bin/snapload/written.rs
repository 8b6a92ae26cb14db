//! Handling of write errors.

use std::io;

use snapload::StopSwitch;

use crate::failure::Failure;

/// First write error, which stops the run: its output has no reader, as with `| head -1`.
pub(crate) struct Written {
    stop: StopSwitch,
    result: io::Result<()>,
}

impl Written {
    pub(crate) fn new(stop: &StopSwitch) -> Self {
        Self {
            stop: stop.clone(),
            result: Ok(()),
        }
    }

    /// Writes, unless an earlier write failed.
    pub(crate) fn note(&mut self, write: impl FnOnce() -> io::Result<()>) {
        if self.result.is_ok() {
            self.result = write();
            if self.result.is_err() {
                self.stop.set();
            }
        }
    }

    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.result.map_err(Failure::Output)
    }
}
