//! A store that keeps nothing across restarts.

use std::sync::Arc;

use crate::registry::entry::Change;
use crate::registry::error::StoreError;
use crate::registry::history::History;
use crate::registry::store::{Durability, Store};

/// A store without a file. Only its history is kept.
pub(super) struct MemoryStore {
    history: Arc<History>,
}

impl MemoryStore {
    pub(super) fn new() -> Self {
        Self {
            history: Arc::new(History::new(0)),
        }
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, changes: &[Change], _durability: Durability) -> Result<(), StoreError> {
        self.history.add(changes.iter().cloned());
        Ok(())
    }

    fn history(&self) -> &Arc<History> {
        &self.history
    }
}
