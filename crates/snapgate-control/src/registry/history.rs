//! The latest changes, for those who follow the contents of a store.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::registry::entry::Change;

/// Number of a stored change, from 1.
pub type Revision = u64;

/// Maximum number of changes that are kept. Bounds the memory to about 1 MB.
const CHANGES_MAX: usize = 4096;

/// Maximum number of changes that [`Watch::next`] returns.
const CHANGES_PER_CALL: usize = 256;

/// The latest changes of a store.
#[derive(Debug)]
pub(super) struct History {
    recent: Mutex<Recent>,
    added: Condvar,
}

#[derive(Debug)]
struct Recent {
    changes: VecDeque<Change>,
    /// Revision of the last change.
    latest: Revision,
}

/// The changes after the requested revision are not available.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "changes after revision {after} are not available, only those after {oldest}, up to {latest}; list the contents \
     and watch from revision {latest}"
)]
pub struct Unavailable {
    /// The requested revision.
    pub after: Revision,
    /// First revision after which all changes are available.
    pub oldest: Revision,
    /// Revision of the last change.
    pub latest: Revision,
}

/// A reader of changes.
#[derive(Clone, Debug)]
pub struct Watch {
    history: Arc<History>,
    /// Revision of the last change that was returned.
    after: Revision,
}

impl Recent {
    /// Returns the revision before the first change that is kept.
    fn oldest(&self) -> Revision {
        self.latest - self.changes.len() as u64
    }

    /// Returns the position of the first change after a revision.
    fn position(&self, after: Revision) -> Result<usize, Unavailable> {
        let oldest = self.oldest();
        if after < oldest || after > self.latest {
            return Err(Unavailable {
                after,
                oldest,
                latest: self.latest,
            });
        }
        Ok((after - oldest) as usize)
    }
}

impl History {
    /// Creates a history without changes.
    pub(super) fn new(latest: Revision) -> Self {
        Self {
            recent: Mutex::new(Recent {
                changes: VecDeque::new(),
                latest,
            }),
            added: Condvar::new(),
        }
    }

    /// Adds changes.
    pub(super) fn add(&self, changes: impl IntoIterator<Item = Change>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            if recent.changes.len() == CHANGES_MAX {
                recent.changes.pop_front();
            }
            recent.changes.push_back(change);
            recent.latest += 1;
        }
        drop(recent);
        self.added.notify_all();
    }

    /// Returns the revision of the last change.
    pub(super) fn revision(&self) -> Revision {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.latest
    }

    /// Starts to watch the changes after a revision.
    ///
    /// # Errors
    ///
    /// If some of these changes are no longer kept, or if the revision is later than the last change.
    pub(super) fn watch(self: &Arc<Self>, after: Revision) -> Result<Watch, Unavailable> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.position(after)?;
        drop(recent);
        Ok(Watch {
            history: Arc::clone(self),
            after,
        })
    }
}

impl Watch {
    /// Returns the next changes with their revisions. Waits up to `timeout` for the first one; without any, the result
    /// is empty.
    ///
    /// # Errors
    ///
    /// If the reader is too slow: changes that it has not seen are no longer kept.
    pub fn next(&mut self, timeout: Duration) -> Result<Vec<(Revision, Change)>, Unavailable> {
        let recent = self
            .history
            .recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_current = |recent: &mut Recent| recent.latest == self.after;
        let (recent, _) = self
            .history
            .added
            .wait_timeout_while(recent, timeout, is_current)
            .unwrap_or_else(PoisonError::into_inner);
        let position = recent.position(self.after)?;
        let changes = recent.changes.iter().skip(position).take(CHANGES_PER_CALL);
        let changes: Vec<_> = (self.after + 1..).zip(changes.cloned()).collect();
        drop(recent);
        self.after += changes.len() as u64;
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::entry::Key;

    fn change(number: u64) -> Change {
        let mut identity = [0; 32];
        identity[..8].copy_from_slice(&number.to_le_bytes());
        Change::Remove(Key::Registration(identity))
    }

    fn next(watch: &mut Watch) -> Vec<(Revision, Change)> {
        watch.next(Duration::ZERO).unwrap()
    }

    #[test]
    fn changes_are_seen_once_and_in_order_from_any_revision_that_is_kept() {
        let history = Arc::new(History::new(10));
        history.add((11..=13).map(change));
        let mut all = history.watch(10).unwrap();
        let mut rest = history.watch(12).unwrap();
        assert_eq!(
            next(&mut all),
            [(11, change(11)), (12, change(12)), (13, change(13))]
        );
        assert_eq!(next(&mut rest), [(13, change(13))]);
        assert_eq!(next(&mut all), []);
        history.add([change(14)]);
        assert_eq!(next(&mut all), [(14, change(14))]);
        assert_eq!(next(&mut rest), [(14, change(14))]);
    }

    #[test]
    fn unknown_revisions_are_refused() {
        let history = Arc::new(History::new(10));
        history.add([change(11)]);
        for after in [0, 9, 12] {
            let expected = Unavailable {
                after,
                oldest: 10,
                latest: 11,
            };
            assert_eq!(history.watch(after).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_slow_reader_is_told_that_changes_are_missing() {
        let history = Arc::new(History::new(0));
        let mut slow = history.watch(0).unwrap();
        history.add((1..=CHANGES_MAX as u64).map(change));
        assert_eq!(next(&mut slow).len(), CHANGES_PER_CALL);
        history.add((0..=CHANGES_PER_CALL as u64).map(change));
        assert!(slow.next(Duration::ZERO).is_err());
        let latest = history.revision();
        assert_eq!(next(&mut history.watch(latest).unwrap()), []);
    }

    #[test]
    fn a_waiting_reader_is_woken_by_a_change() {
        let history = Arc::new(History::new(0));
        let mut watch = history.watch(0).unwrap();
        let reader = std::thread::spawn(move || watch.next(Duration::from_secs(600)).unwrap());
        history.add([change(1)]);
        assert_eq!(reader.join().unwrap(), [(1, change(1))]);
    }
}
