//! UDP between applications behind the SNAP and in another AS.

use snapgate_e2e::{Application, EchoServer, Record, SNAP_AS, Snap, SnapSetup, UDP_AS, exchange};

/// Round trips of a test.
const COUNT: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_snap_gets_every_datagram_back_from_another_as() {
    let snap = Snap::start().await;
    let record = client_to_other_as(&snap).await;
    println!("client behind the SNAP: {record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_the_snap_answers_every_datagram_from_another_as() {
    let snap = Snap::start().await;
    let record = other_as_to_server(&snap).await;
    println!("server behind the SNAP: {record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_works_in_both_directions() {
    let snap = SnapSetup::ipv6().start().await;
    let record = client_to_other_as(&snap).await;
    println!("client behind the SNAP, IPv6: {record}");
    let record = other_as_to_server(&snap).await;
    println!("server behind the SNAP, IPv6: {record}");
    let record = between_clients(&snap).await;
    println!("both behind the SNAP, IPv6: {record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_applications_of_the_snap_reach_each_other() {
    let snap = Snap::start().await;
    let record = between_clients(&snap).await;
    println!("both behind the SNAP: {record}");
    let metrics = snap.metrics();
    let hairpins = metrics.sum("snapgate_hairpin_packets_total");
    assert_eq!(hairpins, 2 * COUNT as u64);
    let towards_routers =
        metrics.sum_where("snapgate_sent_packets_total", &[("direction", "incoming")]);
    assert_eq!(towards_routers, 0);
}

async fn client_to_other_as(snap: &Snap) -> Record {
    let remote = snap.remote_application().await;
    assert_eq!(remote.address().isd_asn(), UDP_AS);
    let client = snap.application().await;
    assert_eq!(client.address().isd_asn(), SNAP_AS);
    run(snap, &client, &remote).await
}

async fn other_as_to_server(snap: &Snap) -> Record {
    let server = snap.application().await;
    let remote = snap.remote_application().await;
    run(snap, &remote, &server).await
}

async fn between_clients(snap: &Snap) -> Record {
    let [client, server] = [snap.application().await, snap.application().await];
    run(snap, &client, &server).await
}

async fn run(snap: &Snap, client: &Application, server: &Application) -> Record {
    let server = EchoServer::start(&server.socket);
    let record = exchange(&client.socket, server.address(), COUNT).await;
    record.assert_complete();
    snap.assert_no_drops();
    record
}
