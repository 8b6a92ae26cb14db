//! Binding the sockets of all workers to one address.
//!
//! The first socket is bound alone, which fails when anybody holds the address already, even
//! somebody who would share it. Only then is it opened for sharing (SO_REUSEPORT), and the others
//! join. The kernel numbers the sockets of a group in the order in which they were bound, and the
//! programs return such numbers, so a group never changes: closing a socket would move the last one
//! into its place.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use socket2::{Domain, Protocol, Socket, Type};

use crate::cbpf::tunnel::{self, Family};
use crate::cbpf::upstream;
use crate::options::{BufferReport, BufferSize};
use crate::sys::sockopt;
use crate::{Dispatch, DispatchKey, ShardSocket, SocketOptions};

/// The most workers a group can have. The kernel counts a group's sockets, which are
/// 3 * workers + 1, in 16 bits.
pub const MAX_WORKERS: usize = 1024;

const _: () = assert!(3 * MAX_WORKERS < u16::MAX as usize);

/// The sockets of one listen address for tunnels.
#[derive(Debug)]
pub struct TunnelGroup {
    /// The address all sockets are bound to, with the real port.
    pub local_addr: SocketAddr,
    /// One socket per worker. With [`Dispatch::Kernel`] it receives the trains of the addresses that
    /// this worker owns which begin with a data message (type 4); with [`Dispatch::User`] any train
    /// of any address.
    ///
    /// A train holds datagrams of one remote address, or of an attacker who forges that address: the
    /// kernel joins what has the same addresses, ports, TTL and size. Its program sees only the first
    /// datagram, so judge every datagram of a train by itself.
    pub data: Vec<ShardSocket>,
    /// One socket per worker for single handshake messages (types 1 to 3) of the addresses that this
    /// worker owns, so that a flood of them leaves the buffers of the other sockets alone. Empty with
    /// [`Dispatch::User`], where nothing could steer messages to them.
    pub handshake: Vec<ShardSocket>,
    /// One socket per worker for everything else from the addresses that this worker owns: trains that
    /// begin with a handshake message or with garbage, and may hold messages behind it. Empty with
    /// [`Dispatch::User`].
    pub mixed: Vec<ShardSocket>,
    /// Where [`Dispatch::Kernel`] drops what can hold no SNAPtun message. Keep it: it is a member of
    /// the group. `None` with [`Dispatch::User`], where each data socket drops its own.
    pub garbage: Option<GarbageSocket>,
    /// The buffers of each socket.
    pub buffers: BufferReport,
}

/// The socket that drops what can hold no SNAPtun message, without queueing it.
#[derive(Debug)]
pub struct GarbageSocket {
    socket: ShardSocket,
}

impl GarbageSocket {
    /// Datagrams (a train counts once) that were dropped here since the socket was bound.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.socket.kernel_drops()
    }
}

/// The sockets of the internal address that SCION routers send to.
#[derive(Debug)]
pub struct UpstreamGroup {
    /// The address all sockets are bound to, with the real port.
    pub local_addr: SocketAddr,
    /// One socket per worker. With [`Dispatch::Kernel`] it receives the SCION packets whose
    /// destination address (host, port) this worker owns, and some of those in which the program
    /// finds none; with [`Dispatch::User`] any packet.
    ///
    /// With [`Dispatch::Kernel`] and several workers these sockets have no UDP_GRO, whatever
    /// [`SocketOptions::gro`] says: all packets of a router have the same addresses and ports, so the
    /// kernel would join packets to the tunnels of several workers into one train, which arrives
    /// where its first packet belongs. Only a sender on the same host still makes such trains (GSO).
    pub sockets: Vec<ShardSocket>,
    /// The buffers of each socket.
    pub buffers: BufferReport,
}

