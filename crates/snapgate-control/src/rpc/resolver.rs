//! Looks up host names.
//!
//! A lookup blocks a thread, for as long as DNS servers do not answer. The number of these threads is limited, so that
//! lookups cannot use up the threads of registrations, as those of hyper-util's resolver could.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower_service::Service;

/// Maximum number of lookups at the same time. Further ones fail.
pub(super) const LOOKUPS: usize = 4;

/// A resolver with a limited number of threads.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    free: Arc<Semaphore>,
}

impl Resolver {
    pub(super) fn new() -> Self {
        Self {
            free: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let free = Arc::clone(&self.free);
        Box::pin(async move {
            let permit = free.try_acquire_owned().map_err(|_| {
                io::Error::other(format!("{LOOKUPS} lookups of names wait for DNS servers"))
            })?;
            let lookup = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                // hyper replaces the port.
                (name.as_str(), 0).to_socket_addrs()
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}
