//! Identities files that are not regular files.

use std::fs;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use testkit::identity;

use crate::gateway;

#[test]
fn a_pipe_in_place_of_the_file_is_a_failed_reload_without_effect_on_the_next() {
    let (first, second) = (identity(), identity());
    let setup = gateway().identities(&[&first]);
    let mut gateway = setup.start();
    mkfifo(&setup.path("pipe"), Mode::S_IRWXU).unwrap();
    fs::rename(setup.path("pipe"), setup.path("identities.toml")).unwrap();
    gateway.wait_for_log("file=identities.toml error=\"expected a regular file");
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("snapgate_identities_last_reload_successful"), 0);

    // The file is still checked, though it does not change.
    let checked = "snapgate_identities_last_check_timestamp_seconds";
    let before = metrics.sum(checked);
    assert!(before > 1_600_000_000);
    gateway.wait_for_metrics("another check", |metrics| metrics.sum(checked) > before);

    setup.replace_identities(&[&second]);
    gateway.wait_for_log("identities=1 added=1 removed=1 ");
}
