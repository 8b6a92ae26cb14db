//! Identities files that are no regular files.

use std::fs;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::stall::wait_until;
use crate::workspace::{Workspace, identity, metrics};

#[test]
fn a_pipe_in_place_of_the_file_is_a_failed_reload_and_does_not_stop_the_next() {
    let (first, second) = (identity(), identity());
    let workspace = Workspace::new(&[&first]);
    let mut process = workspace.start(&["--forward=echo"]);
    mkfifo(&workspace.path("pipe"), Mode::S_IRWXU).unwrap();
    fs::rename(workspace.path("pipe"), workspace.path("identities.toml")).unwrap();
    process.wait_for("identities.toml: is a pipe and not a regular file");
    let metric = |name| crate::http::sum(&crate::http::get(metrics(&process), "/metrics").1, name);
    assert_eq!(metric("snapgate_identities_last_reload_successful"), 0);

    // It is still looked at, though nothing changes.
    let checked = "snapgate_identities_last_check_timestamp_seconds";
    let before = metric(checked);
    assert!(before > 1_600_000_000);
    wait_until("another check", || metric(checked) > before);

    workspace.list(&[&second]);
    process.wait_for("1 identities: 1 added, 1 removed");
}
