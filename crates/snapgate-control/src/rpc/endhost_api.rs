//! Passes requests of path segments on to another endhost API.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::http::uri::Scheme;
use hyper::{Request, Uri};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::code::Code;
use super::endhost_answer::{Failure, judge};
use super::error::RpcError;
use super::log_limit::LogLimit;
use super::metrics::{ControlMetrics, EndhostApiResult, LookupRefusal};
use super::owner::owning;
use super::request::{Method, PROTO, TIMEOUT};
use super::resolver::Resolver;
use super::settings::EndhostApiSettings;
use super::shares::Shares;
use super::start_error::{StartError, TlsError};
use super::tls::{provider, read_certificates};
use crate::claims::Pssid;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");

/// Time for which an unused connection is kept. Shorter than that of usual servers, so that a request does not meet a
/// connection that the server is closing.
const POOL_IDLE: std::time::Duration = std::time::Duration::from_secs(10);

/// Checks the settings of an endhost API and reads its certificates, as a server does when it starts.
///
/// # Errors
///
/// They cannot be used. A wrong file of certificates is a [`StartError::Tls`].
pub fn check_endhost_api(settings: &EndhostApiSettings) -> Result<(), StartError> {
    EndhostApi::new(settings, ControlMetrics::new()).map(drop)
}

/// Client of an endhost API.
pub(super) struct EndhostApi {
    settings: EndhostApiSettings,
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    list_segments: Uri,
    list_paths: Uri,
    /// One permit for each request that may be in progress.
    free: Semaphore,
    /// One share for each request of a subscriber that may wait or be in progress, until its answer was sent.
    shares: Arc<Shares>,
    /// One permit for each byte of answers that may wait to be sent.
    unsent: Arc<Semaphore>,
    metrics: ControlMetrics,
    log: Mutex<LogLimit>,
}

/// A request of path segments.
pub(super) struct SegmentsRequest {
    /// Which of the two methods the client called.
    pub(super) method: Method,
    pub(super) body: Bytes,
    pub(super) pssid: Pssid,
    /// The header `Authorization` of the client.
    pub(super) authorization: Option<HeaderValue>,
}

impl EndhostApi {
    pub(super) fn new(
        settings: &EndhostApiSettings,
        metrics: ControlMetrics,
    ) -> Result<Self, StartError> {
        let base = Base::parse(&settings.url)?;
        let mut http = HttpConnector::new_with_resolver(Resolver::new());
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(settings.connect_timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(settings, base.is_https)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(settings.concurrency)
            .build(connector);
        // There is always room for one answer.
        let unsent_bytes = settings.unsent_bytes.max(settings.response_bytes);
        Ok(Self {
            client,
            list_segments: base.join("scion.endhost.v1.SegmentsService/ListSegments")?,
            list_paths: base.join("scion.endhost.v1.PathService/ListPaths")?,
            free: Semaphore::new(settings.concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            shares: Shares::new(settings.concurrency_per_subscriber),
            unsent: Arc::new(Semaphore::new(unsent_bytes.min(Semaphore::MAX_PERMITS))),
            settings: settings.clone(),
            metrics,
            log: Mutex::default(),
        })
    }

    /// Returns the answer of the endhost API. Until that was sent, it counts against the limits.
    pub(super) async fn list_segments(&self, request: SegmentsRequest) -> Result<Bytes, RpcError> {
        let refuse = |refusal: LookupRefusal| {
            self.metrics.refused_lookup(refusal);
            let text = format!("{refusal}; try again later");
            RpcError::new(Code::ResourceExhausted, text)
        };
        let share = self.shares.take(&request.pssid);
        let share = share.ok_or_else(|| refuse(LookupRefusal::SubscriberLimit))?;
        let answer = self.ask_in_turn(&request).await;
        self.metrics.asked_endhost_api(match &answer {
            Ok(_) => EndhostApiResult::Answered,
            Err(failure) => failure.result(),
        });
        self.log(answer.as_ref().err());
        let answer = answer.map_err(|failure| {
            let error = failure.into_error(self.settings.timeout);
            // The endhost API may have put the token into its text.
            if self.settings.forward_token {
                error.unlogged()
            } else {
                error
            }
        })?;
        let bytes = u32::try_from(answer.len()).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.unsent).try_acquire_many_owned(bytes);
        let memory = memory.map_err(|_| refuse(LookupRefusal::UnsentAnswers))?;
        Ok(owning(answer, (share, memory)))
    }

    /// Waits for a permit and asks, each within the limit of time.
    async fn ask_in_turn(&self, request: &SegmentsRequest) -> Result<Bytes, Failure> {
        let limit = self.settings.timeout;
        let Ok(Ok(_free)) = tokio::time::timeout(limit, self.free.acquire()).await else {
            return Err(Failure::NotAsked);
        };
        let answer = tokio::time::timeout(limit, self.ask(request)).await;
        answer.unwrap_or(Err(Failure::TimedOut))
    }

    async fn ask(&self, request: &SegmentsRequest) -> Result<Bytes, Failure> {
        // Messages of both methods are equal. Old endhost APIs have one of them, new ones the other.
        let [first, second] = match request.method {
            Method::ListPaths => [&self.list_paths, &self.list_segments],
            _ => [&self.list_segments, &self.list_paths],
        };
        match self.send(first, request).await {
            Err(Failure::NotServed) => self.send(second, request).await,
            answer => answer,
        }
    }

    async fn send(&self, uri: &Uri, request: &SegmentsRequest) -> Result<Bytes, Failure> {
        let mut message = Request::new(Full::new(request.body.clone()));
        *message.method_mut() = hyper::Method::POST;
        *message.uri_mut() = uri.clone();
        let headers = message.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTO));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static("1"));
        let agent = concat!("snapgate/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let milliseconds = self.settings.timeout.as_millis();
        let milliseconds = u32::try_from(milliseconds).unwrap_or(u32::MAX);
        headers.insert(TIMEOUT, milliseconds.into());
        if self.settings.forward_token
            && let Some(authorization) = &request.authorization
        {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let response = self.client.request(message).await.map_err(|error| {
            let text = with_causes(&error);
            if error.is_connect() {
                Failure::Unreachable(text)
            } else {
                Failure::Failed(text)
            }
        })?;
        let (parts, body) = response.into_parts();
        let limit = self.settings.response_bytes;
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Failure::Invalid(format!("the answer has more than {limit} bytes"))
            } else {
                Failure::Failed(with_causes(&*error))
            }
        })?;
        judge(&parts, body.to_bytes(), self.settings.forward_token)
    }

    fn log(&self, failure: Option<&Failure>) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let url = &self.settings.url;
        match failure.map(Failure::problem) {
            None => {
                if log.end() {
                    tracing::info!(url, "endhost API answers again");
                }
            }
            // Caused by requests.
            Some(None) => {}
            Some(Some(problem)) => {
                if log.is_due(Instant::now()) {
                    let problem = &*problem;
                    tracing::warn!(url, problem, "endhost API does not serve path segments");
                }
            }
        }
    }
}

