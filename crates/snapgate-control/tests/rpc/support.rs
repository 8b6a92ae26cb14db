//! Servers and clients for the tests.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use snapgate_control::registry::{Filter, Page, Registration, Revocation, Revoked, Selector};
use snapgate_control::rpc::{
    Code, ControlPlane, ControlSettings, Method, Refusal, RefusalKind, Registrations,
    RevocationInForce, Tokens,
};
use snapgate_control::{Claims, Grant, Identity, Pssid, TokenId};
use tokio::io::{AsyncRead, AsyncWrite};

/// Limit for everything that happens soon.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Limit that no test reaches.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

pub(crate) const LIST_UNDERLAYS: &str = "/scion.endhost.v1.UnderlayService/ListUnderlays";
pub(crate) const LIST_SEGMENTS: &str = "/scion.endhost.v1.SegmentsService/ListSegments";
pub(crate) const LIST_PATHS: &str = "/scion.endhost.v1.PathService/ListPaths";
pub(crate) const GET_DATA_PLANE: &str = "/anapaya.snap.v1.SnapControl/GetSnapDataPlaneAddress";
pub(crate) const REGISTER: &str = "/anapaya.snap.v1.SnapControl/RegisterSnapTunIdentity";

/// ISD-AS 1-ff00:0:110.
pub(crate) const ISD_AS: u64 = 1 << 48 | 0xff00_0000_0110;

pub(crate) const TOKEN: &str = "valid";

/// A valid token of another subscriber.
pub(crate) const OTHER_TOKEN: &str = "other";

pub(crate) const PUBLIC_KEY: Identity = [5; 32];

/// Tokens and registrations in memory.
#[derive(Default)]
pub(crate) struct Backend {
    state: Mutex<State>,
    changed: Condvar,
    /// What revocations and their removals wait for.
    pub(crate) storage: Arc<Storage>,
}

/// Storage that can hang.
#[derive(Default)]
pub(crate) struct Storage {
    is_hanging: Mutex<bool>,
    changed: Condvar,
}

impl Storage {
    pub(crate) fn hang(&self, is_hanging: bool) {
        *self.is_hanging.lock().unwrap() = is_hanging;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let is_hanging = self.is_hanging.lock().unwrap();
        let _ended = self.changed.wait_while(is_hanging, |is| *is).unwrap();
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) registered: Vec<Registration>,
    pub(crate) revoked: Vec<Revocation>,
    /// Refuses whatever is asked of the store.
    pub(crate) refusal: Option<Refusal>,
    /// Registrations that have begun.
    begun: usize,
    /// True while registrations wait.
    is_held: bool,
}

impl Backend {
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    /// Makes registrations wait.
    pub(crate) fn hold(&self) {
        self.change(|state| state.is_held = true);
    }

    pub(crate) fn release(&self) {
        self.change(|state| state.is_held = false);
    }

    /// Waits until a number of registrations have begun.
    pub(crate) fn wait_for_begun(&self, number: usize) {
        let state = self.state.lock().unwrap();
        let (_state, late) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.begun < number)
            .unwrap();
        assert!(!late.timed_out());
    }

    /// Waits until a number of revocations are in force.
    pub(crate) fn wait_for_revoked(&self, number: usize) {
        let state = self.state.lock().unwrap();
        let (_state, late) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.revoked.len() < number)
            .unwrap();
        assert!(!late.timed_out());
    }

    pub(crate) fn identities(&self) -> Vec<Identity> {
        self.change(|state| {
            state
                .registered
                .iter()
                .map(|entry| entry.identity)
                .collect()
        })
    }

    pub(crate) fn refuse(&self, kind: RefusalKind, reason: &'static str, message: &str) {
        self.change(|state| {
            state.refusal = Some(Refusal {
                kind,
                reason,
                message: message.to_owned(),
            });
        });
    }

    fn check(&self) -> Result<(), Refusal> {
        self.change(|state| state.refusal.clone().map_or(Ok(()), Err))
    }
}

impl Tokens for Backend {
    fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Refusal> {
        let refuse = |kind, reason, message: &str| {
            Err(Refusal {
                kind,
                reason,
                message: message.to_owned(),
            })
        };
        let accept = |pssid: &str, id: &str| {
            Ok(Claims {
                pssid: Pssid(pssid.into()),
                token: TokenId(id.into()),
                expires: now + Duration::from_secs(3600),
            })
        };
        match token {
            TOKEN => accept("subscriber", "token-1"),
            OTHER_TOKEN => accept("other", "token-2"),
            "expired" => refuse(RefusalKind::Unauthenticated, "expired", "it has expired"),
            "no-keys" => refuse(RefusalKind::Unavailable, "no_keys", "no keys are known"),
            _ => refuse(RefusalKind::Unauthenticated, "malformed", "it is malformed"),
        }
    }
}

