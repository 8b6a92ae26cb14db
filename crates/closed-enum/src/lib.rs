//! A macro for enums of reasons that are counted in an array, named in a metric and explained.
#![forbid(unsafe_code)]

/// Declares an enum of reasons. Each variant has a `snake_case` name for a metric label, and a help text, which is its
/// [`Display`](std::fmt::Display) output and the first line of its documentation.
///
/// ```
/// closed_enum::closed_enum! {
///     /// Why a datagram was dropped.
///     pub enum Reason {
///         /// Optional documentation, printed before the help text.
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
                #[doc = concat!("`", $name, "`: ", $help)]
                #[doc = ""]
                $(#[$variant_meta])*
                $variant,
            )+
        }

        impl $enum {
            /// All variants, ordered by [`index`](Self::index).
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Returns the position in [`ALL`](Self::ALL), for an array of counters.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// Returns the name in `snake_case`, for a metric label.
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