/// Why sockets could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket holds the address, be it shared (SO_REUSEPORT) or not.
    #[error("{address} is already in use by another socket")]
    AddressInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// More than [`MAX_WORKERS`].
    #[error("{workers} workers are too many: a group has at most {MAX_WORKERS}")]
    TooManyWorkers {
        /// The number asked for.
        workers: usize,
    },
    /// The kernel refused a step.
    #[error("cannot {step} for {address}: {source}")]
    Refused {
        /// What was tried, as a verb: "bind a socket".
        step: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Binds the sockets of `workers` workers for tunnels to `listen`; port 0 picks a free port.
///
/// # Errors
///
/// See [`BindError`].
pub fn bind_tunnel_group(
    listen: SocketAddr,
    workers: NonZeroUsize,
    key: &DispatchKey,
    dispatch: Dispatch,
    options: &SocketOptions,
) -> Result<TunnelGroup, BindError> {
    let worker_count = check_workers(workers)?;
    let members = match dispatch {
        Dispatch::Kernel => 3 * workers.get() + 1,
        Dispatch::User => workers.get(),
    };
    let Bound {
        local_addr,
        mut sockets,
        buffers,
    } = bind_group(listen, members, options)?;
    let refused = |step| {
        move |source| BindError::Refused {
            step,
            address: listen,
            source,
        }
    };

    let mut handshake = Vec::new();
    let mut mixed = Vec::new();
    let mut garbage = None;
    match dispatch {
        Dispatch::Kernel => {
            let family = if listen.is_ipv4() {
                Family::V4
            } else {
                Family::V6
            };
            if let Some(socket) = sockets.pop() {
                sockopt::attach_filter(&socket, &tunnel::drop_all_filter())
                    .map_err(refused("attach the garbage filter"))?;
                let program = tunnel::dispatch_program(key, worker_count, family);
                sockopt::attach_reuseport_program(&socket, &program)
                    .map_err(refused("attach the dispatch program"))?;
                garbage = Some(GarbageSocket { socket });
            }
            mixed = sockets.split_off(2 * workers.get());
            handshake = sockets.split_off(workers.get());
        }
        Dispatch::User => {
            let filter = tunnel::garbage_filter();
            for socket in &sockets {
                sockopt::attach_filter(socket, &filter)
                    .map_err(refused("attach the garbage filter"))?;
            }
        }
    }
    Ok(TunnelGroup {
        local_addr,
        data: sockets,
        handshake,
        mixed,
        garbage,
        buffers,
    })
}

/// Binds one socket per worker to the `internal` address that SCION routers send to; port 0 picks
/// a free port.
///
/// # Errors
///
/// See [`BindError`].
pub fn bind_upstream_group(
    internal: SocketAddr,
    workers: NonZeroUsize,
    key: &DispatchKey,
    dispatch: Dispatch,
    options: &SocketOptions,
) -> Result<UpstreamGroup, BindError> {
    let worker_count = check_workers(workers)?;
    // The kernel takes a program for several sockets only; one needs none.
    let has_program = dispatch == Dispatch::Kernel && workers.get() > 1;
    let options = SocketOptions {
        gro: options.gro && !has_program,
        ..*options
    };
    let Bound {
        local_addr,
        sockets,
        buffers,
    } = bind_group(internal, workers.get(), &options)?;
    if let Some(socket) = sockets.first().filter(|_| has_program) {
        let program = upstream::dispatch_program(key, worker_count);
        sockopt::attach_reuseport_program(socket, &program).map_err(|source| {
            BindError::Refused {
                step: "attach the dispatch program",
                address: internal,
                source,
            }
        })?;
    }
    Ok(UpstreamGroup {
        local_addr,
        sockets,
        buffers,
    })
}

/// Binds one socket outside any group, for a client; port 0 picks a free port.
///
/// # Errors
///
/// See [`BindError`].
pub fn bind_client_socket(
    local: SocketAddr,
    options: &SocketOptions,
) -> Result<ShardSocket, BindError> {
    let (socket, local_addr) = bind(local, Sharing::None, options)?;
    Ok(ShardSocket::new(socket, local_addr, options.gso))
}

fn check_workers(workers: NonZeroUsize) -> Result<u32, BindError> {
    let too_many = BindError::TooManyWorkers {
        workers: workers.get(),
    };
    if workers.get() > MAX_WORKERS {
        return Err(too_many);
    }
    u32::try_from(workers.get()).map_err(|_| too_many)
}

/// Sockets that share an address, in the order of binding.
struct Bound {
    local_addr: SocketAddr,
    sockets: Vec<ShardSocket>,
    buffers: BufferReport,
}

/// Binds `members` sockets to `address`.
fn bind_group(
    address: SocketAddr,
    members: usize,
    options: &SocketOptions,
) -> Result<Bound, BindError> {
    let (first, local_addr) = bind(address, Sharing::None, options)?;
    first
        .set_reuse_port(true)
        .map_err(|source| BindError::Refused {
            step: "share the address",
            address,
            source,
        })?;
    let buffers = report_buffers(&first, options).map_err(|source| BindError::Refused {
        step: "read the buffer sizes",
        address,
        source,
    })?;
    let mut sockets = Vec::with_capacity(members);
    sockets.push(ShardSocket::new(first, local_addr, options.gso));
    for _ in 1..members {
        let (socket, _) = bind(local_addr, Sharing::Group, options)?;
        sockets.push(ShardSocket::new(socket, local_addr, options.gso));
    }
    Ok(Bound {
        local_addr,
        sockets,
        buffers,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    None,
    Group,
}

/// Binds one socket, and returns it with its real address.
fn bind(
    address: SocketAddr,
    sharing: Sharing,
    options: &SocketOptions,
) -> Result<(Socket, SocketAddr), BindError> {
    let refused = |step| {
        move |source| BindError::Refused {
            step,
            address,
            source,
        }
    };
    // socket2 sets close-on-exec.
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )
    .map_err(refused("create a socket"))?;
    socket
        .set_nonblocking(true)
        .map_err(refused("make a socket non-blocking"))?;
    if address.is_ipv6() {
        socket
            .set_only_v6(true)
            .map_err(refused("keep IPv4 out of an IPv6 socket"))?;
    }
    set_fragmentation(&socket, address).map_err(refused("choose about fragmentation"))?;
    if address.ip().is_unspecified() {
        report_local_address(&socket, address).map_err(refused("ask for local addresses"))?;
    }
    if options.gro {
        sockopt::set_number(&socket, libc::SOL_UDP, libc::UDP_GRO, 1)
            .map_err(refused("receive trains (UDP_GRO)"))?;
    }
    set_buffer(
        &socket,
        libc::SO_RCVBUFFORCE,
        libc::SO_RCVBUF,
        options.receive_buffer_bytes,
    )
    .map_err(refused("size the receive buffer"))?;
    set_buffer(
        &socket,
        libc::SO_SNDBUFFORCE,
        libc::SO_SNDBUF,
        options.send_buffer_bytes,
    )
    .map_err(refused("size the send buffer"))?;
    if sharing == Sharing::Group {
        socket
            .set_reuse_port(true)
            .map_err(refused("share the address"))?;
    }
    socket
        .bind(&address.into())
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::AddressInUse { address },
            _ => BindError::Refused {
                step: "bind a socket",
                address,
                source,
            },
        })?;
    let local_addr = socket
        .local_addr()
        .and_then(|local| {
            local
                .as_socket()
                .ok_or_else(|| io::ErrorKind::Unsupported.into())
        })
        .map_err(refused("read the bound address"))?;
    Ok((socket, local_addr))
}

