//! Reads requests: pure functions of method, headers and body.
//!
//! Connect unary requests: <https://connectrpc.com/docs/protocol/#unary-request>.

use std::time::Duration;

use hyper::header::{
    ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName,
    WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use prost::Message;

use super::code::Code;
use super::error::RpcError;
use super::messages::{
    GetSnapDataPlaneAddressRequest, ListSegmentsRequest, ListUnderlaysRequest,
    RegisterSnapTunIdentityRequest,
};
use crate::claims::Identity;

/// Media type of requests and of answers that are not errors.
pub(super) const PROTO: &str = "application/proto";

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
pub(super) const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");

/// Maximum number of digits of a timeout, given by the protocol.
const TIMEOUT_DIGITS: usize = 10;

closed_enum::closed_enum! {
    /// An RPC.
    pub enum Method {
        ListUnderlays: "ListUnderlays", "how to reach the SCION network";
        ListSegments: "ListSegments", "path segments, from the endhost API";
        ListPaths: "ListPaths", "the same for older clients";
        GetSnapDataPlaneAddress: "GetSnapDataPlaneAddress", "address and key of the data plane";
        RegisterSnapTunIdentity: "RegisterSnapTunIdentity", "permission for an identity to have tunnels";
        Unknown: "unknown", "any other path";
    }
}

impl Method {
    /// Returns the method with this path.
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/scion.endhost.v1.UnderlayService/ListUnderlays" => Self::ListUnderlays,
            "/scion.endhost.v1.SegmentsService/ListSegments" => Self::ListSegments,
            "/scion.endhost.v1.PathService/ListPaths" => Self::ListPaths,
            "/anapaya.snap.v1.SnapControl/GetSnapDataPlaneAddress" => Self::GetSnapDataPlaneAddress,
            "/anapaya.snap.v1.SnapControl/RegisterSnapTunIdentity" => Self::RegisterSnapTunIdentity,
            _ => Self::Unknown,
        }
    }
}

/// The header of a request.
pub(super) struct Head<'a> {
    pub(super) method: Method,
    /// From the header `Authorization`; not verified.
    pub(super) token: &'a str,
}

/// Checks the header of a request.
pub(super) fn read_head(parts: &Parts) -> Result<Head<'_>, RpcError> {
    let method = Method::of(parts.uri.path());
    if method == Method::Unknown {
        let text = "this path is not an RPC of a SNAP control plane";
        return Err(RpcError::new(Code::Unimplemented, text).with_status(StatusCode::NOT_FOUND));
    }
    if parts.method != hyper::Method::POST {
        let text = "RPCs are called with the HTTP method POST";
        return Err(RpcError::new(Code::Unimplemented, text)
            .with_status(StatusCode::METHOD_NOT_ALLOWED)
            .with_header(ALLOW, "POST"));
    }
    let headers = &parts.headers;
    check_content_type(headers)?;
    check_encoding(headers)?;
    if let Some(version) = headers.get(PROTOCOL_VERSION)
        && version != "1"
    {
        let text = "connect-protocol-version must be 1";
        return Err(RpcError::new(Code::InvalidArgument, text));
    }
    read_timeout(headers)?;
    let token = read_token(headers)?;
    Ok(Head { method, token })
}

fn check_content_type(headers: &HeaderMap) -> Result<(), RpcError> {
    let value = headers.get(CONTENT_TYPE);
    let media_type = value
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    if media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case(PROTO)) {
        return Ok(());
    }
    let text = if value.is_none() {
        "the request has no content-type; send application/proto"
    } else {
        "the content-type is not supported; send application/proto"
    };
    Err(RpcError::new(Code::InvalidArgument, text)
        .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        .with_header(ACCEPT_POST, PROTO))
}

fn check_encoding(headers: &HeaderMap) -> Result<(), RpcError> {
    let is_identity = |value: &hyper::header::HeaderValue| value == "identity";
    if headers.get_all(CONTENT_ENCODING).iter().all(is_identity) {
        return Ok(());
    }
    let text = "compression is not supported; the only content-encoding is identity";
    Err(RpcError::new(Code::Unimplemented, text).with_header(ACCEPT_ENCODING, "identity"))
}

/// Returns the time that the client gives the server.
pub(super) fn read_timeout(headers: &HeaderMap) -> Result<Option<Duration>, RpcError> {
    let Some(value) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let digits = value.to_str().unwrap_or_default();
    let is_valid = (1..=TIMEOUT_DIGITS).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(milliseconds) if is_valid => Ok(Some(Duration::from_millis(milliseconds))),
        _ => Err(RpcError::new(
            Code::InvalidArgument,
            "connect-timeout-ms must be a number of milliseconds with at most 10 digits",
        )),
    }
}

