//! Answers requests of the local interface.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::api::{
    Problem, RegistrationPage, RemovalAnswer, RevocationAnswer, RevocationList, RevocationRequest,
    identity_text, parse_identity,
};
use crate::claims::{Identity, Pssid, TokenId};
use crate::registry::{Filter, Revoked, Selector};
use crate::rpc::activity::Progress;
use crate::rpc::backend::{Refusal, RefusalKind, Registrations, RevocationInForce};
use crate::rpc::body::read_body;
use crate::rpc::server::Handler;
use crate::rpc::settings::Limits;

/// Maximum number of calls of the store at the same time that do not wait for storage: listings, and revocations that
/// take effect. Hanging storage delays none of them.
const QUICK_CALLS: usize = 2;

/// Maximum number of calls of the store at the same time that wait for storage.
const STORING_CALLS: usize = 4;

/// Maximum number of calls of the store at the same time. They have threads apart from those of registrations, so that
/// a flood of registrations does not delay revocations.
pub(in crate::rpc) const BLOCKING_CALLS: usize = QUICK_CALLS + STORING_CALLS;

/// Number of registrations on a page: by default, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;

/// Answers requests of the local interface.
#[derive(Clone)]
pub(in crate::rpc) struct LocalApi {
    registrations: Arc<dyn Registrations>,
    /// Permits of calls that do not wait for storage.
    quick: Arc<Semaphore>,
    /// Permits of calls that wait for storage.
    storing: Arc<Semaphore>,
    limits: Limits,
}

/// HTTP status and text of an error.
type Failure = (StatusCode, String);

/// A call that has done everything for which it does not wait for storage.
enum Begun {
    /// It has ended, with this answer.
    Done(String),
    /// It waits for storage.
    Storing {
        wait: Box<dyn FnOnce() -> Result<String, Failure> + Send>,
        /// Begin of the error that the store did not answer in time.
        state: String,
    },
}

/// A parsed request.
enum Call {
    List {
        after: Option<Identity>,
        limit: usize,
        filter: Filter,
    },
    Revocations,
    Revoke(Selector, Option<Timestamp>),
    Unrevoke(Selector),
}

impl LocalApi {
    pub(in crate::rpc) fn new(registrations: Arc<dyn Registrations>, limits: Limits) -> Self {
        Self {
            registrations,
            quick: Arc::new(Semaphore::new(QUICK_CALLS)),
            storing: Arc::new(Semaphore::new(STORING_CALLS)),
            limits,
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        progress: &mut Progress,
    ) -> Result<String, Failure> {
        let limit = self.limits.request_time;
        let deadline = Instant::now() + limit;
        let late = |state: &str| {
            let text = format!("{state}the store did not answer within {limit:?}");
            (StatusCode::GATEWAY_TIMEOUT, text)
        };
        let begun = timeout_at(deadline, self.receive_and_begin(request, progress)).await;
        match begun.unwrap_or_else(|_| Err(late("")))? {
            Begun::Done(answer) => Ok(answer),
            Begun::Storing { wait, state } => {
                let stored = timeout_at(deadline, run(&self.storing, wait)).await;
                stored.unwrap_or_else(|_| Err(late(&state)))
            }
        }
    }

    async fn receive_and_begin(
        &self,
        request: Request<Incoming>,
        progress: &mut Progress,
    ) -> Result<Begun, Failure> {
        let (parts, body) = request.into_parts();
        let body = read_body(body, self.limits.body_bytes);
        let body = tokio::time::timeout(self.limits.body_time, body).await;
        progress.complete();
        let body = match body {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return Err((StatusCode::BAD_REQUEST, error.message().to_owned())),
            Err(_) => {
                let text = "the body of the request did not arrive in time".to_owned();
                return Err((StatusCode::REQUEST_TIMEOUT, text));
            }
        };
        let call = parse(&parts, &body)?;
        let registrations = Arc::clone(&self.registrations);
        run(&self.quick, move || call.begin(registrations)).await
    }
}

/// Calls the store on a blocking thread, when there is a permit.
async fn run<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    call: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let internal = |text: &str| (StatusCode::INTERNAL_SERVER_ERROR, text.to_owned());
    // Held by the thread until it ends, even if the client gives up before.
    let permit = Arc::clone(permits).acquire_owned().await;
    let permit = permit.map_err(|_| internal("the server has ended"))?;
    let run = move || {
        let _permit = permit;
        call()
    };
    let result = tokio::task::spawn_blocking(run).await;
    result.map_err(|_| internal("the store failed"))?
}

