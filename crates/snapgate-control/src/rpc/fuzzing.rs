//! What is read from the network, for the fuzz targets.

use bytes::Bytes;
use hyper::http::{Request, Response};
use jiff::Timestamp;

use super::certificate;
use super::code::Code;
use super::endhost_answer::judge;
use super::error::RpcError;
use super::request::{Call, Method, decode, read_head};
use crate::claims::Identity;

/// What the server does with a request whose token is valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It refuses the request.
    Refuse(Refused),
    /// It lists underlays of an ISD-AS; 0 means all.
    ListUnderlays(u64),
    /// It passes the body on to the endhost API.
    ListSegments,
    /// It answers address and key of the data plane.
    GetSnapDataPlaneAddress,
    /// It registers an identity.
    RegisterSnapTunIdentity(Identity),
}

/// A refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Error code.
    pub code: Code,
    /// HTTP status.
    pub status: u16,
    /// Text for the client.
    pub message: String,
    /// True if the body was looked at.
    pub by_body: bool,
}

/// Returns what the server does with a request, or `None` if this is not an HTTP request.
#[must_use]
pub fn decide(
    method: &str,
    path: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> Option<(Method, Decision)> {
    let mut request = Request::builder().method(method).uri(path);
    for &(name, value) in headers {
        request = request.header(name, value);
    }
    let (parts, ()) = request.body(()).ok()?.into_parts();
    let method = Method::of(parts.uri.path());
    let refuse = |error: RpcError, by_body| {
        let (code, message) = (error.code(), error.message().to_owned());
        let status = error.response().status().as_u16();
        Decision::Refuse(Refused {
            code,
            status,
            message,
            by_body,
        })
    };
    let decision = match read_head(&parts) {
        Err(error) => refuse(error, false),
        Ok(head) => match decode(head.method, body) {
            Err(error) => refuse(error, true),
            Ok(Call::ListUnderlays { isd_as }) => Decision::ListUnderlays(isd_as),
            Ok(Call::ListSegments) => Decision::ListSegments,
            Ok(Call::GetSnapDataPlaneAddress) => Decision::GetSnapDataPlaneAddress,
            Ok(Call::RegisterSnapTunIdentity { identity }) => {
                Decision::RegisterSnapTunIdentity(identity)
            }
        },
    };
    Some((method, decision))
}

/// Returns what a client gets for an answer of the endhost API, if that is not an error.
#[must_use]
pub fn pass_on(status: u16, headers: &[(&str, &[u8])], body: &[u8]) -> Option<Bytes> {
    let mut response = Response::builder().status(status);
    for &(name, value) in headers {
        response = response.header(name, value);
    }
    let (parts, ()) = response.body(()).ok()?.into_parts();
    judge(&parts, Bytes::copy_from_slice(body), true).ok()
}

/// Returns begin and end of a certificate in DER.
#[must_use]
pub fn validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    certificate::validity(der).map(|validity| (validity.not_before, validity.not_after))
}
