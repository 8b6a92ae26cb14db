//! The identities file: clients that may open a tunnel.
//!
//! ```toml
//! [[identity]]
//! public_key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
//! name = "laptop"                    # optional
//! expires = 2027-01-01T00:00:00Z     # optional RFC 3339 time, with or without quotes
//! ```
//!
//! `9999-12-31T23:59:59Z` means no expiry, as in certificates (RFC 5280, section 4.1.2.5).

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;
use zeroize::Zeroizing;

use crate::config::fault::IdentityFault;
use crate::config::place::Place;
use crate::config::problem::{Problem, Warning};
use crate::config::text_file::{self, FileFault};
use crate::config::toml_file::{self, Diagnostics, in_file_order};
use crate::keys::{PrivateKey, PublicKey};

/// Room for three million identities of about 75 bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// A client that may open tunnels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Static public key of the client.
    pub public_key: PublicKey,
    /// Name for messages, not necessarily unique.
    pub name: Option<String>,
    /// End of the authorization by the system clock; `None`: never.
    pub expires: Option<jiff::Timestamp>,
}

/// Content of a valid identities file.
pub(crate) struct Listed {
    pub(crate) identities: Vec<Identity>,
    pub(crate) warnings: Vec<Warning>,
}

/// Reads an identities file, like [`read_text`] and [`check`].
///
/// # Errors
///
/// All problems of the file.
pub(crate) fn read(path: &Path, own_key: Option<&PrivateKey>) -> Result<Listed, Vec<Problem>> {
    check(path, read_text(path), own_key)
}

/// Checks the text that was read from an identities file, which may not contain the gateway's key pair `own_key`.
///
/// # Errors
///
/// All problems of the file.
pub(crate) fn check(
    path: &Path,
    text: Result<Zeroizing<String>, FileFault>,
    own_key: Option<&PrivateKey>,
) -> Result<Listed, Vec<Problem>> {
    let text = text.map_err(|fault| vec![Problem::with_file(path, fault)])?;
    let listed = parse(path, &text)?;
    let problems = problems_of_own_key(path, &listed, own_key);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Listed {
        warnings: warnings(path, &listed),
        identities: listed.into_iter().map(|(_, identity)| identity).collect(),
    })
}

/// Reads the text of an identities file. Does not wait for other processes.
pub(crate) fn read_text(path: &Path) -> Result<Zeroizing<String>, FileFault> {
    let file = text_file::open_regular(path)?;
    // Checked second, because `open_regular` has a more precise error for pipes.
    if text_file::is_descriptor(path) {
        return Err(FileFault::Descriptor);
    }
    text_file::read_file(file, MAX_FILE_BYTES)
}

fn problems_of_own_key(
    path: &Path,
    listed: &[(usize, Identity)],
    own_key: Option<&PrivateKey>,
) -> Vec<Problem> {
    let Some(own_key) = own_key else {
        return Vec::new();
    };
    let public_key = own_key.public_key();
    let fault_of = |listed: &PublicKey| {
        if *listed == public_key {
            Some(IdentityFault::OwnKey)
        } else if own_key.is_equal_to(listed) {
            Some(IdentityFault::OwnPrivateKey)
        } else {
            None
        }
    };
    listed
        .iter()
        .filter_map(|(line, identity)| {
            Some(Problem {
                place: Some(place(path, *line)),
                setting: None,
                fault: fault_of(&identity.public_key)?.into(),
            })
        })
        .collect()
}

fn warnings(path: &Path, listed: &[(usize, Identity)]) -> Vec<Warning> {
    if listed.is_empty() {
        return vec![Warning::NoIdentities(path.to_owned())];
    }
    let now = jiff::Timestamp::now();
    listed
        .iter()
        .filter_map(|(line, identity)| {
            let expires = identity.expires.filter(|expires| *expires <= now)?;
            Some(Warning::IdentityExpired {
                place: place(path, *line),
                identity: match &identity.name {
                    Some(name) => format!("{name:?}"),
                    None => identity.public_key.to_string(),
                },
                expires,
            })
        })
        .collect()
}

