//! Programs for the kernel's classic BPF machine (`Documentation/networking/filter.rst`).
//!
//! The machine has an accumulator A, an index register X, sixteen scratch words, forward jumps, and
//! loads from the packet. A load outside the packet ends the program with the result 0, so programs
//! check the length before each load that could miss.
//!
//! Two kinds are built here; they differ in the bytes at offset 0 and in the result:
//!  - a program of a SO_REUSEPORT group ([`tunnel::dispatch_program`], [`upstream::dispatch_program`])
//!    sees the UDP payload and returns the index of a socket in the group, in binding order;
//!  - a filter of one socket ([`tunnel::garbage_filter`]) sees the UDP header and returns the number
//!    of bytes to keep; 0 drops the datagram.
//!
//! Both see a whole train as one packet, with the headers of its first datagram and the length of all of them: on
//! loopback a train is never cut, and GRO joins datagrams before the socket lookup. GRO joins datagrams with equal
//! addresses, ports, TTL and size, so the rest of a client's train can come from an attacker. No program drops a train
//! that may hold a message.

mod builder;
mod hash;
pub(crate) mod tunnel;
pub(crate) mod upstream;

pub(crate) use builder::Program;
