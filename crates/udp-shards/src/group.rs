//! Binding the sockets of all workers to one address.
//!
//! The first socket is bound without SO_REUSEPORT, so binding fails if any other socket holds the
//! address, shared or not. Then SO_REUSEPORT is set and the other sockets join, if there are any. The kernel numbers the
//! sockets of a group in binding order, and the programs return these numbers, so a group must not
//! change: closing a socket would move the last one into its place.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use socket2::{Domain, Protocol, Socket, Type};

use crate::cbpf::tunnel::{self, Family};
use crate::cbpf::upstream;
use crate::options::{BufferReport, BufferSize};
use crate::sys::sockopt;
use crate::{Dispatch, DispatchKey, ShardSocket, SocketOptions};

/// Maximum number of workers in a group. The kernel counts a group's sockets, which are
/// 3 * workers + 1, in 16 bits.
pub const MAX_WORKERS: usize = 1024;

const _: () = assert!(3 * MAX_WORKERS < u16::MAX as usize);

/// The sockets of one listen address for tunnels, see [`bind_tunnel_group`].
///
/// Keep all sockets open for as long as one is in use, [`garbage`](Self::garbage) included: closing a member changes
/// the kernel's numbering of the others, and datagrams then arrive at the wrong socket. A worker polls its socket of
/// each kind, and may send from any of them.
#[derive(Debug)]
pub struct TunnelGroup {
    /// Address that all sockets are bound to, with the actual port.
    pub local_addr: SocketAddr,
    /// Data sockets, one per worker. With [`Dispatch::Kernel`] a worker's socket receives the trains
    /// from its addresses that begin with a data message (type 4); with [`Dispatch::User`] any train
    /// from any address.
    ///
    /// A train can contain datagrams of an attacker who forges the client's address: the kernel joins
    /// datagrams with equal addresses, ports, TTL and size, and the program sees only the first one.
    /// Authenticate every datagram of a train separately.
    pub data: Vec<ShardSocket>,
    /// Handshake sockets, one per worker: single handshake messages (types 1 to 3) from its addresses.
    /// A flood of them does not fill the buffers of the other sockets. Empty with [`Dispatch::User`].
    pub handshake: Vec<ShardSocket>,
    /// Sockets for all other trains, one per worker: trains from its addresses that begin with a handshake message or
    /// garbage, and may hold messages after it. Empty with [`Dispatch::User`].
    pub mixed: Vec<ShardSocket>,
    /// Socket at which [`Dispatch::Kernel`] drops trains that cannot hold a SNAPtun message. `None`
    /// with [`Dispatch::User`], where each data socket has a filter that drops them.
    pub garbage: Option<GarbageSocket>,
    /// Buffer sizes of each socket.
    pub buffers: BufferReport,
}

/// A member of a [`TunnelGroup`] that drops every datagram without queueing it.
#[derive(Debug)]
pub struct GarbageSocket {
    socket: ShardSocket,
}

impl GarbageSocket {
    /// Returns the number of datagrams dropped here since the socket was bound. A train counts once. See
    /// [`ShardSocket::kernel_drops`].
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.socket.kernel_drops()
    }
}

/// The sockets of one address that receives from SCION routers, see [`bind_upstream_group`].
///
/// Keep all sockets open for as long as one is in use: closing a member changes the kernel's numbering of the others,
/// and datagrams then arrive at the wrong socket.
#[derive(Debug)]
pub struct UpstreamGroup {
    /// Address that all sockets are bound to, with the actual port.
    pub local_addr: SocketAddr,
    /// Sockets, one per worker. With [`Dispatch::Kernel`] a worker's socket receives the SCION packets
    /// to the destinations (host, port) that it owns, and a share of those without a destination that
    /// the program can read; with [`Dispatch::User`] any packet.
    ///
    /// With [`Dispatch::Kernel`] and several workers these sockets ignore [`SocketOptions::gro`] and
    /// have no UDP_GRO: all packets of a router have the same addresses and ports, so the kernel would
    /// join packets for several workers into one train and deliver it to the owner of the first. Only
    /// GSO on the same host still produces such trains.
    pub sockets: Vec<ShardSocket>,
    /// Buffer sizes of each socket.
    pub buffers: BufferReport,
}

/// Why sockets could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket holds the address, shared (SO_REUSEPORT) or not.
    #[error("{address} is already in use by another socket")]
    AddressInUse {
        /// Requested address.
        address: SocketAddr,
    },
    /// More workers than [`MAX_WORKERS`].
    #[error("too many workers: {workers}, at most {MAX_WORKERS} in a group")]
    TooManyWorkers {
        /// Requested number.
        workers: usize,
    },
    /// A system call failed. The sockets bound so far are closed.
    #[error("cannot {step} for {address}: {source}")]
    Refused {
        /// Failed step as a verb phrase: "bind a socket".
        step: &'static str,
        /// Requested address.
        address: SocketAddr,
        /// Error of the system call.
        source: io::Error,
    },
}