fn place(path: &Path, line: usize) -> Place {
    Place::Line {
        file: path.into(),
        line,
    }
}

/// Parses the text of an identities file. Returns each identity with its line.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<(usize, Identity)>, Vec<Problem>> {
    let (document, diagnostics) = toml_file::parse(path, text);
    let mut reader = Reader {
        diagnostics,
        lines_of_keys: HashMap::new(),
        identities: Vec::new(),
    };
    for (key, value) in in_file_order(document.get_ref()) {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("identity", DeValue::Array(entries)) => {
                for entry in entries {
                    reader.read_identity(entry);
                }
            }
            ("identity", _) => reader.report(key.span().start, IdentityFault::NotATable),
            (other, _) => {
                reader.report(
                    key.span().start,
                    IdentityFault::UnknownTable(other.to_owned()),
                );
            }
        }
    }
    let problems = reader.diagnostics.into_problems();
    if problems.is_empty() {
        Ok(reader.identities)
    } else {
        Err(problems)
    }
}

struct Reader {
    diagnostics: Diagnostics,
    lines_of_keys: HashMap<PublicKey, usize>,
    identities: Vec<(usize, Identity)>,
}

impl Reader {
    fn report(&mut self, offset: usize, fault: IdentityFault) {
        self.diagnostics.add(offset, None, fault.into());
    }

    fn read_identity(&mut self, entry: &Spanned<DeValue<'_>>) {
        let start = entry.span().start;
        let DeValue::Table(table) = entry.get_ref() else {
            return self.report(start, IdentityFault::NotATable);
        };
        let mut public_key = None;
        let mut name = None;
        let mut expires = None;
        let mut is_valid = true;
        for (key, value) in in_file_order(table) {
            let read = match key.get_ref().as_ref() {
                "public_key" => self
                    .read_public_key(value)
                    .map(|key| public_key = Some(key)),
                "name" => read_string("name", value).map(|text| name = Some(text.to_string())),
                "expires" => read_expiry(value).map(|expiry| expires = expiry),
                other => Err(IdentityFault::UnknownKey(other.to_owned())),
            };
            if let Err(fault) = read {
                is_valid = false;
                let at = if matches!(fault, IdentityFault::UnknownKey(_)) {
                    key.span()
                } else {
                    value.span()
                };
                self.report(at.start, fault);
            }
        }
        match public_key {
            Some(public_key) => {
                let line = self.diagnostics.line_of(start);
                self.identities.push((
                    line,
                    Identity {
                        public_key,
                        name,
                        expires,
                    },
                ));
            }
            // An invalid key was reported above.
            None if is_valid => self.report(start, IdentityFault::NoPublicKey),
            None => {}
        }
    }

    fn read_public_key(
        &mut self,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<PublicKey, IdentityFault> {
        let key = PublicKey::from_base64(read_string("public_key", value)?)
            .map_err(IdentityFault::PublicKey)?;
        let line = self.diagnostics.line_of(value.span().start);
        match self.lines_of_keys.insert(key, line) {
            None => Ok(key),
            Some(first_line) => {
                self.lines_of_keys.insert(key, first_line);
                Err(IdentityFault::Duplicate { first_line })
            }
        }
    }
}

fn read_string<'a>(
    name: &'static str,
    value: &'a Spanned<DeValue<'_>>,
) -> Result<&'a Cow<'a, str>, IdentityFault> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => Err(IdentityFault::NotAString(name)),
    }
}

