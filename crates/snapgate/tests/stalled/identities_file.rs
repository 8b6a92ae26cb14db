//! Identities files that are no regular files.

use std::fs;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use testkit::identity;

use crate::gateway;

#[test]
fn a_pipe_in_place_of_the_file_is_a_failed_reload_and_does_not_stop_the_next() {
    let (first, second) = (identity(), identity());
    let setup = gateway().identities(&[&first]);
    let mut gateway = setup.start();
    mkfifo(&setup.path("pipe"), Mode::S_IRWXU).unwrap();
    fs::rename(setup.path("pipe"), setup.path("identities.toml")).unwrap();
    gateway.wait_for_log("identities.toml: expected a regular file");
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("snapgate_identities_last_reload_successful"), 0);

    // It is still looked at, though nothing changes.
    let checked = "snapgate_identities_last_check_timestamp_seconds";
    let before = metrics.sum(checked);
    assert!(before > 1_600_000_000);
    gateway.wait_for_metrics("another check", |metrics| metrics.sum(checked) > before);

    setup.replace_identities(&[&second]);
    gateway.wait_for_log("1 identities: 1 added, 1 removed");
}
