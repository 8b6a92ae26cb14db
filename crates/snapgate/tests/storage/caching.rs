//! A network file system on which the kernel returns old names and attributes.

use testkit::{GatewaySetup, identity, may_mount};

use crate::{OnFuse, gateway};

/// An hour, longer than any test waits.
const CACHED_FOR: u64 = 3600;

/// Returns the text of an identities file.
fn text_of(setup: &GatewaySetup) -> String {
    std::fs::read_to_string(setup.path("identities.toml")).unwrap()
}

#[test]
fn a_removed_identity_is_cut_off_while_attributes_are_cached() {
    if !may_mount("a_removed_identity_is_cut_off_while_attributes_are_cached") {
        return;
    }
    let (removed, other) = (identity(), identity());
    // Files of the same length, and of another.
    let same_length = text_of(&gateway().identities(&[&other]));
    let shorter = text_of(&gateway().identities(&[]));
    for is_replaced in [false, true] {
        for text in [&same_length, &shorter] {
            let setup = gateway().identities(&[&removed]);
            let storage = OnFuse::with_identities(setup, CACHED_FOR);
            let mut client = storage.gateway.connect(&removed);
            client.send(b"before");
            assert_eq!(client.receive(), b"before");
            if is_replaced {
                storage.fuse.replace("identities.toml", text);
            } else {
                storage.fuse.write("identities.toml", text);
            }
            let revoked = storage.gateway.wait_for_metrics("a revocation", |metrics| {
                metrics.sum_where("snapgate_tunnel_changes_total", &[("change", "revoked")]) == 1
            });
            assert_eq!(revoked.sum("snapgate_identities_last_reload_successful"), 1);
        }
    }
}
