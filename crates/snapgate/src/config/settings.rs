//! Table of all settings.

use crate::config::setting::{Kind, Scope, Setting, Shape};

const TUNNELS: &str = "Tunnels";
const CONTROL_PLANE_GROUP: &str = "Control plane";
const FORWARDING: &str = "Forwarding";
const WORKERS_GROUP: &str = "Workers";
const SOCKETS: &str = "Sockets";
const LIMITS: &str = "Limits";
const SHUTDOWN: &str = "Shutdown";
const OBSERVABILITY: &str = "Observability";

/// Room for one train in a receive buffer, or one datagram in a send buffer (64 KiB either).
const MIN_BUFFER_BYTES: usize = 64 << 10;

/// The kernel stores twice the size in a signed 32-bit number (socket(7)).
const MAX_BUFFER_BYTES: usize = (i32::MAX / 2) as usize;

/// All settings, in the order of the help, of `snapgate check` and of docs/CONFIGURATION.md.
pub(crate) static SETTINGS: &[&Setting] = &[
    &LISTEN,
    &LISTEN_INTERFACE,
    &PRIVATE_KEY_FILE,
    &IDENTITIES,
    &ALLOW_ANY_IDENTITY,
    &STATE_DIR,
    &CONTROL_PLANE,
    &CONTROL_PLANE_URL,
    &PUBLIC_ADDRESS,
    &CONTROL_PLANE_CERTIFICATE,
    &CONTROL_PLANE_PRIVATE_KEY,
    &BEHIND_PROXY,
    &TOKEN_KEY,
    &TOKEN_JWKS,
    &TOKEN_AUDIENCE,
    &TOKEN_LEEWAY_SECONDS,
    &ENDHOST_API,
    &ENDHOST_API_CA,
    &ENDHOST_API_TOKEN,
    &REGISTRATIONS,
    &REGISTRATIONS_PER_PSSID,
    &FORWARD,
    &INTERNAL,
    &INTERNAL_INTERFACE,
    &NEXT_HOP,
    &TOPOLOGY,
    &LOCAL_ISD_AS,
    &LOCAL_PREFIX,
    &INTERNAL_FROM,
    &WORKERS,
    &CPUS,
    &Setting::new(
        "dispatch",
        WORKERS_GROUP,
        Kind::Dispatch(|options| &mut options.dispatch),
        "Path of a datagram to the worker of its tunnel: kernel (BPF program at the sockets) or \
         user (handover between workers)",
    ),
    &Setting::new(
        "no_gso",
        SOCKETS,
        Kind::Switch {
            field: |options| &mut options.sockets.gso,
            on: false,
        },
        "Send datagrams one at a time instead of in trains (disables UDP_SEGMENT)",
    ),
    &Setting::new(
        "no_gro",
        SOCKETS,
        Kind::Switch {
            field: |options| &mut options.sockets.gro,
            on: false,
        },
        "Receive datagrams one at a time instead of in trains (disables UDP_GRO)",
    ),
    &Setting::new(
        "receive_buffer",
        SOCKETS,
        Kind::Size {
            field: |options| &mut options.sockets.receive_buffer_bytes,
            min: MIN_BUFFER_BYTES,
            max: MAX_BUFFER_BYTES,
        },
        "Receive buffer of each socket, in bytes or with KiB, MiB or GiB",
    ),
    &Setting::new(
        "send_buffer",
        SOCKETS,
        Kind::Size {
            field: |options| &mut options.sockets.send_buffer_bytes,
            min: MIN_BUFFER_BYTES,
            max: MAX_BUFFER_BYTES,
        },
        "Send buffer of each socket, in bytes or with KiB, MiB or GiB",
    ),
    &Setting::new(
        "handshakes_per_ip_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.limits.handshakes_per_ip_per_second),
        "Handshake messages per second from one IP address (IPv6: /64) without a cookie; above \
         that a cookie is required",
    ),
    &Setting::new(
        "handshakes_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.limits.handshakes_per_second),
        "Handshake initiations per second and worker without a cookie, pooled over all workers; \
         above that every sender needs a cookie",
    ),
    &Setting::new(
        "verified_handshakes_per_ip_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.limits.verified_handshakes_per_ip_per_second),
        "Handshake messages per second from one IP address (IPv6: /64) with a cookie; excess is \
         dropped",
    ),
    &Setting::new(
        "verified_handshakes_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.limits.verified_handshakes_per_second),
        "Handshake initiations per second and worker with a cookie, pooled over all workers; \
         excess is dropped",
    ),
    &Setting::new(
        "handshakes_per_identity_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.limits.handshakes_per_identity_per_second),
        "Handshakes per second answered for one identity; excess is dropped. Values below \
         tunnels_per_identity delay clients with that many sockets",
    ),
    &Setting::new(
        "restart_handshakes_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.limits.restart_handshakes_per_second),
        "Handshakes per second that each worker starts with clients in --state-dir or with identities \
         that are authorized again",
    ),
    &Setting::new(
        "tunnels_per_worker",
        LIMITS,
        Kind::Count(|options| &mut options.limits.tunnels_per_shard),
        "Maximum tunnels of one worker; a new one replaces an unused or silent tunnel, or is \
         refused",
    ),
    &Setting::new(
        "tunnels_per_identity",
        LIMITS,
        Kind::Count(|options| &mut options.limits.tunnels_per_identity),
        "Maximum tunnels of one identity in one worker; a new one replaces an unused or silent \
         tunnel of the identity, or is refused",
    ),
    &Setting::new(
        "half_open_tunnels",
        LIMITS,
        Kind::Count(|options| &mut options.limits.half_open_tunnels),
        "Maximum tunnels of one worker that their clients have not used yet; a new one replaces \
         the oldest",
    ),
    &Setting::new(
        "silent_after_seconds",
        LIMITS,
        Kind::Seconds {
            field: |options| &mut options.limits.silent_after,
            min: 1,
        },
        "Seconds without a packet from the client until its tunnel is silent and may lose its \
         place and its address to another client",
    ),
    &Setting::new(
        "one_tunnel_per_identity",
        LIMITS,
        Kind::Switch {
            field: |options| &mut options.limits.one_tunnel_per_identity,
            on: true,
        },
        "Remove the older tunnels of an identity as soon as it uses a new one; for clients with \
         one socket",
    ),
    &Setting::new(
        "remembered_identities",
        LIMITS,
        Kind::Count(|options| &mut options.remembered_identities),
        "Minimum number of identities whose last handshake is remembered to reject replays; 200 \
         bytes each",
    ),
    &Setting::new(
        "handshake_timestamp_tolerance_seconds",
        LIMITS,
        Kind::Seconds {
            field: |options| &mut options.handshake_timestamp_tolerance,
            min: 1,
        },
        "Seconds that a handshake timestamp may be ahead of the system clock; also the maximum \
         time for which a client is rejected after its clock was set back",
    ),
    &Setting::new(
        "waiting_packets_per_tunnel",
        LIMITS,
        Kind::Count(|options| &mut options.limits.waiting_packets_per_tunnel),
        "Maximum packets queued for the handshake of one tunnel",
    ),
    &Setting::new(
        "waiting_bytes_per_tunnel",
        LIMITS,
        Kind::Size {
            field: |options| &mut options.limits.waiting_bytes_per_tunnel,
            min: 0,
            max: usize::MAX,
        },
        "Maximum bytes queued for the handshake of one tunnel",
    ),
    &Setting::new(
        "waiting_bytes_per_identity",
        LIMITS,
        Kind::Size {
            field: |options| &mut options.limits.waiting_bytes_per_identity,
            min: 0,
            max: usize::MAX,
        },
        "Maximum bytes queued for the handshakes of one identity in one worker",
    ),
    &Setting::new(
        "waiting_bytes_half_open",
        LIMITS,
        Kind::Size {
            field: |options| &mut options.limits.waiting_bytes_half_open,
            min: 0,
            max: usize::MAX,
        },
        "Maximum bytes queued in all tunnels of one worker that their clients have not used yet",
    ),
    &Setting::new(
        "waiting_bytes_per_worker",
        LIMITS,
        Kind::Size {
            field: |options| &mut options.limits.waiting_bytes_per_shard,
            min: 0,
            max: usize::MAX,
        },
        "Maximum bytes queued for handshakes in one worker",
    ),
    &Setting::new(
        "scmp_errors_per_tunnel_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.scmp_error_limits.per_tunnel_per_second),
        "SCMP errors per second into one tunnel, in bursts of up to twice as many; separate \
         budgets for errors of the gateway, from SCION and from other tunnels",
    )
    .for_scion(),
    &Setting::new(
        "scmp_errors_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.scmp_error_limits.per_second),
        "SCMP errors per second into all tunnels of one worker; separate budgets for errors of \
         the gateway, from SCION and from other tunnels",
    )
    .for_scion(),
    &Setting::new(
        "drain_timeout_seconds",
        SHUTDOWN,
        Kind::Seconds {
            field: |options| &mut options.drain.timeout,
            min: 0,
        },
        "Maximum seconds of draining after SIGTERM, while existing tunnels are served and new \
         ones refused; 0 stops at once",
    ),
    &Setting::new(
        "drain_idle_seconds",
        SHUTDOWN,
        Kind::Seconds {
            field: |options| &mut options.drain.idle_after,
            min: 1,
        },
        "Seconds without data in any tunnel until a draining gateway stops",
    ),
    &Setting::new(
        "metrics",
        OBSERVABILITY,
        Kind::Address {
            field: |options| &mut options.metrics,
            port: 9820,
        },
        "Address on which metrics are served over HTTP",
    ),
    &ACCOUNTING_LOG,
    &Setting::new(
        "log",
        OBSERVABILITY,
        Kind::LogFilter(|options| &mut options.log),
        "Log messages on standard error: off, error, warn, info, debug, trace, or directives such \
         as info,snapgate::worker=debug",
    ),
    &Setting::new(
        "log_format",
        OBSERVABILITY,
        Kind::LogFormat(|options| &mut options.log_format),
        "Format of standard error: text, or json with one object per line",
    ),
];