fn read_token(headers: &HeaderMap) -> Result<&str, RpcError> {
    let refuse = |text: &str| {
        let text = format!("SNAP Token validation failed: {text}");
        RpcError::new(Code::Unauthenticated, text).with_header(WWW_AUTHENTICATE, "Bearer")
    };
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values
        .next()
        .ok_or_else(|| refuse("authorization header is missing"))?;
    if values.next().is_some() {
        return Err(refuse("there is more than one authorization header"));
    }
    let value = value
        .to_str()
        .map_err(|_| refuse("authorization header is not valid UTF-8"))?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => Ok(token.trim()),
        _ => Err(refuse("authorization header is not a bearer token")),
    }
}

/// A decoded request.
#[derive(Debug, PartialEq)]
pub(super) enum Call {
    ListUnderlays {
        /// 0 means all.
        isd_as: u64,
    },
    /// The body is passed on as it is.
    ListSegments,
    GetSnapDataPlaneAddress,
    RegisterSnapTunIdentity {
        identity: Identity,
    },
}

/// Decodes the body of a request.
pub(super) fn decode(method: Method, body: &[u8]) -> Result<Call, RpcError> {
    match method {
        Method::ListUnderlays => {
            let request: ListUnderlaysRequest = message(body)?;
            let isd_as = request.isd_as.unwrap_or_default();
            Ok(Call::ListUnderlays { isd_as })
        }
        Method::ListSegments | Method::ListPaths => {
            message::<ListSegmentsRequest>(body).map(|_| Call::ListSegments)
        }
        Method::GetSnapDataPlaneAddress => {
            message::<GetSnapDataPlaneAddressRequest>(body).map(|_| Call::GetSnapDataPlaneAddress)
        }
        Method::RegisterSnapTunIdentity => decode_registration(&message(body)?),
        Method::Unknown => Err(RpcError::new(Code::Unimplemented, "unknown RPC")),
    }
}

fn message<M: Message + Default>(body: &[u8]) -> Result<M, RpcError> {
    M::decode(body).map_err(|error| {
        let text = format!("cannot decode the request: {error}");
        RpcError::new(Code::InvalidArgument, text)
    })
}

