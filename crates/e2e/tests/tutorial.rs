//! Test of the commands in `docs/TUTORIAL-SNAP.md`.

use std::path::Path;

use snapgate_e2e::snapgate;
use testkit::documents::check_examples;

#[test]
fn the_tutorial_works_as_it_is_written() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/TUTORIAL-SNAP.md");
    let gateway = snapgate();
    let programs = [
        ("snapgate", gateway.as_path()),
        (
            "scion-network",
            Path::new(env!("CARGO_BIN_EXE_scion-network")),
        ),
        ("scion-echo", Path::new(env!("CARGO_BIN_EXE_scion-echo"))),
    ];
    check_examples(&document, &programs);
}
