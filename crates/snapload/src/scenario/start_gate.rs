//! Where the populations of a phase wait for each other.

use std::sync::{Condvar, Mutex, PoisonError};

/// Opens when everyone is there, or when someone will never come.
pub(super) struct StartGate {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    missing: usize,
    aborted: bool,
}

impl StartGate {
    /// A gate that so many have to reach.
    pub(super) fn new(populations: usize) -> Self {
        Self {
            state: Mutex::new(State {
                missing: populations,
                aborted: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits for the others. Whether they came: if not, the phase is over.
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

    /// Lets those who wait go home.
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
    fn all_pass_when_the_last_one_is_there() {
        let gate = StartGate::new(3);
        std::thread::scope(|scope| {
            let others: Vec<_> = (0..2).map(|_| scope.spawn(|| gate.wait())).collect();
            assert!(gate.wait());
            assert!(others.into_iter().all(|other| other.join().unwrap()));
        });
    }

    #[test]
    fn nobody_waits_for_one_who_will_not_come() {
        let gate = StartGate::new(2);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| gate.wait());
            gate.abort();
            assert!(!other.join().unwrap());
        });
    }
}
