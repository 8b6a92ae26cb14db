//! Test of the commands in `docs/TUTORIAL.md`, with a client of the crate `snap-tun`.

use std::path::Path;

use testkit::documents::check_examples;

#[test]
fn the_tutorial_works_as_it_is_written() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/TUTORIAL.md");
    let programs = [
        (
            "snapgate",
            Path::new(env!("CARGO_BIN_EXE_snapgate-to-kill")),
        ),
        (
            "snap-tun-client",
            Path::new(env!("CARGO_BIN_EXE_snap-tun-client")),
        ),
    ];
    check_examples(&document, &programs);
}