/// A checked URL of an endhost API.
struct Base<'a> {
    /// Without a slash at the end.
    url: &'a str,
    is_https: bool,
}

impl<'a> Base<'a> {
    fn parse(url: &'a str) -> Result<Self, StartError> {
        let refuse = |reason: &str| {
            StartError::Setting(format!("{url} is not a URL of an endhost API: {reason}"))
        };
        let uri = url
            .parse::<Uri>()
            .map_err(|error| refuse(&error.to_string()))?;
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(refuse("it must begin with http:// or https://")),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') || uri.query().is_some() {
            return Err(refuse("it must not contain a user name or a query"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(refuse("it has no host"));
        }
        Ok(Self {
            url: url.trim_end_matches('/'),
            is_https,
        })
    }

    fn join(&self, path: &str) -> Result<Uri, StartError> {
        let joined = format!("{}/{path}", self.url);
        joined.parse::<Uri>().map_err(|error| {
            StartError::Setting(format!("{joined} is not a URL of an endhost API: {error}"))
        })
    }
}

fn tls_config(settings: &EndhostApiSettings, is_https: bool) -> Result<ClientConfig, StartError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| StartError::Setting(format!("no TLS version can be used: {error}")))?;
    let builder = if let Some(file) = &settings.ca_file {
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(file)? {
            roots.add(certificate).map_err(|error| TlsError {
                file: file.clone(),
                reason: format!("a certificate cannot be used: {error}"),
            })?;
        }
        builder.with_root_certificates(roots)
    } else if is_https {
        builder.with_native_roots().map_err(|error| {
            StartError::Setting(format!(
                "no certificates to check that of the endhost API: {error}; install the package ca-certificates or \
                 give a file of certificates"
            ))
        })?
    } else {
        builder.with_root_certificates(RootCertStore::empty())
    };
    Ok(builder.with_no_client_auth())
}

/// Returns the text of an error and of its causes.
fn with_causes(error: &(dyn StdError + 'static)) -> String {
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
mod tests {
    use super::*;

    fn joined(url: &str) -> String {
        let base = Base::parse(url).unwrap();
        base.join("S/M").unwrap().to_string()
    }

    #[test]
    fn a_path_of_the_url_is_put_before_that_of_the_rpc() {
        assert_eq!(joined("http://192.0.2.1:80"), "http://192.0.2.1:80/S/M");
        assert_eq!(joined("https://name/a/b/"), "https://name/a/b/S/M");
        assert!(Base::parse("https://name").unwrap().is_https);
    }

    #[test]
    fn urls_that_cannot_be_used_are_refused() {
        for url in [
            "",
            "name",
            "/a",
            "ftp://name",
            "http://",
            "http://u@name",
            "http://name?q",
        ] {
            assert!(Base::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_plain_endhost_api_needs_no_certificates() {
        let settings = EndhostApiSettings::new("http://127.0.0.1:1");
        assert!(tls_config(&settings, false).is_ok());
    }
}
