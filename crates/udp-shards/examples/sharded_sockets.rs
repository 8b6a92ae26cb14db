//! A group of `SO_REUSEPORT` sockets with dispatch in the kernel: `cargo run --example sharded_sockets`.
//!
//! Four workers share one address; each worker's thread owns a data, a handshake and a mixed socket. Six clients
//! send to the address over loopback, and the workers print what each socket receives. A worker ends when its sockets
//! have been idle for half a second. A server would keep them open until its last worker has stopped, because closing
//! one changes the kernel's numbering of the others.

#![expect(clippy::print_stdout, reason = "the output of the example")]

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use udp_shards::{
    Dispatch, DispatchKey, Flush, ReceiveBatch, SendQueue, ShardSocket, SocketOptions,
    bind_client_socket, bind_tunnel_group,
};

const WORKERS: NonZeroUsize = NonZeroUsize::new(4).unwrap();
const CLIENTS: usize = 6;
const IDLE: Duration = Duration::from_millis(500);

/// Types and lengths of the SNAPtun messages that a client sends: three data messages, which form one
/// train, and a handshake initiation.
const MESSAGES: [(u8, usize); 4] = [(4, 60), (4, 60), (4, 60), (1, 148)];

fn main() -> Result<(), Box<dyn Error>> {
    let key = DispatchKey::random()?;
    let options = SocketOptions::default();
    let listen = "127.0.0.1:0".parse()?;
    let group = bind_tunnel_group(listen, WORKERS, &key, Dispatch::Kernel, &options)?;
    println!("{WORKERS} workers listen on {}", group.local_addr);

    let sockets = group.data.into_iter().zip(group.handshake);
    let workers: Vec<_> = sockets
        .zip(group.mixed)
        .enumerate()
        .map(|(worker, ((data, handshake), mixed))| {
            let sockets = [("data", data), ("handshake", handshake), ("mixed", mixed)];
            thread::spawn(move || run_worker(worker, &sockets))
        })
        .collect();

    for _ in 0..CLIENTS {
        let client = bind_client_socket(listen, &options)?;
        let owner = key.worker_of(client.local_addr(), WORKERS);
        println!("client {} belongs to worker {owner}", client.local_addr());
        send_messages(&client, group.local_addr)?;
    }
    // The kernel drops datagrams that cannot hold a message.
    UdpSocket::bind(listen)?.send_to(b"garbage", group.local_addr)?;

    for worker in workers {
        worker.join().map_err(|_| "a worker panicked")??;
    }
    let dropped = group.garbage.map_or(0, |socket| socket.drops());
    println!("the kernel dropped {dropped} datagram that cannot hold a message");
    Ok(())
}

/// Sends one message of each entry of [`MESSAGES`].
fn send_messages(client: &ShardSocket, to: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut queue = SendQueue::with_limits(1024, 1024 * 1024);
    for (message_type, bytes) in MESSAGES {
        let mut message = vec![0; bytes];
        message[0] = message_type;
        queue
            .push(to, None, message)
            .map_err(|_| "the send queue is full")?;
    }
    let mut failed = None;
    let flush = queue.flush(client, Instant::now(), &mut |_message, outcome| {
        failed = failed.or(outcome.err());
    });
    match (failed, flush) {
        (Some(error), _) => Err(error.into()),
        (None, Flush::Blocked) => Err("the send buffer is full".into()),
        (None, Flush::Empty) => Ok(()),
    }
}

/// Prints all received trains until the sockets are idle.
fn run_worker(worker: usize, sockets: &[(&str, ShardSocket)]) -> io::Result<()> {
    let mut poll = Poll::new()?;
    for (index, (_, socket)) in sockets.iter().enumerate() {
        let fd = socket.as_raw_fd();
        let registry = poll.registry();
        registry.register(&mut SourceFd(&fd), Token(index), Interest::READABLE)?;
    }
    let mut events = Events::with_capacity(sockets.len());
    let mut batch = ReceiveBatch::new(32);
    loop {
        poll.poll(&mut events, Some(IDLE))?;
        if events.is_empty() {
            return Ok(());
        }
        for event in &events {
            let (kind, socket) = &sockets[event.token().0];
            // mio reports readiness once: receive until the queue is empty.
            loop {
                match socket.receive(&mut batch) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
                for train in batch.drain() {
                    let (count, from) = (train.datagram_count(), train.from);
                    let bytes = train.segment_size;
                    println!("worker {worker}, {kind} socket: {count} x {bytes} bytes from {from}");
                }
            }
        }
    }
}
