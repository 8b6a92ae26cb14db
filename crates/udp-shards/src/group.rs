//! Binding the sockets of all workers to one address.
//!
//! The first socket is bound without SO_REUSEPORT, so binding fails if any other socket holds the
//! address, shared or not. Then SO_REUSEPORT is set and the other sockets join, if there are any. The kernel numbers the
//! sockets of a group in binding order, and the programs return these numbers, so those sockets must not
//! be closed: the last one would move into the place of a closed one.
//!
//! Sockets that join later get higher numbers, which no program returns, so they can be closed: only other late sockets
//! change their numbers.
//!
//! The kernel accepts a program only for a group of two sockets or more, and a socket receives as soon as it
//! is bound. So sockets of a group with a program are bound with a filter that drops everything, and the
//! filters are detached after the program is attached: no datagram arrives at a socket that the program did
//! not select.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use closed_enum::closed_enum;
use socket2::{Domain, Protocol, Socket, Type};

use crate::cbpf::tunnel::{self, Family};
use crate::cbpf::upstream;
use crate::options::{BufferReport, BufferSize};
use crate::sys::sockopt;
use crate::{Dispatch, DispatchKey, InterfaceName, ShardSocket, SocketOptions};

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
    /// Returns the number of datagrams dropped here since the group was bound. A train counts once. See
    /// [`ShardSocket::kernel_drops`].
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.socket.kernel_drops()
    }
}

/// The sockets of one address that receives from SCION routers, see [`bind_upstream_group`].
///
/// Keep all [`sockets`](Self::sockets) open for as long as one is in use: closing a member changes the kernel's
/// numbering of the others, and datagrams then arrive at the wrong socket. Lanes can be closed.
#[derive(Debug)]
pub struct UpstreamGroup {
    /// Address that all sockets are bound to, with the actual port.
    pub local_addr: SocketAddr,
    /// Sockets, one per worker. With [`Dispatch::Kernel`] a worker's socket receives the SCION packets
    /// to the destinations (host, port) that it owns, and a random share of those without a destination
    /// that the program can read; with [`Dispatch::User`] any packet.
    ///
    /// With [`Dispatch::Kernel`] and several workers these sockets ignore [`SocketOptions::gro`] and
    /// have no UDP_GRO: all packets of a router have the same addresses and ports, so the kernel would
    /// join packets for several workers into one train and deliver it to the owner of the first. Only
    /// GSO on the same host still produces such trains.
    pub sockets: Vec<ShardSocket>,
    /// Binds lanes to the same address.
    pub lanes: LaneBinder,
    /// Buffer sizes of each socket.
    pub buffers: BufferReport,
}

/// Binds lanes: further members of an [`UpstreamGroup`], to send from.
///
/// Datagrams that have not left the host fill the send buffer of their socket, for example while the kernel waits for an
/// answer to ARP: up to 212,992 bytes for each destination (`unres_qlen_bytes`), for about three seconds. From one
/// socket, destinations that do not answer therefore delay all others. A lane is a socket for one destination, whose
/// datagrams have the same source address and port as those of the group.
#[derive(Clone, Debug)]
pub struct LaneBinder {
    address: SocketAddr,
    options: SocketOptions,
}

impl LaneBinder {
    /// Binds a lane, at any time while the group is open. It can be closed at any time.
    ///
    /// With [`Dispatch::Kernel`] a lane receives nothing, because the program selects the sockets of the workers only.
    /// With [`Dispatch::User`] the kernel selects among all members, so read lanes as well, also before closing one:
    /// datagrams in its receive buffer are lost. Do not [connect](ShardSocket::connect) a lane: that makes the kernel's
    /// search for the socket of a datagram slower, and changes its result.
    ///
    /// # Errors
    ///
    /// [`BindError::Refused`] if a system call fails, for example because too many files are open. The group is not
    /// affected.
    pub fn bind(&self) -> Result<ShardSocket, BindError> {
        let (socket, local_addr) = bind(self.address, Sharing::Group, &self.options, Gate::Open)?;
        Ok(ShardSocket::new(socket, local_addr, self.options.gso))
    }
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
    /// A socket cannot be bound to [`SocketOptions::interface`].
    #[error("cannot bind a socket for {address} to the interface {interface}: {source}")]
    Interface {
        /// Requested interface.
        interface: InterfaceName,
        /// Requested address.
        address: SocketAddr,
        /// Error of the system call.
        source: io::Error,
    },
    /// Another system call failed. The sockets bound so far are closed.
    #[error("cannot {step} for {address}: {source}")]
    Refused {
        /// Failed step.
        step: BindStep,
        /// Requested address.
        address: SocketAddr,
        /// Error of the system call.
        source: io::Error,
    },
}

