//! Programs for the kernel's classic BPF machine (`Documentation/networking/filter.rst`).
//!
//! A program has an accumulator A, an index register X, sixteen scratch words, forward jumps, and
//! loads from the packet. A load outside the packet ends the program with the result 0, so programs
//! check lengths before they load what may not be there.
//!
//! Two kinds are built here, which see different bytes at offset 0:
//!  - on a SO_REUSEPORT group ([`tunnel::dispatch_program`], [`upstream::dispatch_program`]) the
//!    UDP payload; the result is the index of a socket in the group, in the order of binding;
//!  - on a socket ([`tunnel::garbage_filter`]) the UDP header; the result is how many bytes to
//!    keep, and 0 drops the datagram.
//!
//! Both see a whole train as one packet: on loopback it never was cut, and GRO joins datagrams
//! before the socket is looked up. The headers are those of the train's first datagram and the
//! length is that of all of them. GRO joins whatever looks like one sender's, so what follows the
//! first datagram can be somebody else's: no program drops a train that may hold a message.

mod builder;
mod hash;
pub(crate) mod tunnel;
pub(crate) mod upstream;

pub(crate) use builder::Program;
