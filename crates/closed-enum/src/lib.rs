//! Enums of reasons: each variant can be counted in an array, named in a metric, and explained.
#![forbid(unsafe_code)]

/// Declares an enum of reasons. Each variant has a `snake_case` name, for the label of a metric, and a help text,
/// which is its `Display`.
///
/// ```
/// closed_enum::closed_enum! {
///     /// Why a datagram was dropped.
///     pub enum Reason {
///         /// Documentation beyond the help text is optional.
///         TooShort: "too_short", "shorter than its header";
///         Forged: "forged", "the authentication tag is wrong";
///     }
/// }
/// let mut drops = [0; Reason::ALL.len()];
/// drops[Reason::Forged.index()] += 1;
/// assert_eq!(Reason::Forged.name(), "forged");
/// assert_eq!(Reason::Forged.to_string(), "the authentication tag is wrong");
/// ```
#[macro_export]
macro_rules! closed_enum {
    (
        $(#[$meta:meta])*
        pub enum $enum:ident {
            $($(#[$variant_meta:meta])* $variant:ident: $name:literal, $help:literal;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $enum {
            $(
                $(#[$variant_meta])*
                #[doc = ""]
                #[doc = concat!("`", $name, "`: ", $help)]
                $variant,
            )+
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

        impl ::std::fmt::Display for $enum {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $help,)+
                })
            }
        }

        impl ::std::error::Error for $enum {}
    };
}