impl Registrations for Backend {
    fn check_revocations(&self, claims: &Claims, _: Timestamp) -> Result<(), Refusal> {
        let token = Selector::Token(claims.token.clone());
        let pssid = Selector::Pssid(claims.pssid.clone());
        let concerns = |entry: &Revocation| [&token, &pssid].contains(&&entry.selector);
        if self.change(|state| state.revoked.iter().any(concerns)) {
            return Err(Refusal {
                kind: RefusalKind::PermissionDenied,
                reason: "token_revoked",
                message: "the token is revoked".to_owned(),
            });
        }
        Ok(())
    }

    fn register(&self, claims: &Claims, identity: Identity, _: Timestamp) -> Result<(), Refusal> {
        self.check()?;
        self.change(|state| state.begun += 1);
        let state = self.state.lock().unwrap();
        let mut state = self
            .changed
            .wait_while(state, |state| state.is_held)
            .unwrap();
        state.registered.push(Registration {
            identity,
            grant: Grant {
                expires: claims.expires,
                pssid: claims.pssid.clone(),
                token: claims.token.clone(),
            },
        });
        Ok(())
    }

    fn list(
        &self,
        after: Option<Identity>,
        limit: usize,
        filter: &Filter,
    ) -> Result<Page, Refusal> {
        self.check()?;
        let mut all = self.change(|state| state.registered.clone());
        all.sort_by_key(|entry| entry.identity);
        all.retain(|entry| {
            after.is_none_or(|after| entry.identity > after)
                && filter
                    .pssid
                    .as_ref()
                    .is_none_or(|pssid| *pssid == entry.grant.pssid)
                && filter
                    .token
                    .as_ref()
                    .is_none_or(|token| *token == entry.grant.token)
        });
        let has_more = all.len() > limit;
        all.truncate(limit);
        Ok(Page {
            next: all.last().map(|last| last.identity).filter(|_| has_more),
            registrations: all,
        })
    }

    fn revoke(
        &self,
        selector: &Selector,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<RevocationInForce, Refusal> {
        self.check()?;
        let until = until.unwrap_or(now + Duration::from_secs(3600));
        let revoked = self.change(|state| {
            let before = state.registered.len();
            state.registered.retain(|entry| match selector {
                Selector::Token(token) => entry.grant.token != *token,
                Selector::Pssid(pssid) => entry.grant.pssid != *pssid,
                Selector::Identity(identity) => entry.identity != *identity,
            });
            state.revoked.push(Revocation {
                selector: selector.clone(),
                until,
            });
            let ended = before - state.registered.len();
            Revoked { ended, until }
        });
        let storage = Arc::clone(&self.storage);
        Ok(RevocationInForce {
            revoked,
            wait: Box::new(move || {
                storage.wait();
                Ok(revoked)
            }),
        })
    }

    fn revocations(
        &self,
        after: Option<&Selector>,
        limit: usize,
    ) -> Result<Vec<Revocation>, Refusal> {
        self.check()?;
        // In the order in which they were made, and never as many as asked for.
        let all = self.change(|state| state.revoked.clone());
        let is_after = |entry: &&Revocation| Some(&entry.selector) == after;
        let skipped = all.iter().position(|entry| is_after(&entry));
        let skipped = skipped.map_or(0, |index| index + 1);
        Ok(all.into_iter().skip(skipped).take(limit.min(3)).collect())
    }

    fn unrevoke(&self, selector: &Selector, _: Timestamp) -> Result<bool, Refusal> {
        self.check()?;
        self.storage.wait();
        self.change(|state| {
            let before = state.revoked.len();
            state
                .revoked
                .retain(|revocation| revocation.selector != *selector);
            Ok(state.revoked.len() < before)
        })
    }
}

/// A control plane on the loopback interface.
pub(crate) struct Running {
    pub(crate) plane: ControlPlane,
    pub(crate) backend: Arc<Backend>,
}

pub(crate) fn settings() -> ControlSettings {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let data_plane = SocketAddr::from(([192, 0, 2, 1], 51820));
    ControlSettings::new(vec![any], vec![data_plane], PUBLIC_KEY, vec![ISD_AS])
}

impl Running {
    pub(crate) fn new(settings: &ControlSettings) -> Self {
        let backend = Arc::new(Backend::default());
        let registrations = Arc::clone(&backend) as Arc<dyn Registrations>;
        Self::start(settings, backend, registrations)
    }

    /// A control plane with other registrations than those of its backend.
    pub(crate) fn with_registrations(registrations: impl Registrations) -> Self {
        Self::start(&settings(), Arc::default(), Arc::new(registrations))
    }

