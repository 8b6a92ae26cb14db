//! A control plane with stored registrations, and a client that registers identities.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use snapgate_control::registry::{Registry, RegistrySettings};
use snapgate_control::token::signing::{
    SigningKey, TestToken, TokenVersion, random_token_id, sign,
};
use snapgate_control::{Claims, GrantChange, Grants, Identity, Pssid, TokenId};
use tempfile::TempDir;

use super::error::BenchError;
use super::program::Setting;

/// Lifetime of tokens, longer than a measurement.
const LONG: Duration = Duration::from_secs(3600);

/// Time limit for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Name in the state directory, as the gateway chooses it.
const REGISTRATIONS_FILE: &str = "registrations";

/// Files of a control plane, and the key that signs its tokens.
pub(crate) struct ControlPlane {
    pub(super) address: SocketAddr,
    key: SigningKey,
    directory: TempDir,
}

impl ControlPlane {
    /// Creates the files of a control plane at a free address, without registrations.
    pub(super) fn new(address: SocketAddr) -> Result<Self, BenchError> {
        let files = || {
            let directory = TempDir::new()?;
            let key = SigningKey::generate().map(|(key, _)| key);
            let key = key.map_err(io::Error::other)?;
            fs::write(directory.path().join("token.pem"), key.public_key_pem())?;
            // Other users must not have access to the local socket in it.
            let state = directory.path().join("state");
            DirBuilder::new().mode(0o700).create(state)?;
            Ok((key, directory))
        };
        let (key, directory) = files().map_err(BenchError::Temporary)?;
        Ok(Self {
            address,
            key,
            directory,
        })
    }

    /// Stores registrations until `until`. The gateway must not run.
    pub(crate) fn store(
        &self,
        identities: impl IntoIterator<Item = Identity>,
        until: Timestamp,
    ) -> Result<(), BenchError> {
        /// No data plane runs.
        struct Nowhere;
        impl Grants for Nowhere {
            fn apply(&self, _: &[GrantChange]) {}
        }
        let now = Timestamp::now();
        let settings = RegistrySettings {
            file: Some(self.state().join(REGISTRATIONS_FILE)),
            ..RegistrySettings::default()
        };
        let registry = Registry::open(settings, Arc::new(Nowhere), now);
        let registry = registry.map_err(|error| BenchError::Registrations(error.to_string()))?;
        for (number, identity) in identities.into_iter().enumerate() {
            let claims = Claims {
                pssid: Pssid(format!("stored-{number}").into()),
                token: TokenId(format!("stored-{number}").into()),
                expires: until,
            };
            registry
                .register(&claims, identity, now)
                .map_err(|refusal| BenchError::Registrations(format!("{refusal:?}")))?;
        }
        Ok(())
    }

    /// Connects a client over plain HTTP/1.1.
    pub(crate) fn connect(&self) -> Result<RegistrationClient<'_>, BenchError> {
        let connect = || {
            let stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            Ok(BufReader::new(stream))
        };
        Ok(RegistrationClient {
            key: &self.key,
            connection: connect().map_err(BenchError::Register)?,
        })
    }

    pub(super) fn settings(&self) -> Vec<Setting> {
        let key = self.directory.path().join("token.pem");
        vec![
            Setting::required("control-plane", &self.address),
            Setting::required("token-key", &key.display()),
            Setting::required("state-dir", &self.state().display()),
        ]
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }
}

/// A connection to a control plane.
pub(crate) struct RegistrationClient<'a> {
    key: &'a SigningKey,
    connection: BufReader<TcpStream>,
}

impl RegistrationClient<'_> {
    /// Registers an identity with a token of its own. Returns the time from the request to the answer, without the
    /// signing of the token.
    pub(crate) fn register(&mut self, identity: &Identity) -> Result<Duration, BenchError> {
        // The limit of registrations of a subscriber does not apply, and no token is used twice.
        let random = random_token_id().map_err(io::Error::other);
        let id = random.map_err(BenchError::Register)?;
        let token = TestToken {
            pssid: id.clone(),
            jti: Some(id),
            lifetime: LONG,
            audience: Some("snap".to_owned()),
            version: TokenVersion::V1,
            kid: None,
        };
        let token = sign(self.key, &token, Timestamp::now());
        let started = Instant::now();
        self.exchange(&token, identity)
            .map_err(BenchError::Register)?;
        Ok(started.elapsed())
    }

    /// Sends a request and reads the answer, which must be a success.
    fn exchange(&mut self, token: &str, identity: &Identity) -> io::Result<()> {
        // RegisterSnapTunIdentityRequest: field 1 is the identity, field 2 a share of 32 zero bytes for none.
        let body = [&[0x0a, 32][..], identity, &[0x12, 32], &[0; 32]].concat();
        let mut request = format!(
            "POST /anapaya.snap.v1.SnapControl/RegisterSnapTunIdentity HTTP/1.1\r\n\
             Host: snap\r\n\
             Authorization: Bearer {token}\r\n\
             Content-Type: application/proto\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend(body);
        self.connection.get_mut().write_all(&request)?;

        let mut status = String::new();
        self.connection.read_line(&mut status)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.connection.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body)?;
        if status.split(' ').nth(1) == Some("200") {
            return Ok(());
        }
        let body = String::from_utf8_lossy(&body);
        Err(io::Error::other(format!("{} {body}", status.trim_end())))
    }
}
