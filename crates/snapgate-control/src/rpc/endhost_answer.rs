//! What an answer of the endhost API means to the client.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use hyper::http::response::Parts;
use prost::Message as _;
use serde::Deserialize;

use super::code::Code;
use super::error::RpcError;
use super::messages::ListSegmentsResponse;
use super::metrics::EndhostApiResult;
use super::request::PROTO;

/// Maximum length of an error text that is passed on, in characters.
const TEXT: usize = 200;

/// A request that the endhost API did not answer.
#[derive(Debug, PartialEq)]
pub(super) enum Failure {
    /// The request is at fault.
    Refused(Code, String),
    /// It does not have the method.
    NotServed,
    /// It reported an error, or the connection failed.
    Failed(String),
    /// The answer is not one to this request.
    Invalid(String),
    Unreachable(String),
    TimedOut,
    /// It was not asked, because other requests occupied it.
    NotAsked,
}

impl Failure {
    pub(super) fn result(&self) -> EndhostApiResult {
        match self {
            Self::Refused(..) => EndhostApiResult::Refused,
            Self::NotServed | Self::Failed(_) => EndhostApiResult::Failed,
            Self::Invalid(_) => EndhostApiResult::Invalid,
            Self::Unreachable(_) => EndhostApiResult::Unreachable,
            Self::TimedOut => EndhostApiResult::TimedOut,
            Self::NotAsked => EndhostApiResult::NotAsked,
        }
    }

    /// Returns the text for the log if the endhost API is at fault.
    pub(super) fn problem(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Refused(..) | Self::NotAsked => None,
            Self::NotServed => Some(
                "it has neither SegmentsService/ListSegments nor PathService/ListPaths; check its URL".into(),
            ),
            Self::Failed(text) | Self::Invalid(text) | Self::Unreachable(text) => {
                Some(text.into())
            }
            Self::TimedOut => Some("no answer in time".into()),
        }
    }

    /// Returns the error for the client. Addresses of the inside stay in the log.
    pub(super) fn into_error(self, limit: Duration) -> RpcError {
        let text = match self {
            Self::Refused(code, text) => return RpcError::new(code, text),
            Self::NotServed => {
                "the endhost API of this SNAP does not serve path segments".to_owned()
            }
            Self::Failed(_) => "the endhost API of this SNAP failed".to_owned(),
            Self::Invalid(_) => "the endhost API of this SNAP sent an invalid answer".to_owned(),
            Self::Unreachable(_) => "the endhost API of this SNAP cannot be reached".to_owned(),
            Self::TimedOut => {
                format!("the endhost API of this SNAP did not answer within {limit:?}")
            }
            Self::NotAsked => format!(
                "earlier requests occupied the endhost API of this SNAP for {limit:?}; try again later"
            ),
        };
        RpcError::new(Code::Unavailable, text)
    }
}

/// A Connect error.
#[derive(Deserialize)]
struct ConnectError {
    code: String,
    #[serde(default)]
    message: String,
}

/// Returns the answer if it is one to a request of segments. `has_token` is true if the request contained the token of
/// the client.
pub(super) fn judge(parts: &Parts, body: Bytes, has_token: bool) -> Result<Bytes, Failure> {
    if parts.status != StatusCode::OK {
        return Err(failure(parts.status, &body, has_token));
    }
    let invalid = |text: &str| Err(Failure::Invalid(text.to_owned()));
    let header = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let media_type = header(CONTENT_TYPE).and_then(|value| value.split(';').next());
    if !media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(PROTO)) {
        return invalid("the answer is not of the type application/proto");
    }
    if parts.headers.contains_key(CONTENT_ENCODING) && header(CONTENT_ENCODING) != Some("identity")
    {
        return invalid("the answer is compressed");
    }
    match ListSegmentsResponse::decode(body.clone()) {
        Ok(_) => Ok(body),
        Err(error) => invalid(&format!("the answer cannot be decoded: {error}")),
    }
}

fn failure(status: StatusCode, body: &[u8], has_token: bool) -> Failure {
    let (code, message) = match serde_json::from_slice::<ConnectError>(body) {
        Ok(error) => (Cow::from(error.code), error.message),
        // The endhost API of 0.8.6 sends some errors as plain text.
        Err(_) => {
            let text = String::from_utf8_lossy(body).into_owned();
            (code_of(status).into(), text)
        }
    };
    let text: String = message.chars().take(TEXT).collect();
    let failed = |reason: &str| {
        Failure::Failed(if has_token {
            format!(
                "HTTP status {status}; its text is not logged, since it may contain the forwarded token"
            )
        } else {
            format!("{reason}HTTP status {status}, {code}: {text}")
        })
    };
    let refused =
        |code| Failure::Refused(code, format!("the endhost API refused the request: {text}"));
    match &*code {
        "invalid_argument" | "out_of_range" => refused(Code::InvalidArgument),
        "not_found" => refused(Code::NotFound),
        "failed_precondition" => refused(Code::FailedPrecondition),
        "resource_exhausted" => refused(Code::ResourceExhausted),
        "unimplemented" => Failure::NotServed,
        "unauthenticated" if has_token => refused(Code::Unauthenticated),
        "permission_denied" if has_token => refused(Code::PermissionDenied),
        "unauthenticated" | "permission_denied" => {
            failed("it demands the token of the client, which is not forwarded by the settings: ")
        }
        _ => failed(""),
    }
}