// Settings that are resolved together with others.

pub(crate) static LISTEN: Setting = Setting::new(
    "listen",
    TUNNELS,
    Kind::Special {
        shape: Shape::List,
        value_name: "ADDRESS:PORT",
        default: "0.0.0.0:51820 and [::]:51820, as far as the host has IPv4 and IPv6",
        example: r#"["192.0.2.1:51820", "[2001:db8::1]:51820"]"#,
    },
    "UDP address for tunnels; repeatable",
);

pub(crate) static LISTEN_INTERFACE: Setting = Setting::new(
    "listen_interface",
    TUNNELS,
    Kind::Interface(|options| &mut options.listen_interface),
    "Network interface, such as a VRF, that serves all listen addresses; without it, any interface \
     by the host's routes",
);

pub(crate) static PRIVATE_KEY_FILE: Setting = Setting::new(
    "private_key_file",
    TUNNELS,
    Kind::Special {
        shape: Shape::Text,
        value_name: "FILE",
        default: "",
        example: r#""/etc/snapgate/private.key""#,
    },
    "File with the gateway's private key in base64, as `snapgate genkey --output` writes it; required",
);

pub(crate) static IDENTITIES: Setting = Setting::new(
    "identities",
    TUNNELS,
    Kind::Special {
        shape: Shape::Text,
        value_name: "FILE",
        default: "",
        example: r#""/etc/snapgate/identities.toml""#,
    },
    "TOML file of identities that may open tunnels: [[identity]] tables with public_key and \
     optional name and expires (RFC 3339); required unless --control-plane or --allow-any-identity is set",
);

