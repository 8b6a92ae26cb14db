//! An endhost API that fails.

use std::time::Instant;

use scion_stack::path::fetcher::traits::PathFetcher as _;
use snapgate_e2e::{
    Application, EchoServer, RelayMode, SNAP_AS, Snap, Stream, UDP_AS, error_chain, in_time,
};

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_and_registrations_go_on_while_the_endhost_api_is_down() {
    while_it_fails(RelayMode::Close).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_and_registrations_go_on_while_the_endhost_api_hangs() {
    while_it_fails(RelayMode::Hang).await;
}

async fn while_it_fails(mode: RelayMode) {
    let snap = Snap::start().await;
    let remote = snap.remote_application().await;
    let server = EchoServer::start(&remote.socket);
    let application = snap.application().await;
    let mut stream = Stream::start(&application.socket, server.address());
    stream.more(10).await;

    snap.endhost_api().set(mode);
    let start = Instant::now();
    let error = paths(&application).await.unwrap_err();
    println!("{mode:?}: no paths after {:.1?}: {error}", start.elapsed());
    assert!(error.contains("Unavailable"), "{error}");
    // Registration and handshake do not need it.
    let start = Instant::now();
    let new = snap.application().await;
    println!(
        "{mode:?}: another application connected in {:.1?}",
        start.elapsed()
    );
    stream.more(50).await;

    snap.endhost_api().set(RelayMode::Forward);
    assert_eq!(paths(&new).await.unwrap(), 2);
    let record = stream.finish().await;
    println!("{mode:?}: {record}");
    record.assert_complete();
    snap.assert_no_drops();
}

/// Asks for paths, and returns their number.
async fn paths(application: &Application) -> Result<usize, String> {
    let fetcher = application.stack.create_path_fetcher();
    let paths = in_time("paths", fetcher.fetch_paths(SNAP_AS, UDP_AS)).await;
    paths
        .map(|paths| paths.len())
        .map_err(|error| error_chain(&error))
}