/// Binds the sockets of `workers` workers to the address `listen` for tunnels; port 0 picks a free port.
///
/// The program is attached last, so datagrams that arrive before the function returns may be on the socket of another
/// worker, or on one of another kind.
///
/// IPv6 sockets receive no IPv4 (IPV6_V6ONLY); use a group for each family. On an unspecified address, received trains
/// have a [`local_ip`](crate::Received::local_ip). Datagrams are not fragmented locally: sending one that exceeds the
/// MTU of the interface, or over IPv6 the known MTU of the path, fails with
/// [`MessageTooLong`](crate::SendError::MessageTooLong). This holds for all sockets of this crate.
///
/// # Errors
///
/// [`BindError`] if another socket holds the address, `workers` exceeds [`MAX_WORKERS`], or a system call fails.
///
/// # Examples
///
/// ```
/// use std::num::NonZeroUsize;
/// use udp_shards::{Dispatch, DispatchKey, SocketOptions, bind_tunnel_group};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let workers = NonZeroUsize::new(4).ok_or("no workers")?;
/// let key = DispatchKey::random()?;
/// let options = SocketOptions::default();
/// let group = bind_tunnel_group("127.0.0.1:0".parse()?, workers, &key, Dispatch::Kernel, &options)?;
/// // Each worker's thread takes one socket of each kind.
/// assert_eq!((group.data.len(), group.handshake.len(), group.mixed.len()), (4, 4, 4));
/// # Ok(())
/// # }
/// ```
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
    } = bind_group(listen, members, Sharing::of(members), options)?;
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

/// Binds one socket per worker to the address `internal` that SCION routers send to; port 0 picks a free port.
///
/// With [`Dispatch::User`], and with one worker, the sockets have no program and receive datagrams of any protocol.
/// Otherwise the program is attached last, as in [`bind_tunnel_group`].
///
/// # Errors
///
/// [`BindError`] if another socket holds the address, `workers` exceeds [`MAX_WORKERS`], or a system call fails.
pub fn bind_upstream_group(
    internal: SocketAddr,
    workers: NonZeroUsize,
    key: &DispatchKey,
    dispatch: Dispatch,
    options: &SocketOptions,
) -> Result<UpstreamGroup, BindError> {
    let worker_count = check_workers(workers)?;
    // A single socket needs no program, and the kernel accepts one for several sockets only.
    let has_program = dispatch == Dispatch::Kernel && workers.get() > 1;
    let options = SocketOptions {
        gro: options.gro && !has_program,
        ..*options
    };
    let Bound {
        local_addr,
        sockets,
        buffers,
    } = bind_group(
        internal,
        workers.get(),
        Sharing::of(workers.get()),
        &options,
    )?;
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

/// Binds a single socket, for a client, or for a server with one thread; port 0 picks a free port. It is not connected,
/// has no filter, and receives datagrams of any protocol.
///
/// # Errors
///
/// [`BindError`] if another socket holds the address or a system call fails.
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

/// Sockets that share an address, in binding order.
struct Bound {
    local_addr: SocketAddr,
    sockets: Vec<ShardSocket>,
    buffers: BufferReport,
}

/// Binds `members` sockets to `address`, which later sockets can join if `sharing` is [`Sharing::Group`].
fn bind_group(
    address: SocketAddr,
    members: usize,
    sharing: Sharing,
    options: &SocketOptions,
) -> Result<Bound, BindError> {
    let (first, local_addr) = bind(address, Sharing::None, options)?;
    if sharing == Sharing::Group {
        first
            .set_reuse_port(true)
            .map_err(|source| BindError::Refused {
                step: "set SO_REUSEPORT",
                address,
                source,
            })?;
    }
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

impl Sharing {
    /// A single socket stays exclusive: without a program, the kernel would give a share of its datagrams to a socket
    /// that another process of the same user adds.
    const fn of(members: usize) -> Self {
        if members > 1 { Self::Group } else { Self::None }
    }
}

/// Binds one socket, and returns it with its actual address.
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
            .map_err(refused("restrict a socket to IPv6"))?;
    }
    set_fragmentation(&socket, address).map_err(refused("set path MTU discovery"))?;
    if address.ip().is_unspecified() {
        report_local_address(&socket, address).map_err(refused("request local addresses"))?;
    }
    if options.gro {
        sockopt::set_number(&socket, libc::SOL_UDP, libc::UDP_GRO, 1)
            .map_err(refused("enable UDP_GRO"))?;
    }
    set_buffer(
        &socket,
        libc::SO_RCVBUFFORCE,
        libc::SO_RCVBUF,
        options.receive_buffer_bytes,
    )
    .map_err(refused("set the receive buffer size"))?;
    set_buffer(
        &socket,
        libc::SO_SNDBUFFORCE,
        libc::SO_SNDBUF,
        options.send_buffer_bytes,
    )
    .map_err(refused("set the send buffer size"))?;
    if sharing == Sharing::Group {
        socket
            .set_reuse_port(true)
            .map_err(refused("set SO_REUSEPORT"))?;
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

/// Disables local fragmentation: sending a datagram larger than the limit fails with EMSGSIZE, which the caller can
/// report to its sender.
///
/// IPv4: the limit is the interface's MTU. Routers on the path may fragment (the don't-fragment bit is
/// clear), as with WireGuard in Linux. ICMP "fragmentation needed" is ignored: a forged one would cut
/// a client off with a path MTU of 552.
///
/// IPv6: routers do not fragment, so the kernel must learn the path MTU. It never goes below 1280,
/// which limits the effect of a forged message.
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

/// Requests the local address of each datagram.
fn report_local_address(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    sockopt::set_number(socket, level, option, 1)
}

/// Sets a buffer size: beyond the system's limit with CAP_NET_ADMIN, otherwise up to the limit.
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
    // The kernel doubles the requested size, for its own bookkeeping (socket(7)).
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