closed_enum! {
    /// A step of binding sockets, as a verb phrase.
    pub enum BindStep {
        CreateSocket: "create_socket", "create a socket";
        SetNonBlocking: "set_non_blocking", "make a socket non-blocking";
        RestrictToIpv6: "restrict_to_ipv6", "restrict a socket to IPv6";
        SetPathMtuDiscovery: "set_path_mtu_discovery", "set path MTU discovery";
        RequestLocalAddresses: "request_local_addresses", "request local addresses";
        EnableGro: "enable_gro", "enable UDP_GRO";
        SetReceiveBuffer: "set_receive_buffer", "set the receive buffer size";
        SetSendBuffer: "set_send_buffer", "set the send buffer size";
        SetReusePort: "set_reuse_port", "set SO_REUSEPORT";
        Bind: "bind", "bind a socket";
        ReadAddress: "read_address", "read the bound address";
        ReadBuffers: "read_buffers", "read the buffer sizes";
        /// A filter that drops everything while the group is being bound, or garbage.
        AttachFilter: "attach_filter", "attach a socket filter";
        AttachProgram: "attach_program", "attach the dispatch program";
        DetachFilter: "detach_filter", "detach a socket filter";
    }
}

/// Binds the sockets of `workers` workers to the address `listen` for tunnels; port 0 picks a free port.
///
/// With [`Dispatch::Kernel`], datagrams that arrive before the function returns are lost, or are on the socket that the
/// program selected.
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
    let refused = |step| refusal(step, listen);
    let gate = match dispatch {
        Dispatch::Kernel => Gate::Closed,
        Dispatch::User => Gate::Open,
    };
    let bound = bind_group(listen, members, Sharing::of(members), options, gate)?;
    let mut handshake = Vec::new();
    let mut mixed = Vec::new();
    let mut garbage = None;
    let Bound {
        local_addr,
        mut sockets,
        buffers,
    } = bound;
    match dispatch {
        Dispatch::Kernel => {
            let family = if listen.is_ipv4() {
                Family::V4
            } else {
                Family::V6
            };
            let program = tunnel::dispatch_program(key, worker_count, family);
            let last = sockets.pop();
            if let Some(last) = &last {
                sockopt::attach_reuseport_program(last, &program)
                    .map_err(refused(BindStep::AttachProgram))?;
            }
            // The garbage socket keeps its filter.
            open(&sockets).map_err(refused(BindStep::DetachFilter))?;
            garbage = last.map(|socket| GarbageSocket {
                socket: ShardSocket::new(socket, local_addr, options.gso),
            });
            mixed = sockets.split_off(2 * workers.get());
            handshake = sockets.split_off(workers.get());
        }
        Dispatch::User => {
            let filter = tunnel::garbage_filter();
            for socket in &sockets {
                sockopt::attach_filter(socket, &filter).map_err(refused(BindStep::AttachFilter))?;
            }
        }
    }
    let shard_sockets = |sockets: Vec<Socket>| {
        let wrap = |socket| ShardSocket::new(socket, local_addr, options.gso);
        sockets.into_iter().map(wrap).collect()
    };
    Ok(TunnelGroup {
        local_addr,
        data: shard_sockets(sockets),
        handshake: shard_sockets(handshake),
        mixed: shard_sockets(mixed),
        garbage,
        buffers,
    })
}

