//! Events for the caller.

use crate::authorization::SnapTunAuthorization;
use crate::event::{Event, Move};
use crate::server::{Removal, SnapTunServer};

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Returns the next event: moves first, then directory changes, each in the order in which they happened.
    ///
    /// Call it after every batch until it returns `None`. Directory changes stay queued while `directory_has_room` is
    /// false.
    #[must_use]
    pub fn poll_event(&mut self, directory_has_room: bool) -> Option<Event> {
        if let Some(moved) = self.events.pop_move() {
            self.end_older_tunnels(&moved);
            return Some(Event::Moved(moved));
        }
        if !directory_has_room {
            return None;
        }
        self.events.pop_directory().map(Event::Directory)
    }

    /// Ends the older tunnels of an identity that uses a new one. Without this call they expire.
    pub fn end_older_tunnels(&mut self, moved: &Move) {
        for slot in self.census.tunnels_of(&moved.identity).to_vec() {
            let tunnel = self.tunnels.get(slot);
            if tunnel.is_some_and(|tunnel| tunnel.created_at() < moved.at) {
                self.remove(slot, Removal::Moved);
            }
        }
    }
}
