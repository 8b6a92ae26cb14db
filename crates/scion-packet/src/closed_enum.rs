//! Reasons as closed enums: every one can be counted in an array and named in a metric.

/// Declares a field-less enum of reasons. Each variant has a `snake_case` name, for the label of a
/// metric, and a message, which is its `Display`.
macro_rules! closed_enum {
    (
        $(#[$meta:meta])*
        pub enum $enum:ident {
            $($(#[$variant_meta:meta])* $variant:ident: $name:literal, $message:literal;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $enum {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $enum {
            /// Every variant; each one stands at its [`index`](Self::index).
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Position in [`ALL`](Self::ALL): for an array of counters.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// Name in `snake_case`, for the label of a metric.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $message,)+
                })
            }
        }

        impl std::error::Error for $enum {}
    };
}

pub(crate) use closed_enum;

#[cfg(test)]
mod tests {
    use crate::scmp::NoAnswer;
    use crate::{MalformedPacket, NoDeliveryPort, NoEgressInterface, PolicyViolation};

    macro_rules! assert_closed {
        ($($enum:ident),+) => {$(
            for (position, reason) in $enum::ALL.into_iter().enumerate() {
                assert_eq!(reason.index(), position);
                assert!(
                    reason.name().bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')),
                    "{} is no metric label",
                    reason.name(),
                );
                let same_name = $enum::ALL.iter().filter(|other| other.name() == reason.name());
                assert_eq!(same_name.count(), 1);
                assert!(!reason.to_string().is_empty());
            }
        )+};
    }

    #[test]
    fn every_reason_stands_at_its_index_and_has_a_name_of_its_own() {
        assert_closed!(
            MalformedPacket,
            PolicyViolation,
            NoDeliveryPort,
            NoEgressInterface,
            NoAnswer
        );
    }
}
