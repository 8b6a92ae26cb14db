//! `snapgate token`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use snapgate_control::token::signing::{self, SigningKey, TestToken, TokenVersion};
use zeroize::Zeroizing;

use super::output::{FAILURE, USAGE, fail, print};
use crate::config::text_file;

/// Names of the files that `--generate` writes.
const PRIVATE_KEY: &str = "private.pem";
const PUBLIC_KEY: &str = "public.pem";
const JWK_SET: &str = "jwks.json";

/// A key file has 119 bytes.
const MAX_KEY_BYTES: u64 = 16 << 10;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TokenArgs {
    /// Make a key pair: private.pem, public.pem and jwks.json in this directory, which is created
    /// if it does not exist; existing files are not overwritten
    #[arg(long, value_name = "DIR", conflicts_with_all = ["key", "pssid"])]
    generate: Option<PathBuf>,

    /// Ed25519 private key (PKCS#8, PEM) that signs the token
    #[arg(long, value_name = "FILE", required_unless_present = "generate")]
    key: Option<PathBuf>,

    /// Subscriber that the token belongs to
    #[arg(long, value_name = "ID", required_unless_present = "generate")]
    pssid: Option<String>,

    /// Id of the token [default: random]
    #[arg(long, value_name = "ID")]
    jti: Option<String>,

    /// Time until the token ends, for example 30s, 1h or 2d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = lifetime)]
    lifetime: Duration,

    /// Audience of the token
    #[arg(long, value_name = "TEXT", default_value = "snap")]
    audience: String,

    /// Version of the claims
    #[arg(long, value_name = "VERSION", value_enum, default_value = "1")]
    claims_version: Version,

    /// Id of the key in the token's header [default: that of jwks.json]
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
}

/// Version of the claims of a SNAP token.
#[derive(Clone, Copy, ValueEnum)]
enum Version {
    /// `pssid`, `exp`, `aud` and `jti`.
    #[value(name = "0")]
    Zero,
    /// Also `ver`, `iss`, `nbf` and `iat`.
    #[value(name = "1")]
    One,
}

const EXAMPLES: &str = "\
For tutorials and tests: in a SCION network, its operator issues the tokens.

Examples:
  snapgate token --generate keys
  snapgate token --key keys/private.pem --pssid laptop > laptop.token
  snapgate run --control-plane 127.0.0.1:8443 --token-key keys/public.pem ...";

/// Signs a token and prints it, or generates keys.
pub(super) fn token(arguments: TokenArgs) -> ExitCode {
    if let Some(directory) = &arguments.generate {
        return generate(directory);
    }
    let (Some(file), Some(pssid)) = (arguments.key, arguments.pssid) else {
        return fail(USAGE, &"--key and --pssid are required");
    };
    let key = match read_key(&file) {
        Ok(key) => key,
        Err(reason) => return fail(USAGE, &format!("{}: {reason}", file.display())),
    };
    let jti = match arguments.jti.map_or_else(signing::random_token_id, Ok) {
        Ok(jti) => jti,
        Err(error) => return fail(FAILURE, &error),
    };
    let token = TestToken {
        pssid,
        jti: Some(jti),
        lifetime: arguments.lifetime,
        audience: Some(arguments.audience),
        version: match arguments.claims_version {
            Version::Zero => TokenVersion::V0,
            Version::One => TokenVersion::V1,
        },
        kid: Some(arguments.kid.unwrap_or_else(|| key.thumbprint())),
    };
    print(&format!(
        "{}\n",
        signing::sign(&key, &token, Timestamp::now())
    ))
}

/// Parses a positive duration in whole seconds.
fn lifetime(text: &str) -> Result<Duration, String> {
    let parsed: Option<SignedDuration> = text.parse().ok();
    parsed
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| duration.as_secs() > 0)
        .ok_or_else(|| "expected a time of at least one second, such as 30s, 1h or 2d".to_owned())
}

fn read_key(file: &Path) -> Result<SigningKey, String> {
    let text = text_file::read(file, MAX_KEY_BYTES).map_err(|fault| fault.to_string())?;
    SigningKey::from_pem(&text).map_err(|error| error.to_string())
}

fn generate(directory: &Path) -> ExitCode {
    let (key, pem) = match SigningKey::generate() {
        Ok(generated) => generated,
        Err(error) => return fail(FAILURE, &error),
    };
    let jwk_set = format!("{}\n", key.jwk_set(&key.thumbprint()));
    match write_keys(directory, &pem, &key.public_key_pem(), &jwk_set) {
        Ok(()) => ExitCode::SUCCESS,
        Err((file, error)) => fail(
            FAILURE,
            &format!("cannot create {}: {error}", file.display()),
        ),
    }
}

/// Writes the files of a key pair. The error has the file at fault.
fn write_keys(
    directory: &Path,
    private_key: &Zeroizing<String>,
    public_key: &str,
    jwk_set: &str,
) -> Result<(), (PathBuf, io::Error)> {
    let created = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    created.map_err(|error| (directory.to_owned(), error))?;
    for (name, mode, text) in [
        (PRIVATE_KEY, 0o600, private_key.as_str()),
        (PUBLIC_KEY, 0o644, public_key),
        (JWK_SET, 0o644, jwk_set),
    ] {
        let file = directory.join(name);
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&file)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| (file.clone(), error))?;
    }
    Ok(())
}
