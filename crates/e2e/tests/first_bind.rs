//! The time to the first socket of an application.
//!
//! A separate test program, so that no other test runs at the same time.

use std::time::{Duration, Instant};

use snapgate_e2e::Snap;

/// Applications that connect one after the other.
const APPLICATIONS: usize = 10;

/// Limit for the fastest one; others may have waited for a busy host. If registrations were not in force when they are
/// answered, all of them would wait for the second initiation of the client, which it sends after 5 s.
const LIMIT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn an_application_with_a_token_binds_its_first_socket_without_waiting() {
    let snap = Snap::start().await;
    let mut times = Vec::new();
    for _ in 0..APPLICATIONS {
        let token = snap.token();
        let start = Instant::now();
        let application = snap.application_with(&token).await;
        times.push(start.elapsed());
        drop(application);
    }
    times.sort_unstable();
    println!("stack built and first socket bound, {APPLICATIONS} applications: {times:.1?}");
    assert!(times[0] <= LIMIT, "{times:?}");
    snap.assert_no_drops();
}