pub(crate) static ALLOW_ANY_IDENTITY: Setting = Setting::new(
    "allow_any_identity",
    TUNNELS,
    Kind::Switch {
        field: |options| &mut options.allow_any_identity,
        on: true,
    },
    "Accept every client that knows the gateway's public key; for tests and measurements only",
);

pub(crate) static STATE_DIR: Setting = Setting::new(
    "state_dir",
    TUNNELS,
    Kind::Special {
        shape: Shape::Text,
        value_name: "DIR",
        default: "none; clients notice a restart after 15 s",
        example: r#""/var/lib/snapgate""#,
    },
    "Directory that keeps a record of the tunnels and registrations, so that a restarted gateway \
     serves its clients at once; not shared between gateways",
);

pub(crate) static CONTROL_PLANE: Setting = Setting::new(
    "control_plane",
    CONTROL_PLANE_GROUP,
    Kind::Special {
        shape: Shape::List,
        value_name: "ADDRESS:PORT",
        default: "none; only identities of the file may open tunnels",
        example: r#"["192.0.2.1:8443"]"#,
    },
    "TCP address at which clients find the gateway and register their identities; repeatable",
);

pub(crate) static CONTROL_PLANE_URL: Setting = Setting::new(
    "control_plane_url",
    CONTROL_PLANE_GROUP,
    Kind::Special {
        shape: Shape::List,
        value_name: "URL",
        default: "made from the addresses of the control plane",
        example: r#"["https://snap.example.org:8443"]"#,
    },
    "URL of the control plane that clients are told; required if an address of --control-plane is a \
     wildcard, and behind NAT or a proxy; repeatable",
)
.for_control_plane();

