//! Sans-I/O server side of SNAPtun, for one or many threads.
//!
//! SNAPtun is the [WireGuard protocol](https://www.wireguard.com/papers/wireguard.pdf) with one addition: the handshake
//! response ends with the socket address that the responder saw. Endhosts use it to reach a SCION network access point
//! (SNAP); their side is the crate `snap-tun`. Plain WireGuard clients refuse the longer response.
//!
//! This crate holds the tunnels of many clients. It opens no socket, starts no thread, does no I/O and logs nothing:
//! datagrams and packets go in, and datagrams, packets and events come out. A *datagram* is a UDP payload between
//! client and server, which is one SNAPtun message; a *packet* is what travels in a tunnel. The type [`Packet`] holds
//! either: a datagram in [`handle_incoming_packet`](SnapTunServer::handle_incoming_packet) and in a [`Transmit`], and a
//! packet elsewhere. The WireGuard state machine comes from `ana-gotatun`, which emits `tracing` events of the levels
//! debug and trace.
//!
//! It differs from a WireGuard interface in these points:
//!
//! - Peers are not configured. An authorization layer, [`SnapTunAuthorization`], decides about each public key, which
//!   is called an *identity* here.
//! - A tunnel belongs to one remote socket address. A client at a new address needs a new handshake and gets a new
//!   tunnel, and one identity can have several tunnels.
//! - Packets are opaque bytes. The caller chooses the tunnel of an outgoing packet by its remote address; there are no
//!   allowed IPs, and packets to clients are not padded.
//! - Clients are expected to send persistent keepalives, as `snap-tun` does every 10 s. A client that sends nothing for
//!   [`silent_after`](ShardConfig::silent_after) may lose its tunnel or its address to another client.
//! - The server begins handshakes with clients that it knows, but sends no persistent keepalives and uses no preshared
//!   keys.
//!
//! # Types
//!
//! | type | purpose |
//! | --- | --- |
//! | [`SnapTunServer`] | a *shard*: the tunnels of one thread |
//! | [`ShardConfig`] | limits and intervals of a shard |
//! | [`StaticKey`] | private key of a gateway, wiped from memory when dropped |
//! | [`SnapTunAuthorization`], [`Grant`] | authorization of identities, and data about them for the caller |
//! | [`ReplayGuard`], [`HandshakeLimits`] | state shared by all shards of a gateway |
//! | [`Endpoint`], [`Via`] | remote address of a datagram, and the local side that received it |
//! | [`Incoming`], [`Outgoing`] | fate of a datagram or packet, with the reason of a drop in [`DropReason`] |
//! | [`Packet`] | owned bytes: dereferences to `[u8]`; `copy_from` copies a slice, `from_bytes` takes a `BytesMut` |
//! | [`Transmit`] | datagram to send |
//! | [`Event`] | news for other shards, for a directory of tunnels, and for accounting |
//! | [`Usage`], [`Traffic`] | packets and bytes of a tunnel |
//! | [`ShardCounters`] | event counters for metrics |
//! | [`protocol`] | lengths, times and message kinds of the protocol |
//! | [`ClockProbe`] | check at start that the clock of the WireGuard state machine advances |
//! | [`on_wiped_stack()`] | wiping of the stack for callers that handle private keys |
//!
//! # Building a server
//!
//! The file `examples/one_socket.rs`, in the repository and in the package, is a complete server. Its core is this:
//!
//! ```
//! use std::collections::{HashSet, VecDeque};
//! use std::io::{self, ErrorKind};
//! use std::net::{SocketAddr, UdpSocket};
//! use std::sync::Arc;
//! use std::time::{Duration, Instant, SystemTime};
//!
//! use snaptun::{
//!     Endpoint, Grant, HandshakeLimits, Incoming, Outgoing, Packet, ReplayGuard, ShardConfig,
//!     SnapTunAuthorization, SnapTunServer, StaticKey, Transmit, Via,
//! };
//!
//! /// The authorized public keys. This set never changes, and neither does its generation.
//! struct Customers(HashSet<[u8; 32]>);
//!
//! impl SnapTunAuthorization for Customers {
//!     /// Anything that the caller needs with a packet, such as an account.
//!     type SessionData = &'static str;
//!
//!     fn is_authorized(&self, _now: Instant, identity: &[u8; 32]) -> Option<Grant<&'static str>> {
//!         self.0.contains(identity).then_some(Grant {
//!             expires: None,
//!             session_data: "customer",
//!         })
//!     }
//!
//!     fn generation(&self) -> u64 {
//!         0
//!     }
//! }
//!
//! fn new_shard(now: Instant, key: StaticKey, customers: Customers) -> SnapTunServer<Customers> {
//!     let config = ShardConfig::default();
//!     let replay_guard = Arc::new(ReplayGuard::new(
//!         now,
//!         ReplayGuard::IDENTITIES_DEFAULT,
//!         ReplayGuard::TIMESTAMP_TOLERANCE_DEFAULT,
//!     ));
//!     // A server that runs for long keeps a clone of the `Arc`, and repeats this every few seconds.
//!     replay_guard.set_clock(now, Some(SystemTime::now()));
//!     let limits = HandshakeLimits::new(now, &config, 1);
//!     SnapTunServer::new(
//!         now,
//!         key,
//!         Arc::new(customers),
//!         replay_guard,
//!         Arc::new(limits),
//!         config,
//!     )
//! }
//!
//! /// Handles a datagram, and sends the packet in it, if any, back through its tunnel.
//! fn handle(
//!     shard: &mut SnapTunServer<Customers>,
//!     now: Instant,
//!     datagram: &[u8],
//!     remote: SocketAddr,
//!     send_to_network: &mut VecDeque<Transmit>,
//! ) {
//!     let from = Endpoint {
//!         remote,
//!         via: Via::default(),
//!     };
//!     let datagram = Packet::copy_from(datagram);
//!     match shard.handle_incoming_packet(now, datagram, from, send_to_network) {
//!         Incoming::Delivered { packet, .. } => {
//!             match shard.handle_outgoing_packet(now, packet, remote, send_to_network) {
//!                 Outgoing::Encapsulated { .. } | Outgoing::Waiting { .. } => {}
//!                 Outgoing::Dropped { reason, .. } => eprintln!("packet to {remote}: {reason}"),
//!             }
//!         }
//!         Incoming::Consumed(_) => {}
//!         Incoming::Dropped(reason) => eprintln!("datagram from {remote}: {reason}"),
//!     }
//! }
//!
//! /// Serves until an I/O error. Each iteration is one turn, here with at most one datagram. A busy server receives up
//! /// to, say, 64 datagrams in each turn.
//! fn serve(socket: &UdpSocket, mut shard: SnapTunServer<Customers>) -> io::Result<()> {
//!     let mut buffer = vec![0; 65_536];
//!     let mut send_to_network = VecDeque::new();
//!     loop {
//!         let timeout = shard.next_timer().saturating_duration_since(Instant::now());
//!         // `set_read_timeout` refuses zero.
//!         socket.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
//!         let received = match socket.recv_from(&mut buffer) {
//!             Ok(received) => Some(received),
//!             // Nothing in time, or a signal: with a timeout, Linux does not restart the call (signal(7)).
//!             Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
//!                 None
//!             }
//!             Err(error) => return Err(error),
//!         };
//!         // For hosts that are suspended, see "Time and randomness".
//!         let now = Instant::now();
//!         shard.start_batch();
//!         if let Some((length, remote)) = received {
//!             handle(&mut shard, now, &buffer[..length], remote, &mut send_to_network);
//!         }
//!         shard.update_timers(now, &mut send_to_network);
//!         // Nothing with the default configuration.
//!         while let Some(event) = shard.poll_event(true) {
//!             println!("{event:?}");
//!         }
//!         for transmit in send_to_network.drain(..) {
//!             if let Err(error) = socket.send_to(&transmit.packet, transmit.to.remote) {
//!                 eprintln!("datagram to {} not sent: {error}", transmit.to.remote);
//!             }
//!         }
//!     }
//! }
//! #
//! # use testkit::shard::{Client, Received};
//! # let now = Instant::now();
//! # let key = StaticKey::from(snaptun::StaticSecret::from([7; 32]));
//! # let mut client = Client::new(1, key.public_key());
//! # let customers = Customers(HashSet::from([client.identity()]));
//! # let mut shard = new_shard(now, key, customers);
//! # let mut sent = VecDeque::new();
//! # handle(&mut shard, now, &client.initiation(), client.remote(), &mut sent);
//! # let response = sent.pop_front().expect("a response");
//! # let Received::Answer(keepalive) = client.receive(&response.packet) else {
//! #     panic!("the client did not accept the response");
//! # };
//! # handle(&mut shard, now, &keepalive, client.remote(), &mut sent);
//! # handle(&mut shard, now, &client.data(b"packet"), client.remote(), &mut sent);
//! # let echo = sent.pop_front().expect("a packet");
//! # assert_eq!(client.receive(&echo.packet), Received::Data(b"packet".to_vec()));
//! ```
//!
//! # Dependencies
//!
//! ```toml
//! [dependencies]
//! snaptun = "0.1" # or the path of `crates/snaptun`
//!
//! [dev-dependencies]
//! ana-gotatun = { version = "=0.8.1-ana.0", default-features = false, features = ["aws-lc-rs"] }
//! ```
//!
//! `ana-gotatun` contains a client for tests; [`protocol`] shows how to create one.
//!
//! # Call order
//!
//! One thread owns a shard. In each turn it:
//!
//! 1. reads the clock, and calls [`start_batch`](SnapTunServer::start_batch), which loads the authorization generation
//!    for the batch;
//! 2. passes datagrams from the network to [`handle_incoming_packet`](SnapTunServer::handle_incoming_packet), and
//!    forwards [`Delivered`](Incoming::Delivered) packets;
//! 3. passes packets for clients to [`handle_outgoing_packet`](SnapTunServer::handle_outgoing_packet);
//! 4. calls [`update_timers`](SnapTunServer::update_timers), which sends due keepalives and handshakes and removes
//!    tunnels that expired or lost their authorization;
//! 5. calls [`poll_event`](SnapTunServer::poll_event) until it returns `None`, if
//!    [`one_tunnel_per_identity`](ShardConfig::one_tunnel_per_identity),
//!    [`directory_changes`](ShardConfig::directory_changes) or [`usage_records`](ShardConfig::usage_records) is set.
//!    All are off by default. With one of them, the call is not optional: moves and usage records queue up without
//!    limit, and the older tunnels of an identity that moved end only here;
//! 6. sends the datagrams appended to `send_to_network`, in order, each from its [`Via`]. Methods only append to this
//!    queue, so the caller may send and empty the queue after any call;
//! 7. waits for input, at most until [`next_timer`](SnapTunServer::next_timer), which is never more than 1 s away.
//!
//! Steps 2 and 3 may be mixed and repeated, and all of a turn's calls may use the same `now`. `start_batch` and step 4
//! belong to the turn, not to a datagram. They may be less frequent, at the price of late revocations and timers.
//!
//! An initiation takes up to 0.6 ms, as long as hundreds of data messages. A caller that gives handshakes a bounded
//! share of its time classifies datagrams with [`MessageKind::of`](protocol::MessageKind::of). Data messages go to
//! [`handle_screened_packet`](SnapTunServer::handle_screened_packet) at once. Handshake messages are screened with
//! [`screen_handshake`](SnapTunServer::screen_handshake), and the accepted ones wait with their [`Endpoint`] in a queue
//! of the caller until they are passed to [`handle_screened_packet`](SnapTunServer::handle_screened_packet), too.
//!
//! # Time and randomness
//!
//! The argument `now` is a reading of a monotonic clock that serves a whole batch and never goes back for a shard;
//! shards on different threads may differ by the length of a turn. The clock has to count the time in which the host is
//! suspended, or sessions live longer than they may. `Instant::now` does not count it: read `CLOCK_BOOTTIME`, and add
//! the time since the start to the [`Instant`](std::time::Instant) of the start, `start + (boot_time() -
//! boot_time_at_start)`; the wait until [`next_timer`](SnapTunServer::next_timer) is on the same clock. The WireGuard
//! state machine in `ana-gotatun` reads `CLOCK_BOOTTIME` itself for its timers. Its feature `mock_instant` replaces the
//! clock; a [`ClockProbe`] at the start of a server detects such a build.
//!
//! If `now` has leapt, because the host was suspended or the thread did not run, no message passes in a session that has
//! ended meanwhile, and the shard begins new handshakes with the clients whose session ended.
//!
//! Timestamps of initiations are compared with the system clock, which the caller reports with
//! [`ReplayGuard::set_clock`]. Until then, and with `None`, no timestamp is refused as too far in the future.
//!
//! Random numbers come from the operating system; constructors panic if it has none. The feature `simulation` adds
//! constructors with a seed (`seeded`) that make hashers, draws and jitter reproducible; keys stay random. Servers must
//! not use them.
//!
//! # Several shards
//!
//! To use more cores, create one shard per thread, and pass all datagrams and packets of one remote address to the same
//! shard, for example by a hash of the address with a secret key (the crate `udp-shards` has one that the kernel
//! computes too). Create all shards with the same `now`, private key and authorization, and share a [`ReplayGuard`] and
//! a [`HandshakeLimits`], made for this number of shards, between them:
//!
//! - An attacker chooses the shard by the source address, so a captured initiation could be replayed to every shard
//!   whose guard has not seen it.
//! - With limits per shard, an attacker could find out which addresses share a shard, and flood that one.
//!
//! Only handshakes access the two, so data of different shards never contends. The only lock is in the guard: a proven
//! initiation holds it while it updates an entry of a map. A shard is `Send` if the authorization is `Send` and `Sync`
//! and its session data is `Send`, so all shards can be created on one thread and then moved to others.
//!
//! Tunnels do not move between shards. A client at an address that belongs to another shard gets a new tunnel there.
//! With [`one_tunnel_per_identity`](ShardConfig::one_tunnel_per_identity), that shard reports an [`Event::Moved`] when
//! the client uses the new tunnel. The caller passes it to the threads of all other shards, over channels of its own,
//! and these call [`end_older_tunnels`](SnapTunServer::end_older_tunnels) between turns. If a move is late or lost, the
//! old tunnel lives longer, and nothing else happens.
//!
//! # Authorization
//!
//! A shard asks for a [`Grant`] when it creates a tunnel, when the grant ends, and after the
//! [`generation`](SnapTunAuthorization::generation) changes, but not for each packet in a tunnel. It asks on the thread
//! that called it, and the answer must not block; [`SnapTunAuthorization`] has the details. An identity that is no
//! longer authorized loses its tunnel at its next packet in either direction, or without one within
//! [`timer_round`](ShardConfig::timer_round). The shard remembers a client that used such a tunnel until 540 s after
//! its last message, and begins a handshake when its grant returns and
//! [`new_grants`](SnapTunAuthorization::new_grants) has changed. It remembers up to
//! [`tunnels_per_shard`](ShardConfig::tunnels_per_shard) clients; [`lapsed_tunnels`](SnapTunServer::lapsed_tunnels) is
//! the number of those that had a tunnel in this process. Fates borrow the session data of the grant.
//!
//! # Accounting
//!
//! A tunnel counts the packets and bytes of its peer. With [`usage_records`](ShardConfig::usage_records), the shard
//! reports them in an [`Event::Usage`] when the tunnel ends, or when a grant with other session data replaces the one
//! in the tunnel, as when its peer shows a new token. Tunnels that are left at the end are in
//! [`usage`](SnapTunServer::usage).
//!
//! # Restarts
//!
//! A client notices a restarted server only after 15 s. To shorten this, save the address and identity of each tunnel
//! in use, from [`tunnels`](SnapTunServer::tunnels) or [`Event::Directory`], and pass them to
//! [`remember`](SnapTunServer::remember) in the next process, which then begins the handshakes. A shard that
//! [drains](SnapTunServer::drain) serves its tunnels, but makes no new ones; it drains until it is dropped.
//!
//! When a virtual machine is restored from a snapshot, a server continues with keys and counters that it may have used
//! after the snapshot. Call [`end_sessions`](SnapTunServer::end_sessions) on all shards before they send anything.
//!
//! # Errors
//!
//! No input panics, and there are no other errors than drops. Every datagram has exactly one fate, its [`Incoming`],
//! and every packet exactly one [`Outgoing`]. A [`Waiting`](Outgoing::Waiting) packet later becomes exactly one
//! [`Transmit`] or one count in [`ShardCounters`], unless the shard is dropped first. [`DropReason`] implements
//! `Error`, and has a name for metrics. A shard does not report datagrams that could not be sent, since it does not
//! send.
//!
//! # Shutdown
//!
//! Call [`drain`](SnapTunServer::drain), and go on with turns until
//! [`talking_tunnels`](SnapTunServer::talking_tunnels) is 0 or a time limit has passed. Then take the last events, and
//! with usage records also [`usage`](SnapTunServer::usage), which has the traffic since each tunnel's last record, and
//! drop the shard.
//!
//! # Guarantees
//!
//! - Only an initiation that no shard has accepted before, of an authorized identity, makes a tunnel. The exception is a
//!   handshake begun with a remembered client, whose tunnel is removed without a response within 5 s.
//! - No other identity can take or end a tunnel whose client has used it and was heard within
//!   [`silent_after`](ShardConfig::silent_after). The address of a silent tunnel goes to a client that proves with a
//!   cookie that it receives there, and a new tunnel in a full shard replaces an unused or silent one.
//! - During a flood of handshake messages without cookies, each message beyond the budget costs at most a cookie reply,
//!   and messages with a cookie are admitted from a separate budget. The exception: each
//!   shard opens up to 1,024 initiations a second from addresses with a tunnel, to find those of the tunnels' clients.
//! - The number of tunnels and the memory per tunnel are limited by [`ShardConfig`].
//! - Packets of one tunnel keep their order, including those that waited for a session, and arrive byte for byte.
//! - Datagrams to a peer leave by the [`Via`] of its last authenticated message.
//! - Datagrams that are not SNAPtun messages, and messages other than initiations from an address without a tunnel,
//!   cost at most one look-up in a hash map, two while clients are remembered, and no allocation. The exception is data
//!   from the address of a remembered client, which can begin a handshake.

