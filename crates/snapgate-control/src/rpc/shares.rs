//! Shares of subscribers in something that is limited.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::claims::Pssid;

/// Number of shares that each subscriber has taken.
pub(super) struct Shares {
    max: usize,
    taken: Mutex<HashMap<Pssid, usize>>,
}

impl Shares {
    /// Gives each subscriber at most `max` shares at the same time, and at least one.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max: max.max(1),
            taken: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Pssid, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a share, unless the subscriber has the maximum number.
    pub(super) fn take(self: &Arc<Self>, pssid: &Pssid) -> Option<Share> {
        let mut taken = self.taken();
        let number = taken.entry(pssid.clone()).or_default();
        if *number >= self.max {
            return None;
        }
        *number += 1;
        Some(Share {
            shares: Arc::clone(self),
            pssid: pssid.clone(),
        })
    }
}

/// A share of a subscriber. Dropping it gives it back.
pub(super) struct Share {
    shares: Arc<Shares>,
    pssid: Pssid,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        if let Some(number) = taken.get_mut(&self.pssid) {
            *number -= 1;
            if *number == 0 {
                taken.remove(&self.pssid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_takes_nothing_from_another_one() {
        let shares = Shares::new(2);
        let [one, other] = ["one", "other"].map(|id| Pssid(id.into()));
        let first = shares.take(&one);
        let second = shares.take(&one);
        assert!(first.is_some() && second.is_some());
        assert!(shares.take(&one).is_none());
        assert!(shares.take(&other).is_some());
        drop(first);
        assert!(shares.take(&one).is_some());
    }

    #[test]
    fn subscribers_without_shares_take_no_memory() {
        let shares = Shares::new(2);
        for id in ["one", "other"] {
            drop(shares.take(&Pssid(id.into())));
        }
        assert!(shares.taken().is_empty());
    }
}
