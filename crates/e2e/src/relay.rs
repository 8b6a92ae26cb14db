//! The connection from the gateway to the endhost API.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Treatment of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelayMode {
    /// Bytes pass in both directions.
    Forward,
    /// Connections are closed at once.
    Close,
    /// Connections are accepted and never answered.
    Hang,
}

/// Passes TCP connections on, as long as the test lets it. Drop stops it.
pub struct Relay {
    address: SocketAddr,
    mode: watch::Sender<RelayMode>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay to `target` on a free port of the same IP address.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((target.ip(), 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (mode, _) = watch::channel(RelayMode::Forward);
        let modes = mode.clone();
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                tokio::spawn(pass(client, target, modes.subscribe()));
            }
        });
        Self {
            address,
            mode,
            task,
        }
    }

    /// Returns the address that connections arrive at.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the treatment of all connections. Those that exist end.
    pub fn set(&self, mode: RelayMode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Treats one connection, until the mode changes.
async fn pass(mut client: TcpStream, target: SocketAddr, mut modes: watch::Receiver<RelayMode>) {
    let mode = *modes.borrow_and_update();
    let treat = async {
        match mode {
            RelayMode::Forward => {
                if let Ok(mut server) = TcpStream::connect(target).await {
                    // Ends when either side closes the connection or fails.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            }
            RelayMode::Close => {}
            RelayMode::Hang => std::future::pending().await,
        }
    };
    tokio::select! {
        () = treat => {}
        // Fails when the relay is dropped.
        _ = modes.changed() => {}
    }
}