/// Returns the code of a response without a Connect error
/// (<https://connectrpc.com/docs/protocol/#http-to-error-code>).
const fn code_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "invalid_argument",
        401 => "unauthenticated",
        403 => "permission_denied",
        404 => "unimplemented",
        429 => "resource_exhausted",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use hyper::Response;

    use super::*;

    fn judged(
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
        has_token: bool,
    ) -> Result<Bytes, Failure> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let (parts, ()) = response.body(()).unwrap().into_parts();
        judge(&parts, Bytes::copy_from_slice(body), has_token)
    }

    const TYPE: (&str, &str) = ("content-type", "application/proto");

    /// Two segments, of which only the lengths are looked at, and a page token.
    const SEGMENTS: &[u8] = b"\x0a\x03xyz\x1a\x01z\x22\x01p";

    #[test]
    fn an_answer_with_segments_is_passed_on_as_it_is() {
        for body in [SEGMENTS, b""] {
            assert_eq!(judged(200, &[TYPE], body, false).unwrap(), body);
        }
    }

    #[test]
    fn anything_else_with_status_200_is_invalid() {
        for (headers, body) in [
            (&[][..], SEGMENTS),
            (&[("content-type", "text/html")], b"<html>"),
            (&[TYPE, ("content-encoding", "gzip")], SEGMENTS),
            (&[TYPE], b"\x0a\x05xyz"),
            (&[TYPE], b"<html>"),
        ] {
            let failure = judged(200, headers, body, false).unwrap_err();
            assert!(matches!(failure, Failure::Invalid(_)), "{failure:?}");
        }
    }

    #[test]
    fn errors_that_the_request_caused_are_passed_on() {
        let refused = |status, body: &str| match judged(status, &[], body.as_bytes(), true) {
            Err(Failure::Refused(code, text)) => (code, text),
            other => panic!("{other:?}"),
        };
        let (code, text) = refused(400, "invalid destination");
        assert_eq!(code, Code::InvalidArgument);
        assert_eq!(
            text,
            "the endhost API refused the request: invalid destination"
        );
        let json = r#"{"code":"not_found","message":"no such AS","details":[]}"#;
        assert_eq!(refused(404, json).0, Code::NotFound);
        assert_eq!(refused(429, "").0, Code::ResourceExhausted);
        assert_eq!(refused(401, "").0, Code::Unauthenticated);
        assert_eq!(
            refused(403, r#"{"code":"permission_denied"}"#).0,
            Code::PermissionDenied
        );
        assert!(refused(400, &"é".repeat(100_000)).1.len() < 500);
    }

    #[test]
    fn a_missing_method_is_recognized() {
        for (status, body) in [
            (404, ""),
            (404, "not found"),
            (501, r#"{"code":"unimplemented"}"#),
        ] {
            assert_eq!(
                judged(status, &[], body.as_bytes(), false),
                Err(Failure::NotServed)
            );
        }
    }

    #[test]
    fn a_demand_for_a_token_that_is_not_forwarded_is_not_the_fault_of_the_client() {
        for status in [401, 403] {
            let failure = judged(status, &[], b"SNAP Token validation failed", false).unwrap_err();
            assert!(failure.problem().unwrap().contains("not forwarded"));
            assert_eq!(failure.into_error(Duration::ZERO).code(), Code::Unavailable);
        }
    }

    #[test]
    fn the_text_of_an_endhost_api_that_got_the_token_is_not_logged() {
        for (status, body) in [
            (500, "eyJ.secret.sig"),
            (500, r#"{"code":"internal","message":"eyJ.secret.sig"}"#),
            (503, r#"{"code":"eyJ.secret.sig","message":""}"#),
        ] {
            let problem = |has_token| {
                let failure = judged(status, &[], body.as_bytes(), has_token).unwrap_err();
                failure.problem().unwrap().into_owned()
            };
            let logged = problem(true);
            assert!(
                logged.contains(&format!("HTTP status {status}")),
                "{logged}"
            );
            assert!(!logged.contains("secret"), "{logged}");
            assert!(problem(false).contains("secret"));
        }
    }

    #[test]
    fn errors_of_the_endhost_api_mean_unavailable() {
        for (status, body) in [
            (500, "broken"),
            (302, ""),
            (503, r#"{"code":"unavailable","message":"10.0.0.1 down"}"#),
            (200 + 4, ""),
        ] {
            let failure = judged(status, &[], body.as_bytes(), true).unwrap_err();
            let error = failure.into_error(Duration::ZERO);
            assert_eq!(error.code(), Code::Unavailable);
            assert_eq!(error.message(), "the endhost API of this SNAP failed");
        }
    }
}
