//! Answers RPCs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response};
use jiff::Timestamp;
use prost::Message as _;
use tokio::sync::Semaphore;

use super::activity::Progress;
use super::backend::{Refusal, Registrations, Tokens};
use super::body::read_body;
use super::code::Code;
use super::endhost_api::{EndhostApi, SegmentsRequest};
use super::error::RpcError;
use super::messages::{
    GetSnapDataPlaneAddressResponse, ListUnderlaysResponse, RegisterSnapTunIdentityResponse, Snap,
    SnapUnderlay, UdpUnderlay,
};
use super::metrics::ControlMetrics;
use super::public::{Family, PublicAddresses};
use super::request::{Call, Method, PROTO, decode, read_head, read_timeout};
use super::server::Handler;
use super::settings::{ControlSettings, Limits};
use crate::claims::{Claims, Identity};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Answers RPCs.
pub(super) struct Rpcs {
    public: PublicAddresses,
    public_key: Identity,
    isd_ases: Vec<u64>,
    behind_proxy: bool,
    limits: Limits,
    tokens: Arc<dyn Tokens>,
    registrations: Arc<dyn Registrations>,
    /// One permit for each registration that may be in progress.
    registering: Arc<Semaphore>,
    endhost_api: Option<EndhostApi>,
    metrics: ControlMetrics,
}

/// What is known of a request when it is complete.
struct Received<'a> {
    method: Method,
    body: Bytes,
    headers: &'a HeaderMap,
    /// IP family by which the client reaches the control plane.
    family: Family,
}

impl Rpcs {
    pub(super) fn new(
        settings: &ControlSettings,
        public: PublicAddresses,
        tokens: Arc<dyn Tokens>,
        registrations: Arc<dyn Registrations>,
        endhost_api: Option<EndhostApi>,
        metrics: ControlMetrics,
    ) -> Self {
        let registering = settings
            .limits
            .registrations
            .clamp(1, Semaphore::MAX_PERMITS);
        Self {
            public,
            public_key: settings.public_key,
            isd_ases: settings.isd_ases.clone(),
            behind_proxy: settings.behind_proxy,
            limits: settings.limits,
            tokens,
            registrations,
            registering: Arc::new(Semaphore::new(registering)),
            endhost_api,
            metrics,
        }
    }

    /// Answers a request of the client at `peer`.
    async fn answer<B>(
        &self,
        peer: IpAddr,
        request: Request<B>,
        progress: &mut Progress,
    ) -> Response<Bytes>
    where
        B: Body<Data = Bytes>,
    {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        for (name, value) in &mut parts.headers {
            // Debug output leaves out sensitive values.
            value.set_sensitive(name == AUTHORIZATION);
        }
        let method = Method::of(parts.uri.path());
        let limit = self.limits.request_time;
        // An invalid timeout is refused with the rest of the header.
        let timeout = read_timeout(&parts.headers).ok().flatten();
        let limit = timeout.map_or(limit, |timeout| timeout.min(limit));
        let call = self.receive_and_call(peer, &parts, body, progress);
        let result = tokio::time::timeout(limit, call).await;
        let result = result.unwrap_or_else(|_| {
            let text = format!("the request was not answered within {limit:?}");
            Err(RpcError::new(Code::DeadlineExceeded, text))
        });
        let code = result.as_ref().map_or_else(RpcError::code, |_| Code::Ok);
        self.metrics.answered(method, code, started.elapsed());
        let (method, code) = (method.name(), code.name());
        let error = result.as_ref().err().and_then(RpcError::log_message);
        tracing::debug!(%peer, method, code, error, "RPC");
        result.map_or_else(RpcError::response, |body| {
            let mut response = Response::new(body);
            let media_type = HeaderValue::from_static(PROTO);
            response.headers_mut().insert(CONTENT_TYPE, media_type);
            response
        })
    }

    async fn receive_and_call<B>(
        &self,
        peer: IpAddr,
        parts: &Parts,
        body: B,
        progress: &mut Progress,
    ) -> Result<Bytes, RpcError>
    where
        B: Body<Data = Bytes>,
    {
        // The token is verified first, so that only its holders can make the server keep bodies. Refused requests are
        // read as well, since the kernel discards an answer on a connection that is closed with unread bytes.
        let admitted = self.admit(parts);
        let time = self.limits.body_time;
        let bytes = admitted.as_ref().map_or(0, |_| self.limits.body_bytes);
        let body = tokio::time::timeout(time, read_body(body, bytes)).await;
        let body = body.unwrap_or_else(|_| {
            let text = format!("the body of the request did not arrive within {time:?}");
            Err(RpcError::new(Code::DeadlineExceeded, text))
        });
        progress.complete();
        let (method, claims) = admitted?;
        let received = Received {
            method,
            body: body?,
            headers: &parts.headers,
            family: Family::of(self.client_ip(peer, &parts.headers)),
        };
        self.call(received, claims).await
    }

    /// Checks the header of a request, verifies its token, and checks that this is not revoked.
    fn admit(&self, parts: &Parts) -> Result<(Method, Claims), RpcError> {
        let head = read_head(parts)?;
        let now = Timestamp::now();
        let claims = self.tokens.verify(head.token, now);
        let claims = claims.map_err(|refusal| {
            self.metrics.refused_token(refusal.reason);
            RpcError::of_token(&refusal)
        })?;
        let permitted = self.registrations.check_revocations(&claims, now);
        permitted.map_err(|refusal| self.refuse(refusal))?;
        Ok((head.method, claims))
    }

