//! Error codes of the Connect protocol, and their HTTP statuses
//! (<https://connectrpc.com/docs/protocol/#error-codes>).

use hyper::StatusCode;

closed_enum::closed_enum! {
    /// Outcome of an RPC.
    pub enum Code {
        Ok: "ok", "answered";
        InvalidArgument: "invalid_argument", "the request is wrong";
        DeadlineExceeded: "deadline_exceeded", "the time for the request ended";
        NotFound: "not_found", "the endhost API does not know what was requested";
        PermissionDenied: "permission_denied", "the token does not permit the request";
        ResourceExhausted: "resource_exhausted", "a limit is reached";
        FailedPrecondition: "failed_precondition", "the server is not configured for the request";
        Unimplemented: "unimplemented", "the server does not support the request";
        Internal: "internal", "the server failed";
        Unavailable: "unavailable", "the server cannot answer now";
        Unauthenticated: "unauthenticated", "the request has no valid token";
    }
}

impl Code {
    /// Returns the HTTP status of a response with this code.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Ok => StatusCode::OK,
            Self::InvalidArgument | Self::FailedPrecondition => StatusCode::BAD_REQUEST,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
        }
    }
}
