//! UDP sockets of clients.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use udp_shards::{ShardSocket, SocketOptions, bind_client_socket};

/// Ports used by client sockets of this process so far.
static PORTS: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Opens a socket at `bind` in the network namespace of the calling thread. Like the sockets of quinn-udp it is not
/// connected and does not fragment: all of its IPv4 packets have DF and ID 0, so that network cards can merge them.
///
/// Port 0 picks a port that no client socket of this process has used: a gateway remembers the address of a client that
/// is gone, and sends to it.
#[must_use]
pub fn client_socket(bind: SocketAddr) -> ShardSocket {
    // Keeps used ports occupied until another port is found.
    let mut used = Vec::new();
    loop {
        let socket = bind_one(bind);
        let port = socket.local_addr().port();
        let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
        if ports.insert(port) || bind.port() != 0 {
            return socket;
        }
        used.push(socket);
    }
}

fn bind_one(bind: SocketAddr) -> ShardSocket {
    let options = SocketOptions {
        receive_buffer_bytes: 4 << 20,
        send_buffer_bytes: 1 << 20,
        ..SocketOptions::default()
    };
    let socket = bind_client_socket(bind, &options)
        .unwrap_or_else(|error| panic!("cannot open a socket at {bind}: {error}"));
    if bind.is_ipv4() {
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE).expect("a socket option");
    }
    socket
}