/// Binds one socket per worker to the address `internal` that SCION routers send to; port 0 picks a free port.
///
/// With [`Dispatch::User`] the sockets have no program and receive datagrams of any protocol; so does the socket of one
/// worker. With [`Dispatch::Kernel`], datagrams that arrive before the function returns are lost, or are on the socket
/// that the program selected.
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
    let options = SocketOptions {
        gro: options.gro && (dispatch == Dispatch::User || workers.get() == 1),
        ..*options
    };
    let has_program = dispatch == Dispatch::Kernel;
    let gate = if has_program {
        Gate::Closed
    } else {
        Gate::Open
    };
    // The kernel accepts a program only once a second socket has joined. The group stays one after it has left.
    let members = workers.get().max(if has_program { 2 } else { 1 });
    let Bound {
        local_addr,
        mut sockets,
        buffers,
    } = bind_group(internal, members, Sharing::Group, &options, gate)?;
    if let Some(socket) = sockets.first().filter(|_| has_program) {
        let program = upstream::dispatch_program(key, worker_count);
        sockopt::attach_reuseport_program(socket, &program)
            .map_err(refusal(BindStep::AttachProgram, internal))?;
        sockets.truncate(workers.get());
        open(&sockets).map_err(refusal(BindStep::DetachFilter, internal))?;
    }
    Ok(UpstreamGroup {
        local_addr,
        sockets: sockets
            .into_iter()
            .map(|socket| ShardSocket::new(socket, local_addr, options.gso))
            .collect(),
        lanes: LaneBinder {
            address: local_addr,
            options,
        },
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
    let (socket, local_addr) = bind(local, Sharing::None, options, Gate::Open)?;
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
    sockets: Vec<Socket>,
    buffers: BufferReport,
}

/// Binds `members` sockets to `address`, which later sockets can join if `sharing` is [`Sharing::Group`].
fn bind_group(
    address: SocketAddr,
    members: usize,
    sharing: Sharing,
    options: &SocketOptions,
    gate: Gate,
) -> Result<Bound, BindError> {
    let (first, local_addr) = bind(address, Sharing::None, options, gate)?;
    if sharing == Sharing::Group {
        first
            .set_reuse_port(true)
            .map_err(refusal(BindStep::SetReusePort, address))?;
    }
    let buffers =
        report_buffers(&first, options).map_err(refusal(BindStep::ReadBuffers, address))?;
    let mut sockets = Vec::with_capacity(members);
    sockets.push(first);
    for _ in 1..members {
        let (socket, _) = bind(local_addr, Sharing::Group, options, gate)?;
        sockets.push(socket);
    }
    Ok(Bound {
        local_addr,
        sockets,
        buffers,
    })
}

/// Lets sockets receive that were bound with [`Gate::Closed`].
fn open(sockets: &[Socket]) -> io::Result<()> {
    sockets.iter().try_for_each(sockopt::detach_filter)
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

/// Whether a socket receives as soon as it is bound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// A filter drops everything.
    Closed,
}

/// Returns the conversion of a system call's error.
fn refusal(step: BindStep, address: SocketAddr) -> impl Fn(io::Error) -> BindError {
    move |source| BindError::Refused {
        step,
        address,
        source,
    }
}

/// Binds one socket, and returns it with its actual address.
fn bind(
    address: SocketAddr,
    sharing: Sharing,
    options: &SocketOptions,
    gate: Gate,
) -> Result<(Socket, SocketAddr), BindError> {
    let refused = |step| refusal(step, address);
    // socket2 sets close-on-exec.
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )
    .map_err(refused(BindStep::CreateSocket))?;
    socket
        .set_nonblocking(true)
        .map_err(refused(BindStep::SetNonBlocking))?;
    if address.is_ipv6() {
        socket
            .set_only_v6(true)
            .map_err(refused(BindStep::RestrictToIpv6))?;
    }
    set_fragmentation(&socket, address).map_err(refused(BindStep::SetPathMtuDiscovery))?;
    if address.ip().is_unspecified() {
        report_local_address(&socket, address).map_err(refused(BindStep::RequestLocalAddresses))?;
    }
    if options.gro {
        sockopt::set_number(&socket, libc::SOL_UDP, libc::UDP_GRO, 1)
            .map_err(refused(BindStep::EnableGro))?;
    }
    sockopt::set_receive_buffer(&socket, options.receive_buffer_bytes)
        .map_err(refused(BindStep::SetReceiveBuffer))?;
    sockopt::set_send_buffer(&socket, options.send_buffer_bytes)
        .map_err(refused(BindStep::SetSendBuffer))?;
    if let Some(interface) = options.interface {
        socket
            .bind_device(Some(interface.as_str().as_bytes()))
            .map_err(|source| BindError::Interface {
                interface,
                address,
                source,
            })?;
    }
    if gate == Gate::Closed {
        sockopt::attach_filter(&socket, &tunnel::drop_all_filter())
            .map_err(refused(BindStep::AttachFilter))?;
    }
    if sharing == Sharing::Group {
        socket
            .set_reuse_port(true)
            .map_err(refused(BindStep::SetReusePort))?;
    }
    socket
        .bind(&address.into())
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::AddressInUse { address },
            _ => refusal(BindStep::Bind, address)(source),
        })?;
    let local_addr = socket
        .local_addr()
        .and_then(|local| {
            local
                .as_socket()
                .ok_or_else(|| io::ErrorKind::Unsupported.into())
        })
        .map_err(refused(BindStep::ReadAddress))?;
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