pub(crate) static PUBLIC_ADDRESS: Setting = Setting::new(
    "public_address",
    CONTROL_PLANE_GROUP,
    Kind::Special {
        shape: Shape::List,
        value_name: "ADDRESS:PORT",
        default: "the first listen address of each IP version",
        example: r#"["192.0.2.1:51820", "[2001:db8::1]:51820"]"#,
    },
    "UDP address for tunnels that clients are told, one of each IP version; required if all listen \
     addresses are wildcards, and behind NAT",
)
.for_control_plane();

pub(crate) static CONTROL_PLANE_CERTIFICATE: Setting = Setting::new(
    "control_plane_certificate",
    CONTROL_PLANE_GROUP,
    Kind::Special {
        shape: Shape::Text,
        value_name: "FILE",
        default: "none; plain HTTP, for a proxy or for tests",
        example: r#""/etc/snapgate/certificate.pem""#,
    },
    "PEM file with the certificate chain of the control plane; read again when it changes",
)
.for_control_plane();

pub(crate) static CONTROL_PLANE_PRIVATE_KEY: Setting = Setting::new(
    "control_plane_private_key",
    CONTROL_PLANE_GROUP,
    Kind::Special {
        shape: Shape::Text,
        value_name: "FILE",
        default: "none",
        example: r#""/etc/snapgate/certificate.key""#,
    },
    "PEM file with the private key of the certificate; required with it",
)
.for_control_plane();

pub(crate) static BEHIND_PROXY: Setting = Setting::new(
    "behind_proxy",
    CONTROL_PLANE_GROUP,
    Kind::Switch {
        field: |options| &mut options.behind_proxy,
        on: true,
    },
    "Take the IP version of a client, by which the addresses that it is told are chosen, from the last \
     address in X-Forwarded-For; only if every client comes through a proxy that sets it",
)
.for_control_plane();

pub(crate) static TOKEN_KEY: Setting = Setting::new(
    "token_key",
    CONTROL_PLANE_GROUP,
    Kind::Special {
        shape: Shape::Text,
        value_name: "FILE",
        default: "none",
        example: r#""/etc/snapgate/token-key.pem""#,
    },
    "File with the Ed25519 public key that tokens are signed with, followed when it changes: PEM, or a \
     JWK; this or --token-jwks is required",
)
.for_control_plane();

