//! Traffic between applications.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scion_stack::UdpScionSocket;
use scion_stack::sciparse::address::ip_socket_addr::ScionSocketIpAddr;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{Reception, Record, in_time};

/// Maximum datagrams of [`exchange`] under way. More than 32 overflow socket buffers on a busy host.
const WINDOW: usize = 16;

/// Time after which a datagram counts as lost. A round trip on loopback takes milliseconds.
const LOSS_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval at which a [`Stream`] sends.
pub const SEND_INTERVAL: Duration = Duration::from_millis(20);

/// Length of a datagram: its number, and padding.
const DATAGRAM_BYTES: usize = 100;

/// Length of the receive buffers.
const BUFFER_BYTES: usize = 2048;

/// An application that sends every datagram back. Drop stops it.
pub struct EchoServer {
    address: ScionSocketIpAddr,
    task: JoinHandle<()>,
}

impl EchoServer {
    /// Serves at `socket`.
    #[must_use]
    pub fn start(socket: &Arc<UdpScionSocket>) -> Self {
        let address = socket.local_addr();
        let socket = Arc::clone(socket);
        let task = tokio::spawn(async move {
            let mut buffer = [0; BUFFER_BYTES];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.expect("a datagram");
                let sent = socket.send_to(&buffer[..length], from).await;
                sent.expect("a datagram is sent");
            }
        });
        Self { address, task }
    }

    /// Returns the address of the server.
    #[must_use]
    pub const fn address(&self) -> ScionSocketIpAddr {
        self.address
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends `count` datagrams to an [`EchoServer`], at most 16 ahead of what came back. Ends early when nothing comes back
/// for 5 s.
pub async fn exchange(socket: &UdpScionSocket, server: ScionSocketIpAddr, count: usize) -> Record {
    let mut record = Record::default();
    while record.received.len() < count {
        while record.sent.len() < count && record.sent.len() < record.received.len() + WINDOW {
            send(socket, server, record.sent.len()).await;
            record.sent.push(Instant::now());
        }
        match timeout(LOSS_TIMEOUT, receive(socket, server)).await {
            Ok(reception) => record.received.push(reception),
            Err(_) => break,
        }
    }
    record
}

/// An application that sends to an [`EchoServer`] at [`SEND_INTERVAL`], whatever comes back.
pub struct Stream {
    record: watch::Receiver<Record>,
    stop: watch::Sender<bool>,
    sender: JoinHandle<()>,
    receiver: JoinHandle<()>,
}

impl Stream {
    /// Begins to send.
    #[must_use]
    pub fn start(socket: &Arc<UdpScionSocket>, server: ScionSocketIpAddr) -> Self {
        let (record, updates) = watch::channel(Record::default());
        let record = Arc::new(record);
        let (stop, stopped) = watch::channel(false);

        let (sending, sent) = (Arc::clone(socket), Arc::clone(&record));
        let sender = tokio::spawn(async move {
            let mut ticks = interval(SEND_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !*stopped.borrow() {
                ticks.tick().await;
                let number = sent.borrow().sent.len();
                // Before it is sent, so that it is known when it comes back.
                sent.send_modify(|record| record.sent.push(Instant::now()));
                send(&sending, server, number).await;
            }
        });
        let receiving = Arc::clone(socket);
        let receiver = tokio::spawn(async move {
            loop {
                let reception = receive(&receiving, server).await;
                record.send_modify(|record| record.received.push(reception));
            }
        });
        Self {
            record: updates,
            stop,
            sender,
            receiver,
        }
    }

    /// Waits until the record has a property.
    ///
    /// # Panics
    ///
    /// After [`testkit::PATIENCE`], with `what` in the message.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Record) -> bool) {
        let event = self.record.wait_for(|record| holds(record));
        in_time(what, event).await.expect("a running stream");
    }

    /// Waits until a datagram that was sent after `time` came back, and returns when it did.
    pub async fn served_after(&mut self, time: Instant) -> Instant {
        let served = |record: &Record| record.first_served_after(time).is_some();
        self.until("service", served).await;
        let served = self.record.borrow().first_served_after(time);
        served.expect("it was there").at
    }

    /// Waits until `count` more datagrams came back.
    pub async fn more(&mut self, count: usize) {
        let before = self.record.borrow().received.len();
        let more = |record: &Record| record.received.len() >= before + count;
        self.until("datagrams back", more).await;
    }

    /// Stops sending, waits until the last datagram came back or is lost, and returns the record.
    pub async fn finish(mut self) -> Record {
        self.stop.send_replace(true);
        in_time("the last datagram", &mut self.sender)
            .await
            .expect("the sender does not fail");
        let last = self.record.borrow().sent.len() - 1;
        let is_last_back = |record: &Record| record.received.iter().any(|one| one.sequence == last);
        // Fails when it is lost.
        let _ = timeout(LOSS_TIMEOUT, self.record.wait_for(is_last_back)).await;
        assert!(!self.receiver.is_finished(), "the receiver failed");
        self.record.borrow().clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.sender.abort();
        self.receiver.abort();
    }
}

async fn send(socket: &UdpScionSocket, server: ScionSocketIpAddr, number: usize) {
    let mut datagram = [0x5a; DATAGRAM_BYTES];
    let number = u32::try_from(number).expect("a number of 32 bits");
    datagram[..4].copy_from_slice(&number.to_be_bytes());
    let sent = socket.send_to(&datagram, server).await;
    sent.expect("a datagram is sent");
}

async fn receive(socket: &UdpScionSocket, server: ScionSocketIpAddr) -> Reception {
    let mut buffer = [0; BUFFER_BYTES];
    let (length, from) = socket.recv_from(&mut buffer).await.expect("a datagram");
    let at = Instant::now();
    assert_eq!(
        (length, from),
        (DATAGRAM_BYTES, server),
        "a foreign datagram"
    );
    let number = buffer[..4].try_into().expect("four bytes");
    Reception {
        sequence: u32::from_be_bytes(number) as usize,
        at,
    }
}
