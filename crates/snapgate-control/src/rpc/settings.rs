//! Settings of the control plane.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::claims::Identity;

/// Settings of the control plane.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    /// TCP addresses to listen on; at least one. An IPv6 wildcard also accepts IPv4, unless an IPv4 address with the
    /// same port is listed.
    pub listen: Vec<SocketAddr>,
    /// URLs of this control plane that clients are told, for example `https://snap.example.org/`. A client is told the
    /// first one whose host is an IP address of the family that it uses, else the first one whose host is a name, else
    /// the first one. If empty, they are made from the listen addresses, which must not be wildcards then.
    pub urls: Vec<String>,
    /// UDP addresses of the data plane that clients are told: one, or one of each IP family. Not a wildcard.
    pub data_plane: Vec<SocketAddr>,
    /// Static X25519 public key of the data plane.
    pub public_key: Identity,
    /// ISD-ASes that clients reach, as numbers of 64 bits; at least one.
    pub isd_ases: Vec<u64>,
    /// Where path segments come from. Without it, clients get the code `unimplemented` for requests of segments.
    pub endhost_api: Option<EndhostApiSettings>,
    /// Certificate and key. Without it, the server speaks plain HTTP.
    pub tls: Option<TlsSettings>,
    /// True if a proxy is in front of the server. The IP family of a client is then that of the last address in the
    /// header `X-Forwarded-For`, if there is one. Limits per address still apply to the proxy's address.
    pub behind_proxy: bool,
    /// Directory of the Unix socket for local commands, see [`local`](super::local). It is created with mode 0700 if
    /// its parent exists. Without it, there is no socket.
    pub local_directory: Option<PathBuf>,
    /// Limits of the server.
    pub limits: Limits,
}

impl ControlSettings {
    /// Returns settings with defaults for everything that is optional.
    #[must_use]
    pub fn new(
        listen: Vec<SocketAddr>,
        data_plane: Vec<SocketAddr>,
        public_key: Identity,
        isd_ases: Vec<u64>,
    ) -> Self {
        Self {
            listen,
            urls: Vec::new(),
            data_plane,
            public_key,
            isd_ases,
            endhost_api: None,
            tls: None,
            behind_proxy: false,
            local_directory: None,
            limits: Limits::default(),
        }
    }
}

/// Another endhost API, which answers requests of path segments.
#[derive(Clone, Debug)]
pub struct EndhostApiSettings {
    /// Its URL, `http` or `https`. A path is put before the path of the RPC.
    pub url: String,
    /// True if the token of the client is sent to it. Whoever operates the endhost API can then act as the client until
    /// the token expires. Needed for an endhost API that is itself part of a SNAP; others, for example that of
    /// PocketSCION, do not read it. Default: false.
    pub forward_token: bool,
    /// PEM file with the certificates that may sign that of the endhost API. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Maximum time to connect. Default: 2 s.
    pub connect_timeout: Duration,
    /// Maximum time for a request, with all attempts, from the begin of the first one. Default: 5 s.
    pub timeout: Duration,
    /// Maximum size of an answer, in bytes. Default: 4 MiB.
    pub response_bytes: usize,
    /// Maximum number of requests at the same time; others wait, as long as `timeout`. Default: 16.
    pub concurrency: usize,
    /// Maximum number of requests of a subscriber that wait, are in progress, or whose answers its clients have not
    /// read; others are refused. Default: 4, a quarter of `concurrency`.
    pub concurrency_per_subscriber: usize,
    /// Maximum size of all answers that clients have not read, in bytes; at least that of one answer. Further answers
    /// are replaced by an error. Default: 64 MiB.
    pub unsent_bytes: usize,
}

impl EndhostApiSettings {
    /// Returns settings with defaults for everything except the URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            forward_token: false,
            ca_file: None,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            response_bytes: 4 << 20,
            concurrency: 16,
            concurrency_per_subscriber: 4,
            unsent_bytes: 64 << 20,
        }
    }
}

/// Certificate and key of the server.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// PEM file with the certificate of the server, followed by those that lead to a root.
    pub certificate_chain: PathBuf,
    /// PEM file with the private key (PKCS #8, PKCS #1 or SEC 1).
    pub private_key: PathBuf,
    /// Interval at which the files are read again, at least 10 ms. Default: 10 s.
    pub poll_interval: Duration,
}

impl TlsSettings {
    /// Returns settings with the default interval.
    #[must_use]
    pub fn new(certificate_chain: impl Into<PathBuf>, private_key: impl Into<PathBuf>) -> Self {
        Self {
            certificate_chain: certificate_chain.into(),
            private_key: private_key.into(),
            poll_interval: Duration::from_secs(10),
        }
    }
}

/// Limits of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of open connections. A connection beyond it replaces one of the IPv4 address or IPv6 /48 with the
    /// most connections: there one of the IPv6 /64 with the most, and of these the one that has waited longest for a
    /// request. Default: 512.
    pub connections: usize,
    /// Maximum number of open connections of an IPv4 address or an IPv6 /64. A connection beyond it replaces another
    /// one of the same address. Default: 256.
    pub connections_per_address: usize,
    /// Maximum time from accepting a connection to the end of the first request's header, with the TLS handshake.
    /// Default: 15 s, because a client whose CPU is busy loses its request otherwise. An open connection costs others
    /// little: at the limits of connections, it is replaced before those of addresses with fewer connections.
    pub header_time: Duration,
    /// Maximum time from the end of a request's header to the end of its body. Default: 5 s.
    pub body_time: Duration,
    /// Maximum time from the end of a request's header to the answer, and until the answer was sent. Sending it may
    /// always take `closing_time`. Default: 15 s.
    pub request_time: Duration,
    /// Maximum time between requests of a connection. Default: 60 s.
    pub idle_time: Duration,
    /// Maximum time that a connection is used. Then it ends within the sum of `closing_time` and `request_time`.
    /// Default: 1 h.
    pub connection_time: Duration,
    /// Maximum time to send the last answers of a connection that the server ends, and of all when the server ends.
    /// At least 10 ms for a connection. Default: 1 s.
    pub closing_time: Duration,
    /// Maximum size of a request's body, in bytes. Default: 64 KiB.
    pub body_bytes: usize,
    /// Maximum number of concurrent HTTP/2 requests of a connection. Default: 16.
    pub streams: u32,
    /// Maximum number of registrations that are being stored at the same time; others wait. Each one occupies a
    /// thread. Default: 64.
    pub registrations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_address: 256,
            header_time: Duration::from_secs(15),
            body_time: Duration::from_secs(5),
            request_time: Duration::from_secs(15),
            idle_time: Duration::from_secs(60),
            connection_time: Duration::from_secs(3600),
            closing_time: Duration::from_secs(1),
            body_bytes: 64 << 10,
            streams: 16,
            registrations: 64,
        }
    }
}