pub(crate) static TOKEN_JWKS: Setting = Setting::new(
    "token_jwks",
    CONTROL_PLANE_GROUP,
    Kind::Special {
        shape: Shape::Text,
        value_name: "FILE|URL",
        default: "none",
        example: r#""https://issuer.example.org/.well-known/jwks.json""#,
    },
    "JWK set with the Ed25519 public keys that tokens are signed with: a file, followed when it \
     changes, or a URL, read every 5 minutes, or after its max-age if that is from 30 s to 5 \
     minutes: https, or http on a loopback address",
)
.for_control_plane();

static TOKEN_AUDIENCE: Setting = Setting::new(
    "token_audience",
    CONTROL_PLANE_GROUP,
    Kind::Word {
        field: |options| &mut options.token_rules.audience,
        value_name: "TEXT",
    },
    "Audience that a token must name, if it names any (claim aud)",
)
.for_control_plane();

static TOKEN_LEEWAY_SECONDS: Setting = Setting::new(
    "token_leeway_seconds",
    CONTROL_PLANE_GROUP,
    Kind::Seconds {
        field: |options| &mut options.token_rules.leeway,
        min: 0,
    },
    "Seconds that a token's start (claims nbf and iat) may be ahead of the system clock; its end \
     has no leeway",
)
.for_control_plane();

pub(crate) static ENDHOST_API: Setting = Setting::new(
    "endhost_api",
    CONTROL_PLANE_GROUP,
    Kind::Special {
        shape: Shape::Text,
        value_name: "URL",
        default: "none; requests for path segments are refused (unimplemented)",
        example: r#""http://10.0.0.2:48080""#,
    },
    "Endhost API of the AS, which answers the clients' requests for path segments",
)
.for_control_plane();

pub(crate) static ENDHOST_API_CA: Setting = Setting::new(
    "endhost_api_ca",
    CONTROL_PLANE_GROUP,
    Kind::Special {
        shape: Shape::Text,
        value_name: "FILE",
        default: "the CA certificates of the host",
        example: r#""/etc/snapgate/endhost-api-ca.pem""#,
    },
    "PEM file with CA certificates for the endhost API",
)
.for_control_plane();

static ENDHOST_API_TOKEN: Setting = Setting::new(
    "endhost_api_token",
    CONTROL_PLANE_GROUP,
    Kind::Switch {
        field: |options| &mut options.endhost_api_token,
        on: true,
    },
    "Send the client's token to the endhost API, which can then act as the client until the token \
     expires",
)
.for_control_plane();

static REGISTRATIONS: Setting = Setting::new(
    "registrations",
    CONTROL_PLANE_GROUP,
    Kind::Count(|options| &mut options.registry.max_registrations),
    "Maximum registered identities; a new one beyond it is refused",
)
.for_control_plane();

static REGISTRATIONS_PER_PSSID: Setting = Setting::new(
    "registrations_per_pssid",
    CONTROL_PLANE_GROUP,
    Kind::Count(|options| &mut options.registry.max_per_pssid),
    "Maximum registered identities of one subscriber (claim pssid); a new one beyond it is refused",
)
.for_control_plane();

pub(crate) static FORWARD: Setting = Setting::new(
    "forward",
    FORWARDING,
    Kind::Forward(|options| &mut options.forward),
    "Handling of packets from tunnels",
);

pub(crate) static INTERNAL: Setting = Setting::new(
    "internal",
    FORWARDING,
    Kind::Special {
        shape: Shape::Text,
        value_name: "ADDRESS:PORT",
        default: "",
        example: r#""10.0.0.5:30100""#,
    },
    "Address towards SCION routers and hosts of the AS; required with --forward scion",
)
.for_scion();

pub(crate) static INTERNAL_INTERFACE: Setting = Setting::new(
    "internal_interface",
    FORWARDING,
    Kind::Interface(|options| &mut options.internal_interface),
    "Network interface, such as a VRF, of the internal address; without it, any interface by the \
     host's routes",
)
.for_scion();