    /// Counts the refusal of a registration, or of a revoked token, and returns its error.
    fn refuse(&self, refusal: Refusal) -> RpcError {
        self.metrics.refused_registration(refusal.reason);
        RpcError::of_registration(refusal)
    }

    /// Returns the address of the client, as far as its IP family matters.
    fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.behind_proxy {
            return peer;
        }
        // The last address is the one that the proxy has seen.
        let last = headers.get_all(FORWARDED_FOR).iter().next_back();
        let forwarded = last
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.rsplit(',').next())
            .and_then(|text| parse_ip(text.trim()));
        forwarded.unwrap_or(peer)
    }

    async fn call(&self, received: Received<'_>, claims: Claims) -> Result<Bytes, RpcError> {
        match decode(received.method, &received.body)? {
            Call::ListUnderlays { isd_as } => Ok(self.underlays(isd_as, received.family)),
            Call::ListSegments => self.segments(claims, received).await,
            Call::GetSnapDataPlaneAddress => self.data_plane(received.family),
            Call::RegisterSnapTunIdentity { identity } => self.register(claims, identity).await,
        }
    }

    fn underlays(&self, isd_as: u64, family: Family) -> Bytes {
        let snap = Snap {
            address: self.public.url(family).to_owned(),
            isd_ases: self.isd_ases.clone(),
        };
        let is_served = isd_as == 0 || self.isd_ases.contains(&isd_as);
        let response = ListUnderlaysResponse {
            udp: Some(UdpUnderlay {}),
            snap: Some(SnapUnderlay {
                snaps: if is_served { vec![snap] } else { Vec::new() },
            }),
        };
        response.encode_to_vec().into()
    }

    async fn segments(&self, claims: Claims, received: Received<'_>) -> Result<Bytes, RpcError> {
        let Some(endhost_api) = &self.endhost_api else {
            return Err(RpcError::new(
                Code::Unimplemented,
                "this SNAP does not serve path segments: its operator has not configured an endhost API",
            ));
        };
        let request = SegmentsRequest {
            method: received.method,
            body: received.body,
            pssid: claims.pssid,
            authorization: received.headers.get(AUTHORIZATION).cloned(),
        };
        endhost_api.list_segments(request).await
    }

    fn data_plane(&self, family: Family) -> Result<Bytes, RpcError> {
        let Some(address) = self.public.data_plane(family) else {
            let name = family.name();
            return Err(RpcError::new(
                Code::FailedPrecondition,
                format!(
                    "the data plane of this SNAP has no {name} address; reach its control plane by the other family"
                ),
            ));
        };
        let response = GetSnapDataPlaneAddressResponse {
            address: address.to_string(),
            snap_tun_control_address: Some(self.public.url(family).to_owned()),
            snap_static_x25519: Some(Bytes::copy_from_slice(&self.public_key)),
        };
        Ok(response.encode_to_vec().into())
    }

    async fn register(&self, claims: Claims, identity: Identity) -> Result<Bytes, RpcError> {
        let internal = || RpcError::new(Code::Internal, "the registration failed");
        // Held by the thread until it ends, even if the client gives up before.
        let permit = Arc::clone(&self.registering).acquire_owned().await;
        let permit = permit.map_err(|_| internal())?;
        let registrations = Arc::clone(&self.registrations);
        let register = move || {
            let _permit = permit;
            registrations.register(&claims, identity, Timestamp::now())
        };
        let registered = tokio::task::spawn_blocking(register).await;
        let registered = registered.map_err(|error| {
            tracing::error!(%error, "registration failed");
            internal()
        })?;
        registered.map_err(|refusal| self.refuse(refusal))?;
        let response = RegisterSnapTunIdentityResponse {
            psk_share: Bytes::from_static(&[0; 32]),
        };
        Ok(response.encode_to_vec().into())
    }
}

/// Parses an IP address as proxies write it: IPv6 with or without brackets, with or without a port.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().map(|address: SocketAddr| address.ip()).ok();
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(with_port).or_else(in_brackets)
}

/// Answers the RPCs of one connection.
#[derive(Clone)]
pub(super) struct RpcHandler {
    pub(super) rpcs: Arc<Rpcs>,
    pub(super) peer: IpAddr,
}

impl Handler for RpcHandler {
    async fn handle(self, request: Request<Incoming>, progress: &mut Progress) -> Response<Bytes> {
        self.rpcs.answer(self.peer, request, progress).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_proxies_are_parsed() {
        for text in [
            "192.0.2.1",
            "192.0.2.1:80",
            "2001:db8::1",
            "[2001:db8::1]",
            "[2001:db8::1]:80",
        ] {
            let ip = parse_ip(text).unwrap();
            assert!(["192.0.2.1", "2001:db8::1"].contains(&&*ip.to_string()));
        }
        for text in ["", "unknown", "_hidden", "192.0.2", "[2001:db8::1"] {
            assert_eq!(parse_ip(text), None);
        }
    }
}