fn decode_registration(request: &RegisterSnapTunIdentityRequest) -> Result<Call, RpcError> {
    let refuse = |text: String| Err(RpcError::new(Code::InvalidArgument, text));
    let key = &request.initiator_static_x25519;
    let Ok(identity) = Identity::try_from(&key[..]) else {
        let bytes = key.len();
        return refuse(format!(
            "initiator_static_x25519 has {bytes} bytes instead of 32"
        ));
    };
    let share = &request.psk_share;
    if !matches!(share.len(), 0 | 32) {
        let bytes = share.len();
        return refuse(format!("psk_share has {bytes} bytes instead of 32"));
    }
    if share.iter().any(|&byte| byte != 0) {
        return refuse("pre-shared keys are not supported; send a psk_share of zeros".to_owned());
    }
    Ok(Call::RegisterSnapTunIdentity { identity })
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use hyper::http::request::Builder;

    use super::*;

    const REGISTER: &str = "/anapaya.snap.v1.SnapControl/RegisterSnapTunIdentity";

    fn request() -> Builder {
        Request::post(REGISTER)
            .header(CONTENT_TYPE, PROTO)
            .header(AUTHORIZATION, "Bearer x.y.z")
    }

    fn parts(builder: Builder) -> Parts {
        builder.body(()).unwrap().into_parts().0
    }

    /// HTTP status and code of the refusal of a header.
    fn refused(builder: Builder) -> (u16, &'static str) {
        let parts = parts(builder);
        let error = read_head(&parts).err().expect("a refused request");
        let code = error.code().name();
        (error.response().status().as_u16(), code)
    }

    #[test]
    fn a_request_of_a_real_client_is_read() {
        let parts = parts(request().header("user-agent", "reqwest-crpc 0.8.6"));
        let head = read_head(&parts).ok().unwrap();
        assert_eq!(head.method, Method::RegisterSnapTunIdentity);
        assert_eq!(head.token, "x.y.z");
        assert_eq!(read_timeout(&parts.headers).ok().unwrap(), None);
    }

    #[test]
    fn parameters_and_letter_case_of_the_content_type_do_not_matter() {
        let builder = Request::post(REGISTER)
            .header(CONTENT_TYPE, "Application/Proto; charset=utf-8")
            .header(AUTHORIZATION, "bearer  x.y.z ");
        assert_eq!(read_head(&parts(builder)).ok().unwrap().token, "x.y.z");
    }

    #[test]
    fn other_content_types_are_refused() {
        let unsupported = (415, "invalid_argument");
        assert_eq!(refused(Request::post(REGISTER)), unsupported);
        for value in [
            "application/json",
            "application/connect+proto",
            "",
            ";",
            "text/plain",
        ] {
            assert_eq!(
                refused(Request::post(REGISTER).header(CONTENT_TYPE, value)),
                unsupported
            );
        }
    }

    #[test]
    fn compressed_requests_are_refused() {
        let builder = request().header(CONTENT_ENCODING, "gzip");
        assert_eq!(refused(builder), (501, "unimplemented"));
        assert!(read_head(&parts(request().header(CONTENT_ENCODING, "identity"))).is_ok());
    }

    #[test]
    fn unknown_paths_and_methods_are_refused() {
        for path in [
            "/",
            "/x",
            "/anapaya.snap.v1.SnapControl/",
            "/anapaya.snap.v1.SnapControl",
        ] {
            assert_eq!(refused(Request::post(path)), (404, "unimplemented"));
        }
        for method in ["GET", "PUT", "OPTIONS", "HEAD"] {
            let builder = request().method(method);
            assert_eq!(refused(builder), (405, "unimplemented"));
        }
    }

    #[test]
    fn requests_without_a_bearer_token_are_refused() {
        let base = || Request::post(REGISTER).header(CONTENT_TYPE, PROTO);
        let unauthenticated = (401, "unauthenticated");
        assert_eq!(refused(base()), unauthenticated);
        for value in ["x.y.z", "Basic dTpw", "Bearer", "\u{e9}"] {
            assert_eq!(
                refused(base().header(AUTHORIZATION, value)),
                unauthenticated
            );
        }
        let twice = request().header(AUTHORIZATION, "Bearer other");
        assert_eq!(refused(twice), unauthenticated);
    }

    #[test]
    fn another_protocol_version_is_refused() {
        let version = |value: &str| request().header(PROTOCOL_VERSION, value);
        assert_eq!(refused(version("2")), (400, "invalid_argument"));
        assert!(read_head(&parts(version("1"))).is_ok());
    }

    #[test]
    fn timeouts_have_at_most_ten_digits() {
        let timeout = |value: &str| read_timeout(&parts(request().header(TIMEOUT, value)).headers);
        assert_eq!(timeout("0").unwrap(), Some(Duration::ZERO));
        assert_eq!(
            timeout("9999999999").unwrap(),
            Some(Duration::from_millis(9_999_999_999))
        );
        for value in ["", "10000000000", "-1", "+1", "1.5", "1s", " 1x", "\u{661}"] {
            assert!(timeout(value).is_err(), "{value:?}");
        }
    }

    fn registration(key: &[u8], share: &[u8]) -> Vec<u8> {
        RegisterSnapTunIdentityRequest {
            initiator_static_x25519: key.to_vec().into(),
            psk_share: share.to_vec().into(),
        }
        .encode_to_vec()
    }

    #[test]
    fn a_registration_has_a_key_of_32_bytes() {
        let method = Method::RegisterSnapTunIdentity;
        let identity = [9; 32];
        for share in [&[][..], &[0; 32]] {
            let call = decode(method, &registration(&identity, share)).unwrap();
            assert_eq!(call, Call::RegisterSnapTunIdentity { identity });
        }
        for bytes in [0, 1, 31, 33, 64] {
            let error = decode(method, &registration(&vec![9; bytes], &[])).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument);
            assert!(error.message().contains(&format!("has {bytes} bytes")));
        }
    }

    #[test]
    fn a_pre_shared_key_is_refused() {
        for share in [&[0; 31][..], &[0; 33], &[1; 32]] {
            let error = decode(
                Method::RegisterSnapTunIdentity,
                &registration(&[9; 32], share),
            );
            assert_eq!(error.unwrap_err().code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn fields_of_later_versions_are_ignored() {
        // Field 15 with the text "new".
        let body = [&registration(&[9; 32], &[0; 32])[..], b"\x7a\x03new"].concat();
        assert!(decode(Method::RegisterSnapTunIdentity, &body).is_ok());
        assert!(decode(Method::GetSnapDataPlaneAddress, b"\x7a\x03new").is_ok());
    }

    #[test]
    fn a_truncated_body_is_refused() {
        let whole = registration(&[9; 32], &[0; 32]);
        for length in 0..whole.len() {
            // At the end of a field, what is left is a message without the rest.
            if length != 34 {
                assert!(decode(Method::RegisterSnapTunIdentity, &whole[..length]).is_err());
            }
        }
        for method in [
            Method::ListUnderlays,
            Method::ListSegments,
            Method::ListPaths,
        ] {
            let error = decode(method, b"\x08").unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument);
        }
    }
}
