//! Whether what a command shows can be written.

use std::io;

use snapload::StopSwitch;

use crate::failure::Failure;

/// The first failure to write, which stops the run: there is nobody to see the rest, as behind
/// `| head -1`.
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

    /// Writes, unless that failed before.
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