fn parse(parts: &Parts, body: &[u8]) -> Result<Call, Failure> {
    let bad = |text| (StatusCode::BAD_REQUEST, text);
    let query = parts.uri.query().unwrap_or_default();
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/registrations") => parse_list(query).map_err(bad),
        (&Method::GET, "/revocations") => Ok(Call::Revocations),
        (&Method::POST, "/revocations") => {
            let request: RevocationRequest =
                serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
            let selector = request.selector().map_err(bad)?;
            Ok(Call::Revoke(selector, request.until))
        }
        (&Method::DELETE, "/revocations") => {
            let selector = parse_selector(query).map_err(bad)?;
            Ok(Call::Unrevoke(selector))
        }
        (method, path) => {
            let text = format!("there is no {method} {path}");
            Err((StatusCode::NOT_FOUND, text))
        }
    }
}

fn parse_list(query: &str) -> Result<Call, String> {
    let mut after = None;
    let mut limit = PAGE;
    let mut filter = Filter::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "after" => after = Some(parse_identity(&value)?),
            "limit" => {
                let parsed: Option<usize> = value.parse().ok();
                let parsed = parsed.filter(|limit| (1..=PAGE_MAX).contains(limit));
                limit = parsed.ok_or_else(|| format!("limit must be 1 to {PAGE_MAX}"))?;
            }
            "pssid" => filter.pssid = Some(Pssid((&*value).into())),
            "token" => filter.token = Some(TokenId((&*value).into())),
            _ => return Err(format!("unknown parameter {name:?}")),
        }
    }
    Ok(Call::List {
        after,
        limit,
        filter,
    })
}

fn parse_selector(query: &str) -> Result<Selector, String> {
    let mut request = RevocationRequest::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let field = match &*name {
            "token" => &mut request.token,
            "pssid" => &mut request.pssid,
            "identity" => &mut request.identity,
            _ => return Err(format!("unknown parameter {name:?}")),
        };
        *field = Some(value.into_owned());
    }
    request.selector()
}

impl Call {
    /// Calls the store, as far as it does not wait for storage, and encodes its answer.
    fn begin(self, registrations: Arc<dyn Registrations>) -> Result<Begun, Failure> {
        let answer = match self {
            Self::List {
                after,
                limit,
                filter,
            } => {
                let page = registrations.list(after, limit, &filter).map_err(failure)?;
                encode(&RegistrationPage {
                    registrations: page.registrations.into_iter().map(Into::into).collect(),
                    next: page.next.as_ref().map(identity_text),
                })?
            }
            Self::Revocations => {
                let mut all = Vec::new();
                let mut after = None;
                loop {
                    let page = registrations.revocations(after.as_ref(), PAGE_MAX);
                    let page = page.map_err(failure)?;
                    let Some(last) = page.last() else {
                        break;
                    };
                    after = Some(last.selector.clone());
                    all.extend(page.into_iter().map(Into::into));
                }
                encode(&RevocationList { revocations: all })?
            }
            Self::Revoke(selector, until) => {
                let revocation = registrations.revoke(&selector, until, Timestamp::now());
                return Ok(Begun::of(revocation.map_err(failure)?));
            }
            Self::Unrevoke(selector) => {
                let unrevoke = move || {
                    let existed = registrations.unrevoke(&selector, Timestamp::now());
                    let existed = existed.map_err(failure)?;
                    encode(&RemovalAnswer { existed })
                };
                return Ok(Begun::Storing {
                    wait: Box::new(unrevoke),
                    state: "it is not known whether the revocation is removed: ".to_owned(),
                });
            }
        };
        Ok(Begun::Done(answer))
    }
}

impl Begun {
    fn of(revocation: RevocationInForce) -> Self {
        let Revoked { ended, until } = revocation.revoked;
        let wait = revocation.wait;
        Self::Storing {
            wait: Box::new(move || {
                let Revoked { ended, until } = wait().map_err(failure)?;
                encode(&RevocationAnswer { ended, until })
            }),
            state: format!(
                "the revocation is in force until {until} (registrations ended: {ended}) but not stored yet, a restart \
                 would forget it: "
            ),
        }
    }
}

fn failure(refusal: Refusal) -> Failure {
    let status = match refusal.kind {
        RefusalKind::InvalidArgument => StatusCode::BAD_REQUEST,
        RefusalKind::Unauthenticated | RefusalKind::PermissionDenied => StatusCode::FORBIDDEN,
        RefusalKind::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, refusal.message)
}

fn encode(answer: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(answer)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

impl Handler for LocalApi {
    async fn handle(self, request: Request<Incoming>, progress: &mut Progress) -> Response<Bytes> {
        let (status, body) = match self.answer(request, progress).await {
            Ok(body) => (StatusCode::OK, body),
            Err((status, error)) => (status, encode(&Problem { error }).unwrap_or_default()),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let media_type = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        response
    }
}
