//! The seam between the registry and the place where its contents are kept.

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::registry::entry::{Change, Key, Record};
use crate::registry::error::StoreError;
use crate::registry::history::History;

/// What a stored change survives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Durability {
    /// The end of the process, also by `kill -9`.
    Process,
    /// A power failure as well.
    Machine,
}

/// A place where the contents of a registry are kept: puts and removals in a commit, and a history to watch from a
/// revision. The registry gets the contents when the store is opened, and is then the only writer.
///
/// Records end by themselves, see [`Record::ends`]: a store may remove them from then on, and makes no change of it.
pub(super) trait Store: Send {
    /// Stores changes, all or none, in their order. Each change gets the next revision.
    ///
    /// # Errors
    ///
    /// If nothing was stored.
    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError>;

    /// Returns the stored changes, to be watched from a revision.
    fn history(&self) -> &Arc<History>;

    /// Does a bounded step of the work that is left between commits, and returns what follows. `contents` are those of
    /// the registry, which have all stored changes. `synced` is the result of the last [`Upkeep::Sync`].
    fn upkeep(&mut self, contents: &dyn Contents, synced: Option<&io::Result<()>>) -> Upkeep {
        let _unused = (contents, synced);
        Upkeep::Done
    }
}

/// What follows a step of [`Store::upkeep`].
#[derive(Debug)]
pub(super) enum Upkeep {
    /// Nothing, for about a second.
    Done,
    /// The next step.
    Again,
    /// The file must be synced to disk, while commits go on; the result is passed to the next step.
    Sync(Arc<File>),
}

/// The contents of a registry, readable while it is in use.
pub(super) trait Contents {
    /// Returns the number of records.
    fn len(&self) -> usize;

    /// Returns the first `limit` records after a key, or from the beginning, ordered by key.
    fn records_after(&self, key: Option<&Key>, limit: usize) -> Vec<Record>;
}
