//! Files of identities, compared with a parser derived by serde.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use snapgate::fuzzing::{FILE_NAME, read_identities};
use toml::value::Datetime;

use crate::configuration::assert_names_a_line;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    identity: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    public_key: String,
    name: Option<String>,
    expires: Option<Expires>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expires {
    Text(String),
    Datetime(Datetime),
}

/// Reads `data` as a file of identities.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let theirs: Option<File> = toml::from_str(text).ok();
    match read_identities(text) {
        Ok(ours) => {
            let theirs = theirs.expect("an accepted file is well-formed");
            assert_eq!(ours.len(), theirs.identity.len());
            for (ours, theirs) in ours.iter().zip(theirs.identity) {
                let key = BASE64_STANDARD.decode(theirs.public_key).expect("base64");
                assert_eq!(ours.public_key.as_bytes(), &key[..]);
                assert_eq!(ours.name, theirs.name);
                let time = theirs.expires.map(|expires| match expires {
                    Expires::Text(text) => text.parse().expect("a time"),
                    Expires::Datetime(time) => time,
                });
                // The end of the calendar means no expiry.
                let is_never = |time: &Datetime| time.date.is_some_and(|date| date.year == 9999);
                let expires = time.filter(|time| ours.expires.is_some() || !is_never(time));
                let expires = expires.map(|time| time.to_string().parse().expect("a timestamp"));
                assert_eq!(ours.expires, expires);
            }
            let keys: std::collections::HashSet<_> =
                ours.iter().map(|identity| identity.public_key).collect();
            assert_eq!(keys.len(), ours.len(), "a duplicate identity");
        }
        Err(complaints) => {
            assert!(!complaints.is_empty());
            for complaint in &complaints {
                assert_names_a_line(complaint, FILE_NAME, text);
            }
            // A well-formed file can have errors only in its values.
            if theirs.is_some() {
                let in_values = |complaint: &String| {
                    complaint.contains("public_key") || complaint.contains("expires")
                };
                assert!(complaints.iter().all(in_values), "{complaints:?}");
            }
        }
    }
}
