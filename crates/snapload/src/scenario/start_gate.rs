//! Start barrier for the populations of a phase.

use std::sync::{Condvar, Mutex, PoisonError};

/// Barrier that opens when all populations have arrived, or when one has failed.
pub(super) struct StartGate {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    missing: usize,
    aborted: bool,
}

impl StartGate {
    /// Creates a barrier for this number of populations.
    pub(super) fn new(populations: usize) -> Self {
        Self {
            state: Mutex::new(State {
                missing: populations,
                aborted: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits for the other populations. Returns false if one has failed, so that the phase is over.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.missing = state.missing.saturating_sub(1);
        self.changed.notify_all();
        let state = self
            .changed
            .wait_while(state, |state| state.missing > 0 && !state.aborted)
            .unwrap_or_else(PoisonError::into_inner);
        !state.aborted
    }

    /// Releases the waiting populations, because one has failed.
    pub(super) fn abort(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.aborted = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gate_opens_when_the_last_population_arrives() {
        let gate = StartGate::new(3);
        std::thread::scope(|scope| {
            let others: Vec<_> = (0..2).map(|_| scope.spawn(|| gate.wait())).collect();
            assert!(gate.wait());
            assert!(others.into_iter().all(|other| other.join().unwrap()));
        });
    }

    #[test]
    fn abort_releases_waiting_populations() {
        let gate = StartGate::new(2);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| gate.wait());
            gate.abort();
            assert!(!other.join().unwrap());
        });
    }
}