mod admission;
mod authorization;
mod census;
mod clock_probe;
mod config;
mod counters;
mod crypto;
mod drop_reason;
mod endpoint;
mod event;
mod fate;
pub mod protocol;
mod remembered;
mod restart_queue;
mod server;
mod timer_round;
mod transmit;
mod tunnel;
mod tunnel_table;
mod usage;

pub use ana_gotatun::packet::Packet;
pub use x25519_dalek::{PublicKey, StaticSecret};

pub use crate::admission::handshake_limits::HandshakeLimits;
pub use crate::admission::replay_guard::ReplayGuard;
pub use crate::authorization::{Grant, SnapTunAuthorization};
pub use crate::clock_probe::ClockProbe;
pub use crate::config::ShardConfig;
pub use crate::counters::ShardCounters;
pub use crate::crypto::stack::on_wiped_stack;
pub use crate::crypto::static_key::StaticKey;
pub use crate::drop_reason::DropReason;
pub use crate::endpoint::{Endpoint, Via};
pub use crate::event::{DirectoryChange, Event, Move};
pub use crate::fate::{Consumed, Incoming, Outgoing};
pub use crate::server::{SnapTunServer, TunnelView};
pub use crate::transmit::{Payload, Transmit};
pub use crate::usage::{Traffic, Usage};
