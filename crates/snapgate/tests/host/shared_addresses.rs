//! Other processes on the host that use or want the gateway's addresses.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketType};
use testkit::packets::{LOCAL, from_remote};
use testkit::{Client, GatewayProcess, GatewaySetup, Router, identity, own_address};
use udp_shards::Dispatch;

const CLIENTS: usize = 20;

/// Binds a UDP socket to the IPv4 address `address` together with other sockets of the same user, if these allow it.
fn join(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket: OwnedFd = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    let socket = UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn serve(client: &mut Client) {
    client.send(b"there and back");
    assert_eq!(client.receive(), b"there and back");
}

#[test]
fn a_second_gateway_does_not_start_and_the_first_serves() {
    let setup = crate::gateway();
    let first = setup.start();
    let mut client = first.connect(&identity());
    let second = setup.spawn().wait();
    assert_eq!(second.code, Some(1), "{second:?}");
    let address = first.listen_address();
    let error = format!("error: cannot listen: {address} is already in use by another socket");
    assert!(second.log.contains(&error), "{second:?}");
    serve(&mut client);
    serve(&mut first.connect(&identity()));
}

#[test]
fn a_metrics_address_in_use_is_an_error_with_a_remedy() {
    let setup = crate::gateway();
    let _taken = TcpListener::bind(setup.metrics_address()).unwrap();
    let ended = setup.spawn().wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let error = format!(
        "error: cannot serve metrics on {}: Address already in use",
        setup.metrics_address()
    );
    assert!(ended.log.contains(&error), "{ended:?}");
    assert!(ended.log.contains("(ss -l"), "{ended:?}");
}

#[test]
fn an_internal_address_in_use_is_an_error_with_a_remedy() {
    let taken = UdpSocket::bind(own_address()).unwrap();
    let address = taken.local_addr().unwrap();
    let ended = with_router(&Router::bind())
        .argument(format!("--internal={address}"))
        .spawn()
        .wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let error = format!("error: cannot listen: {address} is already in use by another socket");
    assert!(ended.log.contains(&error), "{ended:?}");
}

fn with_router(router: &Router) -> GatewaySetup {
    crate::gateway()
        .forward("scion")
        .argument(format!("--next-hop={LOCAL}#1={}", router.address()))
}

fn serve_all(gateway: &GatewayProcess) -> Vec<Client> {
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| gateway.connect(&identity())).collect();
    clients.iter_mut().for_each(serve);
    clients
}

/// Checks that a socket that joined an address, if that was possible at all, has received nothing.
fn assert_received_nothing(joined: Option<UdpSocket>) {
    let received = joined.map(|socket| socket.recv(&mut [0]).map_err(|error| error.kind()));
    assert!(
        matches!(received, None | Some(Err(ErrorKind::WouldBlock))),
        "{received:?}"
    );
}

/// The dispatch program never selects a socket that joined later.
#[test]
fn a_process_of_the_same_user_that_joins_the_listener_receives_nothing() {
    for workers in [1, 2] {
        let gateway = crate::gateway().workers(workers).start();
        let mut clients = serve_all(&gateway);
        let joined = join(gateway.listen_address()).ok();
        clients.iter_mut().for_each(serve);
        clients.extend(serve_all(&gateway));
        assert_received_nothing(joined);
        // It has left.
        clients.iter_mut().for_each(serve);
    }
}

#[test]
fn a_process_of_the_same_user_that_joins_the_internal_address_receives_nothing() {
    for workers in [1, 2] {
        let routers: Vec<_> = (0..CLIENTS).map(|_| Router::bind()).collect();
        let internal = own_address();
        let gateway = with_router(&routers[0])
            .workers(workers)
            .argument(format!("--internal={internal}"))
            .argument("--internal-from=127.0.0.0/8")
            .start();
        let mut client = gateway.connect(&identity());
        let packet = from_remote(client.address());
        let joined = join(internal).ok();
        // The kernel alone would select the socket by the router's port.
        for router in &routers {
            router.send_to(&packet, internal);
            assert_eq!(client.receive(), packet);
        }
        assert_received_nothing(joined);
    }
}

/// Without a program, the kernel would spread the clients over both processes.
#[test]
fn no_process_can_join_a_listener_with_one_socket() {
    let gateway = crate::gateway().dispatch(Dispatch::User).start();
    let refused = join(gateway.listen_address()).map_err(|error| error.kind());
    assert!(matches!(refused, Err(ErrorKind::AddrInUse)), "{refused:?}");
    serve_all(&gateway);
}
