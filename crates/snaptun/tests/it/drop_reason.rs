//! Drop reasons as labels of metrics.

use std::collections::HashSet;

use snaptun::DropReason;

#[test]
fn every_reason_has_a_unique_index_and_name() {
    let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), DropReason::ALL.len());
    for (index, reason) in DropReason::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), index);
        assert!(
            reason
                .name()
                .chars()
                .all(|c| c.is_ascii_lowercase() || c == '_')
        );
    }
}