/// Nothing is fragmented here: a datagram larger than the interface takes is refused (EMSGSIZE),
/// and its sender can be told.
///
/// IPv4: the limit is the interface's. Routers further on may fragment (the don't-fragment bit is
/// clear), as with WireGuard in Linux, and ICMP "fragmentation needed" is ignored: anybody can
/// forge it, and would cut a client off by a path MTU of 552.
///
/// IPv6: routers do not fragment, so the kernel must learn the path MTU. It never goes below 1280,
/// which bounds what a forged message can do.
fn set_fragmentation(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let (level, option, value) = match address {
        SocketAddr::V4(_) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_INTERFACE,
        ),
        SocketAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DO,
        ),
    };
    sockopt::set_number(socket, level, option, value)
}

/// Asks for the local address of each datagram.
fn report_local_address(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    sockopt::set_number(socket, level, option, 1)
}

/// Sizes a buffer beyond the system's limit when allowed to (CAP_NET_ADMIN), else within it.
fn set_buffer(
    socket: &Socket,
    force: libc::c_int,
    within_limit: libc::c_int,
    bytes: usize,
) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    sockopt::set_number(socket, libc::SOL_SOCKET, force, bytes)
        .or_else(|_| sockopt::set_number(socket, libc::SOL_SOCKET, within_limit, bytes))
}

fn report_buffers(socket: &Socket, options: &SocketOptions) -> io::Result<BufferReport> {
    // The kernel doubles what it is asked for, to have room for its own bookkeeping (socket(7)).
    Ok(BufferReport {
        receive: BufferSize {
            wanted_bytes: options.receive_buffer_bytes,
            got_bytes: socket.recv_buffer_size()? / 2,
        },
        send: BufferSize {
            wanted_bytes: options.send_buffer_bytes,
            got_bytes: socket.send_buffer_size()? / 2,
        },
    })
}
