//! Errors of RPCs, encoded as Connect errors.

use std::borrow::Cow;

use bytes::Bytes;
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
    /// False if the message may contain a secret of the client.
    is_loggable: bool,
}

impl RpcError {
    /// An error with the HTTP status of its code.
    pub(super) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: code.status(),
            message: message.into(),
            header: None,
            is_loggable: true,
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

    /// Keeps the message from the log, because it may contain a secret of the client.
    pub(super) fn unlogged(mut self) -> Self {
        self.is_loggable = false;
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

    /// Returns the message, unless it may contain a secret.
    pub(super) fn log_message(&self) -> Option<&str> {
        self.is_loggable.then_some(&self.message)
    }

    /// Encodes the error.
    pub(super) fn response(self) -> Response<Bytes> {
        let body = serde_json::json!({ "code": self.code.name(), "message": self.message });
        let mut response = Response::new(Bytes::from(body.to_string()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_may_contain_a_secret_is_for_the_client_only() {
        let error = RpcError::new(Code::NotFound, "secret");
        assert_eq!(error.log_message(), Some("secret"));
        let error = error.unlogged();
        assert_eq!((error.log_message(), error.message()), (None, "secret"));
    }
}
