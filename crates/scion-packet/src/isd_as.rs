//! ISD-AS numbers: an AS in an isolation domain.

use std::fmt;
use std::str::FromStr;

use closed_enum::closed_enum;

/// An ISD number (16 bits) and an AS number (48 bits), as in the address header.
///
/// The text form is `ISD-AS`: `1-64512` for AS numbers below 2^32, which are the BGP ones, and
/// `1-ff00:0:110` above, in three groups of hexadecimal digits (draft-dekater-scion-dataplane, ISD-AS
/// numbers).
///
/// ```
/// use scion_packet::IsdAs;
///
/// let isd_as: IsdAs = "1-ff00:0:110".parse()?;
/// assert_eq!((isd_as.isd(), isd_as.asn()), (1, 0xff00_0000_0110));
/// assert_eq!(isd_as.to_string(), "1-ff00:0:110");
/// # Ok::<(), scion_packet::ParseIsdAsError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IsdAs(u64);

const AS_BITS: u32 = 48;
const AS_MASK: u64 = (1 << AS_BITS) - 1;
const MAX_BGP_AS: u64 = u32::MAX as u64;

impl IsdAs {
    /// `0-0`: any AS.
    pub const WILDCARD: Self = Self(0);

    /// Creates an ISD-AS number from its big-endian value on the wire: the ISD in the upper 16 bits.
    #[inline]
    #[must_use]
    pub const fn from_u64(value: u64) -> Self {
        Self(value)
    }

    /// Returns the big-endian value on the wire.
    #[inline]
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// Returns the ISD number.
    #[inline]
    #[must_use]
    pub const fn isd(self) -> u16 {
        (self.0 >> AS_BITS) as u16
    }

    /// Returns the AS number, 48 bits.
    #[inline]
    #[must_use]
    pub const fn asn(self) -> u64 {
        self.0 & AS_MASK
    }
}

impl fmt::Display for IsdAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asn = self.asn();
        if asn <= MAX_BGP_AS {
            write!(f, "{}-{asn}", self.isd())
        } else {
            let [high, middle, low] = [asn >> 32, asn >> 16 & 0xffff, asn & 0xffff];
            write!(f, "{}-{high:x}:{middle:x}:{low:x}", self.isd())
        }
    }
}

impl fmt::Debug for IsdAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

closed_enum! {
    /// Why a text is not an ISD-AS number.
    pub enum ParseIsdAsError {
        MissingSeparator: "missing_separator",
            "expected an ISD-AS such as 1-ff00:0:110 or 1-64512";
        InvalidIsd: "invalid_isd", "expected an ISD from 0 to 65535 before the '-'";
        InvalidAs: "invalid_as",
            "expected an AS after the '-': a number below 2^32 such as 64512, \
             or three groups of up to four hexadecimal digits such as ff00:0:110";
    }
}

impl FromStr for IsdAs {
    type Err = ParseIsdAsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (isd, asn) = text
            .split_once('-')
            .ok_or(ParseIsdAsError::MissingSeparator)?;
        let isd = parse_digits(isd, 10, u64::from(u16::MAX)).ok_or(ParseIsdAsError::InvalidIsd)?;
        let asn = parse_asn(asn).ok_or(ParseIsdAsError::InvalidAs)?;
        Ok(Self(isd << AS_BITS | asn))
    }
}

fn parse_asn(text: &str) -> Option<u64> {
    if !text.contains(':') {
        return parse_digits(text, 10, MAX_BGP_AS);
    }
    let mut groups = text.split(':');
    let mut asn = 0;
    for _ in 0..3 {
        asn = asn << 16 | parse_digits(groups.next()?, 16, u64::from(u16::MAX))?;
    }
    groups.next().is_none().then_some(asn)
}

/// Parses digits only: `from_str_radix` accepts a sign.
fn parse_digits(text: &str, radix: u32, max: u64) -> Option<u64> {
    if !text.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(text, radix)
        .ok()
        .filter(|&number| number <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_isd_as_is_printed_as_it_was_parsed() {
        for text in [
            "0-0",
            "1-64512",
            "1-ff00:0:110",
            "65535-ffff:ffff:ffff",
            "1-4294967295",
            "2-1:0:0",
        ] {
            assert_eq!(text.parse::<IsdAs>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_isd_is_in_the_upper_16_bits() {
        let isd_as: IsdAs = "1-ff00:0:110".parse().unwrap();
        assert_eq!(isd_as.to_u64(), 0x0001_ff00_0000_0110);
        assert_eq!((isd_as.isd(), isd_as.asn()), (1, 0xff00_0000_0110));
        assert_eq!(IsdAs::from_u64(0x0001_ff00_0000_0110), isd_as);
    }

    #[test]
    fn both_notations_of_a_small_as_number_are_equal() {
        assert_eq!("1-0:0:fc00".parse::<IsdAs>(), "1-64512".parse());
    }

    #[test]
    fn the_error_names_the_invalid_part() {
        use ParseIsdAsError::{InvalidAs, InvalidIsd, MissingSeparator};
        for (text, error) in [
            ("", MissingSeparator),
            ("1", MissingSeparator),
            ("ff00:0:110", MissingSeparator),
            ("-1", InvalidIsd),
            ("65536-1", InvalidIsd),
            ("+1-1", InvalidIsd),
            ("a-1", InvalidIsd),
            ("1-", InvalidAs),
            ("1-4294967296", InvalidAs),
            ("1--1", InvalidAs),
            ("1-+1", InvalidAs),
            ("1-ff00", InvalidAs),
            ("1-ff00:0", InvalidAs),
            ("1-ff00:0:", InvalidAs),
            ("1-ff00:0:110:0", InvalidAs),
            ("1-10000:0:0", InvalidAs),
            ("1-ff00:+0:110", InvalidAs),
            ("1-ff00:0:110 ", InvalidAs),
        ] {
            assert_eq!(text.parse::<IsdAs>(), Err(error), "{text:?}");
        }
    }
}
