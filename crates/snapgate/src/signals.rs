//! The signals that the gateway answers.
//!
//! They are blocked before there is a second thread, which inherits that, and taken in one by one by a
//! thread that waits for them. A handler would miss those that arrive while it is being put in place.

use std::{fmt, io, thread};

use crossbeam_channel::Receiver;
use nix::sys::signal::{SigSet, Signal as SystemSignal};

/// A signal that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// SIGHUP: read the identities again.
    Hangup,
    /// SIGINT: end.
    Interrupt,
    /// SIGTERM: drain and end.
    Terminate,
}

impl Signal {
    const ALL: [Self; 3] = [Self::Hangup, Self::Interrupt, Self::Terminate];

    const fn system(self) -> SystemSignal {
        match self {
            Self::Hangup => SystemSignal::SIGHUP,
            Self::Interrupt => SystemSignal::SIGINT,
            Self::Terminate => SystemSignal::SIGTERM,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.system().as_str())
    }
}

/// Keeps the signals from the calling thread and those that it starts from now on, and sends them to the
/// channel that is returned. To be called while there is no other thread.
pub(crate) fn listen() -> io::Result<Receiver<Signal>> {
    let signals: SigSet = Signal::ALL.into_iter().map(Signal::system).collect();
    signals.thread_block()?;
    let (sender, receiver) = crossbeam_channel::bounded(1);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            while let Ok(system) = signals.wait() {
                let signal = Signal::ALL
                    .into_iter()
                    .find(|signal| signal.system() == system);
                // While the channel is full, signals wait in the kernel. Nobody listens: the process ends.
                if signal.is_some_and(|signal| sender.send(signal).is_err()) {
                    return;
                }
            }
        })?;
    Ok(receiver)
}