pub(crate) static NEXT_HOP: Setting = Setting::new(
    "next_hop",
    FORWARDING,
    Kind::Special {
        shape: Shape::Table,
        value_name: "ISD-AS#INTERFACE=ADDRESS:PORT",
        default: "",
        example: r#"{ "1-ff00:0:110#1" = "10.0.0.1:31002" }"#,
    },
    "Internal address of the border router behind an interface of the AS; repeatable",
)
.for_scion();

pub(crate) static TOPOLOGY: Setting = Setting::new(
    "topology",
    FORWARDING,
    Kind::Special {
        shape: Shape::Text,
        value_name: "FILE",
        default: "",
        example: r#""/etc/scion/topology.json""#,
    },
    "topology.json of the AS; its border routers add to --next-hop, its ISD-AS to --local-isd-as",
)
.for_scion();

pub(crate) static LOCAL_ISD_AS: Setting = Setting::new(
    "local_isd_as",
    FORWARDING,
    Kind::Special {
        shape: Shape::List,
        value_name: "ISD-AS",
        default: "the ASes of the next hops and the topology",
        example: r#"["1-ff00:0:110"]"#,
    },
    "AS of the gateway, which packets from tunnels must have as their source; repeatable",
)
.for_scion();

pub(crate) static LOCAL_PREFIX: Setting = Setting::new(
    "local_prefix",
    FORWARDING,
    Kind::Special {
        shape: Shape::List,
        value_name: "PREFIX",
        default: "none; packets within the AS go to tunnels only",
        example: r#"["10.0.0.0/24"]"#,
    },
    "Prefix of hosts of the AS that packets may be sent to directly; repeatable",
)
.for_scion();

pub(crate) static INTERNAL_FROM: Setting = Setting::new(
    "internal_from",
    FORWARDING,
    Kind::Special {
        shape: Shape::List,
        value_name: "PREFIX|any",
        default: "none; only routers, and hosts of the AS that are the packet's SCION source",
        example: r#"["10.0.1.0/24"]"#,
    },
    "Prefix of hosts, besides the routers, that may send any packet to the internal address; \
     repeatable",
)
.for_scion();

pub(crate) static WORKERS: Setting = Setting::new(
    "workers",
    WORKERS_GROUP,
    Kind::Special {
        shape: Shape::NumberOrText,
        value_name: "N|auto",
        default: "auto; one per CPU of the affinity mask, within the cgroup's CPU quota",
        example: r#""auto""#,
    },
    "Number of worker threads, which share the tunnels; more workers than CPUs need --cpus none",
);

pub(crate) static CPUS: Setting = Setting::new(
    "cpus",
    WORKERS_GROUP,
    Kind::Special {
        shape: Shape::Text,
        value_name: "LIST|auto|none",
        default: "auto; one CPU of the affinity mask for each worker",
        example: r#""auto""#,
    },
    "CPU of each worker, for example 0-3,8; none leaves the placement to the scheduler",
);

/// Returns the settings with a scope.
pub(crate) fn in_scope(scope: Scope) -> impl Iterator<Item = &'static Setting> {
    SETTINGS
        .iter()
        .copied()
        .filter(move |setting| setting.scope == scope)
}

pub(crate) static ACCOUNTING_LOG: Setting = Setting::new(
    "accounting_log",
    OBSERVABILITY,
    Kind::Special {
        shape: Shape::Text,
        value_name: "FILE",
        default: "none",
        example: r#""/var/log/snapgate/accounting.ndjson""#,
    },
    "File to which a JSON object per line is appended when a tunnel ends or the client's \
     registration changes: identity, registration, address, times, packets and bytes",
);

/// Returns the setting with a file key.
pub(crate) fn by_name(name: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .copied()
        .find(|setting| setting.name == name)
}

/// Returns the file key most similar to `name`, if any is similar.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    // The name may be spelled like the flag or the environment variable.
    let name = name.to_lowercase().replace('-', "_");
    let name = name.strip_prefix("snapgate_").unwrap_or(&name);
    SETTINGS
        .iter()
        .map(|setting| (strsim::jaro_winkler(name, setting.name), setting.name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}
