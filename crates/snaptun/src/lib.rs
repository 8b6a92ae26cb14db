//! One shard of SNAPtun tunnels, without I/O.
//!
//! SNAPtun is the [WireGuard protocol](https://www.wireguard.com/papers/wireguard.pdf) plus one field:
//! the handshake response tells the initiator the socket address that the responder saw. A
//! [`SnapTunServer`] holds the tunnels of one worker, exactly one per remote socket address. A gateway
//! has many of them, and sends all packets of one remote address to the same. They share no tunnel, and nothing that
//! data needs: only the [`ReplayGuard`] and the [`HandshakeLimits`], which handshakes pass.
//!
//! # How to drive a shard
//!
//! The shard has no socket, thread, channel or log. One thread owns it and, in turn:
//!
//! 1. calls [`start_batch`](SnapTunServer::start_batch), once, before it handles a batch of packets;
//! 2. gives every datagram from the network to
//!    [`handle_incoming_packet`](SnapTunServer::handle_incoming_packet), and forwards what is
//!    [`Delivered`](Incoming::Delivered);
//! 3. gives every packet for a tunnel to
//!    [`handle_outgoing_packet`](SnapTunServer::handle_outgoing_packet);
//! 4. calls [`update_timers`](SnapTunServer::update_timers), at the latest when
//!    [`next_timer`](SnapTunServer::next_timer) says so;
//! 5. takes each [event](Event) out by [`poll_event`](SnapTunServer::poll_event): what other shards are to be told, and
//!    changes of the directory of tunnels that the next process tells its shards by
//!    [`remember`](SnapTunServer::remember);
//! 6. sends all that was appended to `send_to_network`, in order.
//!
//! Time is an argument, `now`: one reading of the clock serves a batch, and it never goes back. The
//! WireGuard state machine below, `ana-gotatun`, reads the monotonic clock itself when it looks at its
//! timers and counts handshakes, so `now` has to be the real time, or that of its mock clock. A [`ClockProbe`] shows
//! which of them it is.
//!
//! # What a caller can rely on
//!
//! - Every datagram has exactly one fate, its [`Incoming`]; every packet has exactly one [`Outgoing`]. One
//!   that is [`Waiting`](Outgoing::Waiting) becomes exactly one [`Transmit`] or one count in
//!   [`ShardCounters`].
//! - A tunnel comes into being only by an initiation whose identity is authorized, which no shard accepted
//!   before, and which was answered; or where an identity that is authorized had one in the process
//!   before, or before its grant ended, until it answers or 5 s have passed.
//! - The address of a tunnel that talks is its own: no other identity can take it or end it. One that has
//!   been silent for [`silent_after`](ShardConfig::silent_after) goes to a client that proves to be there.
//! - However many handshake messages come, those of addresses that have not shown a cookie cost at most
//!   a cookie reply each beyond their budget, and those that have are admitted from a budget of their own.
//! - A shard that [drains](SnapTunServer::drain) makes no tunnel, and serves those that it has as before.
//! - There are no more tunnels than [`ShardConfig`] says, and what there is in memory for each is bounded.
//! - An identity that is no longer authorized loses its tunnel at its next packet, in either direction,
//!   and without one within a timer round.
//! - Packets of one tunnel leave in the order in which they came, those that waited first, and arrive
//!   byte for byte.
//! - What a peer receives leaves by the [`Via`] that its last authenticated packet came in by.
//! - What is no SNAPtun message, or comes from an address without a tunnel and is no initiation, costs a
//!   comparison or a look into a hash map, and no allocation.

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