    fn start(
        settings: &ControlSettings,
        backend: Arc<Backend>,
        registrations: Arc<dyn Registrations>,
    ) -> Self {
        let tokens = Arc::clone(&backend) as Arc<dyn Tokens>;
        let plane = ControlPlane::start(settings, tokens, registrations).unwrap();
        Self { plane, backend }
    }

    /// A control plane with changed settings.
    pub(crate) fn with(change: impl FnOnce(&mut ControlSettings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        Self::new(&settings)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.plane.addresses()[0]
    }

    /// Calls an RPC with the valid token.
    pub(crate) fn call(&self, path: &str, body: &[u8]) -> Answer {
        self.send(rpc(path).body(body_of(body)).unwrap())
    }

    /// Sends a request over HTTP/1.1.
    pub(crate) fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        send_to(self.address(), request)
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.call(LIST_UNDERLAYS, b"").status == 200
    }

    pub(crate) fn rpcs(&self, method: Method, code: Code) -> u64 {
        self.plane.metrics().rpcs(method, code)
    }

    /// The page of metrics.
    pub(crate) fn page(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.plane.metrics()));
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        page
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes, and returns all that comes back until the server closes the connection.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may close the connection before it has read everything.
        let _written = stream.write_all(bytes);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Waits until a condition is true that other threads bring about.
pub(crate) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Code and message of a Connect error.
    pub(crate) fn error(&self) -> (String, String) {
        assert_eq!(self.header("content-type"), "application/json");
        let error: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        let text = |name: &str| error[name].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }

    pub(crate) fn assert_error(&self, status: u16, code: &str, message: &str) {
        let (got_code, got_message) = self.error();
        assert_eq!((self.status, &*got_code), (status, code), "{got_message}");
        assert!(got_message.contains(message), "{got_message}");
    }
}

pub(crate) fn body_of(bytes: &[u8]) -> Full<Bytes> {
    Full::new(Bytes::copy_from_slice(bytes))
}

/// The header of a request as real clients send it (reqwest-connect-rpc 0.8.6).
pub(crate) fn rpc(path: &str) -> hyper::http::request::Builder {
    Request::post(path)
        .header("host", "control")
        .header("content-type", "application/proto")
        .header("user-agent", "reqwest-crpc 0.8.6")
        .header("authorization", format!("Bearer {TOKEN}"))
}

/// A request over HTTP/2, which has a whole URL.
pub(crate) fn http2_rpc(path: &str, body: &[u8]) -> Request<Full<Bytes>> {
    let url = format!("http://control{path}");
    rpc(&url).body(body_of(body)).unwrap()
}

/// The same request with a token of another subscriber.
pub(crate) fn of_other_subscriber(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let value = format!("Bearer {OTHER_TOKEN}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

/// The body of a registration as real clients send it.
pub(crate) fn registration(identity: &Identity) -> Vec<u8> {
    [&[0x0a, 32][..], identity, &[0x12, 32], &[0; 32]].concat()
}

pub(crate) fn send_to(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        Http1::new(stream).await.send(request).await
    })
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

/// A connection of an HTTP/1.1 client.
pub(crate) struct Http1(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Http1 {
    pub(crate) async fn new(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let io = TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    pub(crate) async fn try_send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Answer> {
        self.0.ready().await?;
        answer(self.0.send_request(request).await?).await
    }
}

/// A connection of an HTTP/2 client.
#[derive(Clone)]
pub(crate) struct Http2(hyper::client::conn::http2::SendRequest<Full<Bytes>>);

impl Http2 {
    pub(crate) async fn new(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let io = TokioIo::new(stream);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(tokio::net::TcpStream::connect(address).await.unwrap()).await
    }

    /// A client that permits the server to send no body.
    pub(crate) async fn without_window(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let handshake = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(0)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Returns an answer without reading its body.
    pub(crate) async fn begin(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<hyper::Response<hyper::body::Incoming>> {
        self.0.ready().await?;
        self.0.send_request(request).await
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    pub(crate) async fn try_send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Answer> {
        self.0.ready().await?;
        answer(self.0.send_request(request).await?).await
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

async fn answer(response: hyper::Response<hyper::body::Incoming>) -> hyper::Result<Answer> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}

/// Returns true if the server closes the connection without a further byte. Fails if it stays open.
pub(crate) fn is_closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Reads one HTTP/1.1 answer with a content length, and leaves the rest.
pub(crate) fn read_answer(mut stream: &TcpStream) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "{}",
            String::from_utf8_lossy(&answer)
        );
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer.clone())
        .unwrap()
        .to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8_lossy(&body)
}
