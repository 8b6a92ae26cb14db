//! Errors of RPCs, encoded as Connect errors.

use std::borrow::Cow;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::backend::{Refusal, RefusalKind};
use super::code::Code;

/// Error of an RPC.
#[derive(Debug)]
pub(super) struct RpcError {
    code: Code,
    status: StatusCode,
    message: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl RpcError {
    /// An error with the HTTP status of its code.
    pub(super) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: code.status(),
            message: message.into(),
            header: None,
        }
    }

    /// Replaces the HTTP status, where HTTP has a more specific one.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Adds a header to the response.
    pub(super) fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, HeaderValue::from_static(value)));
        self
    }

    /// The refusal of a token, with the text of snap-control.
    pub(super) fn of_token(refusal: &Refusal) -> Self {
        Self::new(
            code_of(refusal.kind),
            format!("SNAP Token validation failed: {}", refusal.message),
        )
    }

    /// The refusal of a registration.
    pub(super) fn of_registration(refusal: Refusal) -> Self {
        Self::new(code_of(refusal.kind), refusal.message)
    }

    pub(super) fn code(&self) -> Code {
        self.code
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Encodes the error.
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let body = serde_json::json!({ "code": self.code.name(), "message": self.message });
        let mut response = Response::new(Full::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(self.header);
        response
    }
}

const fn code_of(kind: RefusalKind) -> Code {
    match kind {
        RefusalKind::InvalidArgument => Code::InvalidArgument,
        RefusalKind::Unauthenticated => Code::Unauthenticated,
        RefusalKind::PermissionDenied => Code::PermissionDenied,
        RefusalKind::ResourceExhausted => Code::ResourceExhausted,
        RefusalKind::Unavailable => Code::Unavailable,
    }
}
