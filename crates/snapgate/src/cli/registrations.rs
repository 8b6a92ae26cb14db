//! `snapgate registrations`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use snapgate_control::registry::{Filter, Selector};
use snapgate_control::rpc::local::{Client, ClientError, RegistrationEntry, RevocationEntry};
use snapgate_control::{Pssid, TokenId};

use super::output::{FAILURE, fail, print};
use crate::keys::PublicKey;

/// Number of registrations per request.
const PAGE: usize = 1000;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RegistrationsArgs {
    #[command(subcommand)]
    command: RegistrationsCommand,
}

const EXAMPLES: &str = "\
The commands ask the running gateway by a socket in its state directory, which only the user of \
the gateway and root can use.

Examples:
  snapgate registrations list --state-dir /var/lib/snapgate
  snapgate registrations revoke --state-dir /var/lib/snapgate --pssid laptop
  snapgate registrations revocations --state-dir /var/lib/snapgate --json

Exit codes:
  0  done
  1  the gateway cannot be asked, or refused
  2  invalid usage";

#[derive(Subcommand)]
enum RegistrationsCommand {
    /// List the registered identities.
    List(ListArgs),
    /// Revoke a token, a subscriber or an identity: its tunnels end within a second, and it cannot
    /// register again until the revocation ends.
    Revoke(RevokeArgs),
    /// List the revocations in force.
    Revocations(RevocationsArgs),
    /// Remove a revocation, so that the client can register again.
    Unrevoke(UnrevokeArgs),
}

#[derive(Args)]
struct Common {
    /// State directory of the running gateway
    #[arg(long, value_name = "DIR", env = "SNAPGATE_STATE_DIR")]
    state_dir: PathBuf,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ListArgs {
    #[command(flatten)]
    common: Common,

    /// Only registrations of this subscriber
    #[arg(long, value_name = "ID")]
    pssid: Option<String>,

    /// Only the registration by this token
    #[arg(long, value_name = "ID")]
    jti: Option<String>,
}

#[derive(Args)]
struct RevokeArgs {
    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    target: Target,

    /// End of the revocation (RFC 3339) [default: in 30 days; for a known token, its end]
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
}

#[derive(Args)]
struct RevocationsArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct UnrevokeArgs {
    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    target: Target,
}

/// What a revocation names.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// Id of a token
    #[arg(long, value_name = "ID")]
    jti: Option<String>,

    /// Subscriber, with all its tokens
    #[arg(long, value_name = "ID")]
    pssid: Option<String>,

    /// Public key of a client, in base64, with any token
    #[arg(long, value_name = "KEY", value_parser = PublicKey::from_base64)]
    identity: Option<PublicKey>,
}

impl Target {
    /// Returns the selector; clap has checked that exactly one argument is present.
    fn selector(self) -> Option<Selector> {
        let token = self.jti.map(|jti| Selector::Token(TokenId(jti.into())));
        let pssid = self.pssid.map(|pssid| Selector::Pssid(Pssid(pssid.into())));
        let identity = self
            .identity
            .map(|identity| Selector::Identity(*identity.as_bytes()));
        token.or(pssid).or(identity)
    }
}

/// Runs a command of `snapgate registrations`.
pub(super) fn registrations(arguments: RegistrationsArgs) -> ExitCode {
    let output = match arguments.command {
        RegistrationsCommand::List(arguments) => list(arguments),
        RegistrationsCommand::Revoke(arguments) => revoke(arguments),
        RegistrationsCommand::Revocations(arguments) => revocations(&arguments.common),
        RegistrationsCommand::Unrevoke(arguments) => unrevoke(arguments),
    };
    match output {
        Ok(text) => print(&text),
        Err(error) => fail(FAILURE, &error),
    }
}

fn list(arguments: ListArgs) -> Result<String, ClientError> {
    let client = Client::new(&arguments.common.state_dir);
    let filter = Filter {
        pssid: arguments.pssid.map(|pssid| Pssid(pssid.into())),
        token: arguments.jti.map(|jti| TokenId(jti.into())),
    };
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let page = client.registrations(after.as_ref(), PAGE, &filter)?;
        entries.extend(page.registrations);
        let next = page.next.as_deref().map(PublicKey::from_base64);
        match next {
            Some(Ok(identity)) => after = Some(*identity.as_bytes()),
            Some(Err(_)) | None => break,
        }
    }
    Ok(format_all(
        &entries,
        arguments.common.json,
        format_registrations,
    ))
}

/// Formats registrations, each in two lines, because an identity alone has 44 characters.
fn format_registrations(entries: &[RegistrationEntry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let RegistrationEntry {
            identity,
            pssid,
            token,
            expires,
        } = entry;
        // Writing to a string does not fail.
        let _ = writeln!(text, "{identity}  until {expires}");
        let _ = writeln!(text, "  pssid {pssid}  jti {token}");
    }
    text
}

fn revoke(arguments: RevokeArgs) -> Result<String, ClientError> {
    let client = Client::new(&arguments.common.state_dir);
    let Some(selector) = arguments.target.selector() else {
        return Ok(String::new());
    };
    let answer = client.revoke(&selector, arguments.until)?;
    if arguments.common.json {
        return Ok(json_lines(&[answer]));
    }
    let noun = match answer.ended {
        1 => "registration",
        _ => "registrations",
    };
    Ok(format!(
        "revoked until {}; {} {noun} ended\n",
        answer.until, answer.ended
    ))
}

fn revocations(common: &Common) -> Result<String, ClientError> {
    let list = Client::new(&common.state_dir).revocations()?;
    Ok(format_all(
        &list.revocations,
        common.json,
        format_revocations,
    ))
}

fn format_revocations(entries: &[RevocationEntry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let targets = [
            ("jti", &entry.token),
            ("pssid", &entry.pssid),
            ("identity", &entry.identity),
        ];
        for (name, value) in targets {
            if let Some(value) = value {
                let _ = writeln!(text, "{name} {value}  until {}", entry.until);
            }
        }
    }
    text
}

fn unrevoke(arguments: UnrevokeArgs) -> Result<String, ClientError> {
    let client = Client::new(&arguments.common.state_dir);
    let Some(selector) = arguments.target.selector() else {
        return Ok(String::new());
    };
    let answer = client.unrevoke(&selector)?;
    Ok(match (arguments.common.json, answer.existed) {
        (true, _) => json_lines(&[answer]),
        (false, true) => "revocation removed\n".to_owned(),
        (false, false) => "there was no such revocation\n".to_owned(),
    })
}

fn format_all<T: Serialize>(entries: &[T], json: bool, format: impl Fn(&[T]) -> String) -> String {
    if json {
        json_lines(entries)
    } else {
        format(entries)
    }
}

fn json_lines<T: Serialize>(entries: &[T]) -> String {
    entries
        .iter()
        .filter_map(|entry| serde_json::to_string(entry).ok())
        .map(|line| line + "\n")
        .collect()
}
