//! What applications do before they send: discovery, registration, handshake and paths.

use std::time::Instant;

use scion_stack::path::fetcher::traits::PathFetcher as _;
use scion_stack::sciparse::path::ScionPath;
use snapgate_e2e::{Application, EchoServer, SNAP_AS, Snap, UDP_AS, exchange};
use tokio::task::JoinSet;

/// Applications that connect at once.
const CROWD: usize = 100;

/// Round trips of each of them.
const ROUND_TRIPS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_applications_connect_at_once() {
    let snap = Snap::start().await;
    let remote = snap.remote_application().await;
    let server = EchoServer::start(&remote.socket);
    let mut connecting = JoinSet::new();
    let start = Instant::now();
    for _ in 0..CROWD {
        let (url, token) = (snap.url().clone(), snap.token());
        connecting.spawn(async move {
            let application = Application::connect(&url, &token).await;
            (application, start.elapsed())
        });
    }
    let mut applications = Vec::new();
    let mut errors = Vec::new();
    for (application, took) in connecting.join_all().await {
        match application {
            Ok(application) => applications.push((application, took)),
            Err(error) => errors.push(error),
        }
    }
    if let Some(error) = errors.first() {
        panic!(
            "{} of {CROWD} did not connect: {error}\n{}",
            errors.len(),
            snap.metrics()
        );
    }
    let slowest = applications.iter().map(|(_, took)| *took).max().unwrap();
    println!("{CROWD} applications connected in {slowest:.1?}");

    let start = Instant::now();
    let mut lost = 0;
    for (application, _) in &applications {
        let record = exchange(&application.socket, server.address(), ROUND_TRIPS).await;
        lost += record.lost();
    }
    println!(
        "{ROUND_TRIPS} round trips of each of them: lost {lost}, took {:.1?}",
        start.elapsed()
    );
    assert_eq!(lost, 0);
    let metrics = snap.metrics();
    assert_eq!(metrics.sum("snapgate_tunnels"), CROWD as u64);
    snap.assert_no_drops();
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_come_from_the_segments_of_the_endhost_api() {
    let snap = Snap::start().await;
    let application = snap.application().await;
    let start = Instant::now();
    let fetcher = application.stack.create_path_fetcher();
    let paths = fetcher.fetch_paths(SNAP_AS, UDP_AS).await.unwrap();
    println!(
        "{} paths in {:.1?}: {:#?}",
        paths.len(),
        start.elapsed(),
        interfaces(&paths)
    );
    assert_eq!(
        interfaces(&paths),
        interfaces(&snap.network().paths(SNAP_AS, UDP_AS))
    );
    // The direct link and the detour.
    assert_eq!(paths.len(), 2);
}

/// Returns the interfaces of each path, in ascending order.
fn interfaces(paths: &[ScionPath]) -> Vec<String> {
    let format = |path: &ScionPath| {
        let mut text = String::new();
        path.format_interfaces(&mut text).unwrap();
        text
    };
    let mut all: Vec<String> = paths.iter().map(format).collect();
    all.sort_unstable();
    all
}
