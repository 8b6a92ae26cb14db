//! SCMP echo through the SNAP.

use std::net::Ipv4Addr;
use std::time::Instant;

use scion_stack::ScmpScionSocket;
use scion_stack::path::fetcher::traits::PathFetcher as _;
use scion_stack::sciparse::address::ip_socket_addr::ScionSocketIpAddr;
use scion_stack::sciparse::path::ScionPath;
use scion_stack::sciparse::payload::scmp::model::{ScmpEchoReply, ScmpEchoRequest};
use scion_stack::sciparse::payload::scmp::view::ScmpMessageView;
use snapgate_e2e::{SNAP_AS, Snap, UDP_AS, in_time};

/// Requests in each direction.
const COUNT: u16 = 100;

const DATA: &[u8] = b"echo this";

/// PocketSCION delivers requests and replies to the port in their identifier, and the gateway demands that it is the
/// port of the tunnel. So both sockets have the same port, at different addresses of loopback.
#[tokio::test(flavor = "multi_thread")]
async fn echo_requests_and_replies_pass_in_both_directions() {
    let snap = Snap::start().await;
    let application = snap.application().await;
    let behind_snap = application.stack.bind_scmp(None).await.unwrap();
    let port = behind_snap.local_addr().port();
    let remote = snap.remote_application().await;
    let address = ScionSocketIpAddr::new(UDP_AS, Ipv4Addr::new(127, 0, 0, 2).into(), port);
    let outside = remote.stack.bind_scmp(Some(address)).await.unwrap();

    let fetcher = application.stack.create_path_fetcher();
    let paths = fetcher.fetch_paths(SNAP_AS, UDP_AS).await.unwrap();
    ping("from behind the SNAP", &behind_snap, &outside, &paths[0]).await;
    let fetcher = remote.stack.create_path_fetcher();
    let paths = fetcher.fetch_paths(UDP_AS, SNAP_AS).await.unwrap();
    ping("to behind the SNAP", &outside, &behind_snap, &paths[0]).await;
    snap.assert_no_drops();
}

/// Sends requests one after the other, and checks that each is answered.
async fn ping(what: &str, from: &ScmpScionSocket, to: &ScmpScionSocket, path: &ScionPath) {
    let start = Instant::now();
    let identifier = from.local_addr().port();
    for sequence in 0..COUNT {
        let request = ScmpEchoRequest::new(identifier, sequence, DATA.to_vec());
        let destination = to.local_addr().scion_addr();
        let sent = from.send_to_via(request.into(), destination, path).await;
        sent.unwrap();
        in_time("an echo request", answer(to)).await;

        let (reply, sender) = in_time("an echo reply", from.recv_from()).await.unwrap();
        assert_eq!(sender, destination);
        let ScmpMessageView::EchoReply(reply) = reply.message() else {
            panic!("another message: {:?}", reply.message());
        };
        assert_eq!(
            (reply.identifier(), reply.sequence_number()),
            (identifier, sequence)
        );
        assert_eq!(reply.data(), DATA);
    }
    println!(
        "{COUNT} echo requests {what}, lost 0, took {:.1?}",
        start.elapsed()
    );
}

/// Answers the next request.
async fn answer(socket: &ScmpScionSocket) {
    let (request, sender, path) = socket.recv_from_with_path().await.unwrap();
    let ScmpMessageView::EchoRequest(request) = request.message() else {
        panic!("another message: {:?}", request.message());
    };
    let reply = ScmpEchoReply::new(
        request.identifier(),
        request.sequence_number(),
        request.data().to_vec(),
    );
    let Ok(back) = path.try_into_reversed() else {
        panic!("a path that cannot be reversed");
    };
    socket
        .send_to_via(reply.into(), sender, &back)
        .await
        .unwrap();
}
