//! The HTTP client that fetches a JWK set.
//!
//! It speaks HTTP/1.1, uses the root certificates of the host for `https`, follows no redirects and uses no proxy. Each
//! request has its own connection: there is one every few minutes.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::header::{
    ACCEPT, CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, USER_AGENT,
};
use hyper::{Request, StatusCode};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use super::jwks_url::JwksUrl;
use super::key_file::DOCUMENT_BYTES_MAX;

/// Time limits of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// For the TCP connection.
    pub(super) connect: Duration,
    /// For the whole request: name resolution, connection, TLS, answer and body.
    pub(super) request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(10),
        }
    }
}

/// A client for one URL.
#[derive(Debug)]
pub(super) struct JwksClient {
    url: JwksUrl,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    timeouts: Timeouts,
}

/// The answer of the server.
#[derive(Debug)]
pub(super) struct Answer {
    /// `None` if the document is still the one with the entity tag of the request.
    pub(super) document: Option<Document>,
    /// How long the answer is fresh (`Cache-Control: max-age`).
    pub(super) max_age: Option<Duration>,
}

/// A fetched document.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) content: Bytes,
    /// Entity tag for the next request.
    pub(super) etag: Option<HeaderValue>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchFault {
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// No connection, a certificate that is not trusted, or a connection that breaks.
    #[error("{0}")]
    Unreachable(String),
    #[error("redirected with status {0}; redirects are not followed, use the final URL")]
    Redirect(StatusCode),
    #[error("status {0} instead of 200")]
    Status(StatusCode),
    #[error("answer larger than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
}

impl JwksClient {
    /// Creates a client that trusts the root certificates of the host.
    ///
    /// # Errors
    ///
    /// The URL is `https`, and the host has no root certificates.
    pub(super) fn new(url: JwksUrl) -> io::Result<Self> {
        let roots = if url.is_https() {
            tls_config()?.with_native_roots()?
        } else {
            tls_config()?.with_root_certificates(RootCertStore::empty())
        };
        let tls = roots.with_no_client_auth();
        Ok(Self::with_tls(url, tls, Timeouts::default()))
    }

    fn with_tls(url: JwksUrl, tls: ClientConfig, timeouts: Timeouts) -> Self {
        let mut tcp = HttpConnector::new();
        // The URL may be https.
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(timeouts.connect));
        let schemes = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = if url.is_https() {
            schemes.https_only()
        } else {
            schemes.https_or_http()
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector.enable_http1().wrap_connector(tcp));
        Self {
            url,
            client,
            timeouts,
        }
    }

    pub(super) fn url(&self) -> &JwksUrl {
        &self.url
    }

    /// Fetches the document, unless it is the one with the entity tag `known`.
    pub(super) async fn fetch(&self, known: Option<&HeaderValue>) -> Result<Answer, FetchFault> {
        let limit = self.timeouts.request;
        tokio::time::timeout(limit, self.exchange(known))
            .await
            .unwrap_or(Err(FetchFault::Timeout(limit)))
    }

    async fn exchange(&self, known: Option<&HeaderValue>) -> Result<Answer, FetchFault> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.url.uri().clone();
        let headers = request.headers_mut();
        let accepted = "application/jwk-set+json, application/json";
        headers.insert(ACCEPT, HeaderValue::from_static(accepted));
        let agent = concat!("snapgate/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(known) = known {
            headers.insert(IF_NONE_MATCH, known.clone());
        }
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| FetchFault::Unreachable(chain(&error)))?;
        let (head, body) = answer.into_parts();
        let max_age = max_age(&head.headers);
        match head.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if known.is_some() => {
                return Ok(Answer {
                    document: None,
                    max_age,
                });
            }
            status if status.is_redirection() => return Err(FetchFault::Redirect(status)),
            status => return Err(FetchFault::Status(status)),
        }
        let body = Limited::new(body, DOCUMENT_BYTES_MAX).collect().await;
        let content = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                FetchFault::TooLarge
            } else {
                FetchFault::Unreachable(chain(error.as_ref()))
            }
        })?;
        Ok(Answer {
            document: Some(Document {
                content: content.to_bytes(),
                etag: head.headers.get(ETAG).cloned(),
            }),
            max_age,
        })
    }
}

fn tls_config() -> io::Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)
}

/// Returns the directive `max-age` of `Cache-Control` (RFC 9111, section 5.2.2.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|directive| directive.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("max-age"))
        .and_then(|(_, seconds)| seconds.parse().ok())
        .map(Duration::from_secs)
}

/// Returns the messages of an error and its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
