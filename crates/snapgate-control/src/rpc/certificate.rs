//! Validity of an X.509 certificate.
//!
//! rustls compares keys and certificates, but does not show when a certificate ends. This reads just that (RFC 5280,
//! section 4.1), to warn the operator.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Begin and end of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Validity {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The optional field `version`.
const CONTEXT_0: u8 = 0xa0;

/// Returns the validity of a certificate in DER.
pub(super) fn validity(der: &[u8]) -> Option<Validity> {
    let (mut certificate, _) = element(der, SEQUENCE)?;
    let mut fields = take(&mut certificate, SEQUENCE)?;
    if fields.first() == Some(&CONTEXT_0) {
        take(&mut fields, CONTEXT_0)?;
    }
    take(&mut fields, INTEGER)?; // serial number
    take(&mut fields, SEQUENCE)?; // signature algorithm
    take(&mut fields, SEQUENCE)?; // issuer
    let mut validity = take(&mut fields, SEQUENCE)?;
    Some(Validity {
        not_before: time(&mut validity)?,
        not_after: time(&mut validity)?,
    })
}

/// Takes the element at the front, which must have this tag, and returns its content.
fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (content, rest) = element(input, tag)?;
    *input = rest;
    Some(content)
}

/// Splits off the content of an element with this tag.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = input.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // The length follows in 1 to 4 bytes.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            let length = bytes
                .iter()
                .fold(0, |sum, &byte| sum << 8 | u32::from(byte));
            (usize::try_from(length).ok()?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn time(input: &mut &[u8]) -> Option<Timestamp> {
    let tag = *input.first()?;
    let text = std::str::from_utf8(take(input, tag)?).ok()?;
    let text = text.strip_suffix('Z')?;
    let digits = match tag {
        // Two digits for the years 1950 to 2049.
        UTC_TIME if text.len() == 12 => {
            let century = if text.as_bytes().first()? < &b'5' {
                "20"
            } else {
                "19"
            };
            [century, text].concat()
        }
        GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| digits.get(range)?.parse::<i16>().ok();
    let small = |range| i8::try_from(number(range)?).ok();
    let date = DateTime::new(
        number(0..4)?,
        small(4..6)?,
        small(6..8)?,
        small(8..10)?,
        small(10..12)?,
        small(12..14)?,
        0,
    );
    Some(date.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(years: [i32; 2]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["snap.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(years[0], 2, 3);
        params.not_after = date_time_ymd(years[1], 12, 31);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_validity_of_a_certificate_is_read() {
        for years in [[2024, 2025], [1999, 2049], [2049, 2050], [2050, 4096]] {
            let expected = Validity {
                not_before: format!("{}-02-03T00:00:00Z", years[0]).parse().unwrap(),
                not_after: format!("{}-12-31T00:00:00Z", years[1]).parse().unwrap(),
            };
            assert_eq!(validity(&certificate(years)), Some(expected));
        }
    }

    #[test]
    fn a_truncated_certificate_has_no_validity() {
        let der = certificate([2024, 2025]);
        for length in 0..der.len() {
            assert_eq!(validity(&der[..length]), None);
        }
    }

    proptest! {
        #[test]
        fn damaged_certificates_are_read_without_a_panic(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut der = certificate([2024, 2025]);
            for (index, byte) in damage {
                let index = index.index(der.len());
                der[index] = byte;
            }
            let _read = validity(&der);
        }
    }
}
