//! A blocking client of the local interface.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::api::{
    Problem, RegistrationPage, RemovalAnswer, RevocationAnswer, RevocationList, RevocationRequest,
    identity_text,
};
use super::socket::SOCKET_NAME;
use crate::claims::Identity;
use crate::registry::{Filter, Selector};

/// Maximum time for a request. That of the server is shorter.
const TIME: Duration = Duration::from_secs(30);

/// Maximum size of an answer, in bytes.
const ANSWER_BYTES: usize = 64 << 20;

/// Client of the control socket of a running process. Each request has its own connection.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

/// Error of a local request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no connection.
    #[error("cannot connect to {path}: {source}; {remedy}", path = .path.display(), remedy = remedy(.source))]
    Connect {
        /// Path of the socket.
        path: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// The server refused the request.
    #[error("{0}")]
    Refused(String),
    /// The answer is not one of a control socket.
    #[error("{path} did not answer as a control socket: {reason}", path = .path.display())]
    Answer {
        /// Path of the socket.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There was no answer in time.
    #[error("{path} did not answer within {time:?}", path = .path.display(), time = TIME)]
    TimedOut {
        /// Path of the socket.
        path: PathBuf,
    },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "run the command as the user of the gateway, or as root",
        _ => "check that the gateway runs, and that it has this directory for its control socket",
    }
}

impl Client {
    /// A client of the socket in `directory`.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            path: directory.join(SOCKET_NAME),
        }
    }

    /// Returns a page of registrations, which begins after the identity `after`.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or cannot read its store.
    pub fn registrations(
        &self,
        after: Option<&Identity>,
        limit: usize,
        filter: &Filter,
    ) -> Result<RegistrationPage, ClientError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string());
        if let Some(after) = after {
            query.append_pair("after", &identity_text(after));
        }
        if let Some(pssid) = &filter.pssid {
            query.append_pair("pssid", &pssid.0);
        }
        if let Some(token) = &filter.token {
            query.append_pair("token", &token.0);
        }
        let path = format!("/registrations?{}", query.finish());
        self.request(Method::GET, &path, String::new())
    }

    /// Returns the revocations in force.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or cannot read its store.
    pub fn revocations(&self) -> Result<RevocationList, ClientError> {
        self.request(Method::GET, "/revocations", String::new())
    }

    /// Revokes until a time. Default: until the end of a token that is known, and otherwise for 30 days.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, refuses the revocation, or cannot store it in time, in which case it is in force.
    pub fn revoke(
        &self,
        selector: &Selector,
        until: Option<Timestamp>,
    ) -> Result<RevocationAnswer, ClientError> {
        let request = RevocationRequest::new(selector, until);
        let body = serde_json::to_string(&request).map_err(|error| self.invalid(&error))?;
        self.request(Method::POST, "/revocations", body)
    }

    /// Removes a revocation.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or cannot store the change.
    pub fn unrevoke(&self, selector: &Selector) -> Result<RemovalAnswer, ClientError> {
        let request = RevocationRequest::new(selector, None);
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("token", request.token),
            ("pssid", request.pssid),
            ("identity", request.identity),
        ] {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        let path = format!("/revocations?{}", query.finish());
        self.request(Method::DELETE, &path, String::new())
    }

    fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<T, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.invalid(&error))?;
        let answer = runtime.block_on(async {
            let request = self.send(method, path, body);
            let answer = tokio::time::timeout(TIME, request).await;
            let path = self.path.clone();
            answer.unwrap_or(Err(ClientError::TimedOut { path }))
        });
        let (status, body) = answer?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| self.invalid(&error));
        }
        let problem: Problem = serde_json::from_slice(&body).map_err(|_| self.invalid(&status))?;
        Err(ClientError::Refused(problem.error))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.path).await;
        let stream = stream.map_err(|source| ClientError::Connect {
            path: self.path.clone(),
            source,
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.invalid(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "control")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.invalid(&error))?;
        // It ends with the runtime.
        let _connection = tokio::spawn(connection);
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES)
                .collect()
                .await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, body.to_bytes()))
        };
        exchange.await.map_err(|error| self.invalid(&error))
    }

    fn invalid(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Answer {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }
}