/// Parses an RFC 3339 time, as a string or as a TOML date. Times after the last one that can be represented,
/// 9999-12-30T22:00:00Z, mean no expiry.
fn read_expiry(value: &Spanned<DeValue<'_>>) -> Result<Option<jiff::Timestamp>, IdentityFault> {
    let time: Option<toml::value::Datetime> = match value.get_ref() {
        // Both forms are read by the parser of TOML, so that they mean the same.
        DeValue::String(text) => text.parse().ok(),
        DeValue::Datetime(time) => Some(*time),
        _ => None,
    };
    let time = time
        .filter(|time| time.date.is_some() && time.offset.is_some())
        .ok_or(IdentityFault::NotATimestamp)?;
    match time.to_string().parse() {
        Ok(timestamp) => Ok(Some(timestamp)),
        Err(_) if time.date.is_some_and(|date| date.year == 9999) => Ok(None),
        Err(_) => Err(IdentityFault::NotATimestamp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
    const BOB: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

    /// Returns the identities, or the problems as text.
    fn parse_text(text: &str) -> Result<Vec<(usize, Identity)>, Vec<String>> {
        parse("ids.toml".as_ref(), text)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn identities_have_their_lines() {
        let text = format!(
            "# ours\n[[identity]]\npublic_key = \"{ALICE}\"\nname = \
             \"laptop\"\n\n[[identity]]\nexpires = 2027-01-01T00:00:00Z\npublic_key = \"{BOB}\"\n"
        );
        let listed = parse_text(&text).unwrap();
        let [(first_line, alice), (second_line, bob)] = listed.as_slice() else {
            panic!("{listed:?}")
        };
        assert_eq!((*first_line, *second_line), (2, 6));
        assert_eq!(
            (alice.public_key.to_string().as_str(), alice.name.as_deref()),
            (ALICE, Some("laptop"))
        );
        assert_eq!(
            (bob.public_key.to_string().as_str(), bob.name.as_deref()),
            (BOB, None)
        );
        assert_eq!(
            (alice.expires, bob.expires),
            (None, Some("2027-01-01T00:00:00Z".parse().unwrap()))
        );
    }

    #[test]
    fn expiry_is_the_same_with_and_without_quotes() {
        for expires in [
            "2027-01-01T01:00:00+01:00",
            "\"2027-01-01T01:00:00+01:00\"",
            "\"2027-01-01T00:00:00Z\"",
        ] {
            let text = format!("[[identity]]\npublic_key = \"{ALICE}\"\nexpires = {expires}");
            let listed = parse_text(&text).unwrap();
            assert_eq!(
                listed[0].1.expires,
                Some("2027-01-01T00:00:00Z".parse().unwrap()),
                "{expires}"
            );
        }
    }

    /// Returns the expiry of an identity with this text after `expires = `.
    fn expiry(text: &str) -> Result<Option<jiff::Timestamp>, Vec<String>> {
        let text = format!("[[identity]]\npublic_key = \"{ALICE}\"\nexpires = {text}");
        parse_text(&text).map(|listed| listed[0].1.expires)
    }

    #[test]
    fn the_end_of_the_calendar_means_no_expiry() {
        for time in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999999999Z",
            "9999-12-31T23:59:60Z",
            "9999-12-31T23:59:59-23:59",
            "9999-12-31T23:59:59+23:59",
            "9999-12-31t23:59:59z",
            "9999-12-31 23:59:59Z",
        ] {
            assert_eq!(expiry(time), Ok(None), "{time}");
            assert_eq!(expiry(&format!("\"{time}\"")), Ok(None), "{time}");
        }
        // The last one that can be represented.
        let last = "9999-12-30T22:00:00Z".parse().unwrap();
        assert_eq!(expiry("9999-12-30T22:00:00Z"), Ok(Some(last)));
    }

    #[test]
    fn every_form_of_an_rfc_3339_time_is_read() {
        for (text, time) in [
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("0000-01-01T00:00:00+23:59", "-000001-12-31T00:01:00Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5Z"),
            ("2027-01-01t00:00:00z", "2027-01-01T00:00:00Z"),
            ("2027-01-01 00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2027-01-01T00:00:00-00:00", "2027-01-01T00:00:00Z"),
            ("2027-01-01T00:00:00+05:30", "2026-12-31T18:30:00Z"),
            ("2027-01-01T00:00:00.25Z", "2027-01-01T00:00:00.25Z"),
            // Digits beyond nanoseconds are cut off.
            (
                "2027-01-01T00:00:00.1234567899Z",
                "2027-01-01T00:00:00.123456789Z",
            ),
            // A leap second ends a second early: the system clock does not show it.
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z"),
        ] {
            let time = time.parse().unwrap();
            assert_eq!(expiry(text), Ok(Some(time)), "{text}");
            assert_eq!(expiry(&format!("\"{text}\"")), Ok(Some(time)), "{text}");
        }
    }

    #[test]
    fn times_that_do_not_exist_are_faults_of_their_line() {
        for time in [
            "10000-01-01T00:00:00Z",
            "99999-12-31T23:59:59Z",
            "2027-02-29T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-01-01T24:00:00Z",
            "2027-01-01T23:59:61Z",
            "2027-01-01T00:00:00+24:00",
        ] {
            // The parser of TOML has its own texts for dates without quotes.
            for (text, fault) in [
                (time.to_owned(), "ids.toml:3: "),
                (
                    format!("\"{time}\""),
                    "ids.toml:3: expires: expected a date",
                ),
            ] {
                let problems = expiry(&text).unwrap_err();
                assert!(problems[0].starts_with(fault), "{text}: {problems:?}");
                assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            }
        }
    }

    /// Also beside valid identities, whose lines are not reported.
    #[test]
    fn one_identity_with_a_wrong_expiry_is_reported_by_its_line() {
        let text = format!(
            "[[identity]]\npublic_key = \"{ALICE}\"\nexpires = \"soon\"\n\n[[identity]]\npublic_key = \"{BOB}\"\n\
             expires = 9999-12-31T23:59:59Z\n"
        );
        assert_eq!(
            parse_text(&text),
            Err(vec![
                "ids.toml:3: expires: expected a date and time with UTC offset in the years 0000 to 9999, such as \
                 2027-01-01T00:00:00Z"
                    .to_owned()
            ])
        );
    }

    #[test]
    fn expiry_needs_a_utc_offset() {
        for expires in [
            "2027-01-01T00:00:00",
            "2027-01-01",
            "00:00:00",
            "\"tomorrow\"",
            "1798761600",
            "\"\"",
        ] {
            let text = format!("[[identity]]\npublic_key = \"{ALICE}\"\nexpires = {expires}");
            let problems = parse_text(&text).unwrap_err();
            assert_eq!(problems.len(), 1, "{expires}: {problems:?}");
            assert!(
                problems[0].starts_with("ids.toml:3: expires: expected a date"),
                "{expires}: {problems:?}"
            );
        }
    }

    #[test]
    fn all_faults_are_reported_with_their_lines() {
        let text = format!(
            "[[identity]]\nname = \"no key\"\n[[identity]]\npublic_key = \
             \"short\"\n[[identity]]\npublic_key = \"{ALICE}\"\n[[identity]]\npublic_key = \
             \"{ALICE}\"\nnaem = 1\n[[identity]]\npublic_key = 7\nname = \
             8\n[[identity]]\npublic_key = \
             \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n[extra]\n"
        );
        let starts = [
            "ids.toml:1: identity without public_key; add",
            "ids.toml:4: public_key: expected 32 bytes in base64, got other text",
            "ids.toml:8: public_key is the same as on line 6; remove one",
            "ids.toml:9: unknown key \"naem\"; an identity has public_key",
            "ids.toml:11: public_key: expected a string in quotes",
            "ids.toml:12: name: expected a string in quotes",
            "ids.toml:14: public_key: expected a public key, got a low-order point",
            "ids.toml:15: unknown key \"extra\"; the file contains only [[identity]] tables",
        ];
        let problems = parse_text(&text).unwrap_err();
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn identity_in_single_brackets_is_explained() {
        let problems = parse_text(&format!("[identity]\npublic_key = \"{ALICE}\"")).unwrap_err();
        assert_eq!(
            problems,
            ["ids.toml:1: expected a table; start each identity with a line [[identity]]"]
        );
    }

    #[test]
    fn empty_file_has_no_identities() {
        assert_eq!(parse_text(""), Ok(Vec::new()));
    }
}
