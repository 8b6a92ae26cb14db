//! Events for the caller.

use crate::authorization::SnapTunAuthorization;
use crate::event::{Event, Move};
use crate::server::{Removal, SnapTunServer};
use crate::tunnel::Tunnel;
use crate::usage::Usage;

impl<A: SnapTunAuthorization> SnapTunServer<A> {
    /// Returns the next event: moves first, then usage records, then directory changes, each in the order in which they
    /// happened. Ends the older tunnels of this shard before it returns a move.
    ///
    /// Call it after every batch until it returns `None`. `directory_has_room` says if the caller can take a directory
    /// change, for example because its channel to the directory is not full: while it is false, changes stay queued.
    /// Without events in the [configuration](crate::ShardConfig) it returns `None`.
    #[must_use]
    pub fn poll_event(&mut self, directory_has_room: bool) -> Option<Event<A::SessionData>> {
        if let Some(moved) = self.events.pop_move() {
            self.end_older_tunnels(&moved);
            return Some(Event::Moved(moved));
        }
        if let Some(usage) = self.events.pop_usage() {
            return Some(Event::Usage(usage));
        }
        if !directory_has_room {
            return None;
        }
        self.events.pop_directory().map(Event::Directory)
    }

    /// Returns the traffic of each tunnel in use since its last [usage record](Event::Usage), for the last moment of a
    /// process. Visits every tunnel, at one cache miss each.
    pub fn usage(&self) -> impl Iterator<Item = Usage<A::SessionData>> {
        self.tunnels.iter().filter_map(Tunnel::usage)
    }

    /// Ends the tunnels of an identity that were created before its new one in another shard. Without this call they
    /// expire. A tunnel created at the same `now` as the new one stays.
    pub fn end_older_tunnels(&mut self, moved: &Move) {
        for slot in self.census.tunnels_of(&moved.identity).to_vec() {
            let tunnel = self.tunnels.get(slot);
            if tunnel.is_some_and(|tunnel| tunnel.created_at() < moved.at) {
                self.remove(slot, Removal::Moved);
            }
        }
    }
}
