//! Names of the reasons in metrics.

use scion_packet::scmp::NoAnswer;
use scion_packet::{MalformedPacket, NoDeliveryPort, NoEgressInterface, PolicyViolation};

macro_rules! assert_closed {
    ($($enum:ident),+) => {$(
        for (position, reason) in $enum::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), position);
            assert!(
                reason.name().bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')),
                "{} is not a metric label",
                reason.name(),
            );
            let same_name = $enum::ALL.iter().filter(|other| other.name() == reason.name());
            assert_eq!(same_name.count(), 1);
            assert!(!reason.to_string().is_empty());
        }
    )+};
}

#[test]
fn reasons_have_distinct_indexes_and_names() {
    assert_closed!(
        MalformedPacket,
        PolicyViolation,
        NoDeliveryPort,
        NoEgressInterface,
        NoAnswer
    );
}
