//! The one table of settings.

use crate::config::setting::{Kind, Setting, Shape};

const TUNNELS: &str = "Tunnels";
const FORWARDING: &str = "Forwarding";
const WORKERS_GROUP: &str = "Workers";
const SOCKETS: &str = "Sockets";
const LIMITS: &str = "Limits";
const STOPPING: &str = "Stopping";
const OBSERVING: &str = "Observing";

/// A receive buffer holds at least one train, a send buffer at least one datagram (64 KiB either).
const MIN_BUFFER_BYTES: usize = 64 << 10;

/// The kernel keeps twice the size in a signed 32-bit number (socket(7)).
const MAX_BUFFER_BYTES: usize = (i32::MAX / 2) as usize;

/// Every setting, in the order of the help, of `snapgate check` and of the reference.
pub(crate) static SETTINGS: &[&Setting] = &[
    &LISTEN,
    &PRIVATE_KEY_FILE,
    &IDENTITIES,
    &ALLOW_ANY_IDENTITY,
    &STATE_DIR,
    &FORWARD,
    &INTERNAL,
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
        "What brings a datagram to the worker of its tunnel: a program at the sockets, or the other \
         workers",
    ),
    &Setting::new(
        "no_gso",
        SOCKETS,
        Kind::Switch {
            field: |options| &mut options.sockets.gso,
            on: false,
        },
        "Send one datagram at a time instead of trains (UDP_SEGMENT)",
    ),
    &Setting::new(
        "no_gro",
        SOCKETS,
        Kind::Switch {
            field: |options| &mut options.sockets.gro,
            on: false,
        },
        "Receive one datagram at a time instead of trains (UDP_GRO)",
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
        "Handshake messages of one IP address in a second before it has to prove with a cookie that it \
         receives there",
    ),
    &Setting::new(
        "handshakes_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.limits.handshakes_per_second),
        "Handshake initiations in a second, for each worker, before every sender has to show a cookie; \
         all workers count together",
    ),
    &Setting::new(
        "verified_handshakes_per_ip_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.limits.verified_handshakes_per_ip_per_second),
        "Handshake messages with a cookie of one IP address in a second; more are dropped",
    ),
    &Setting::new(
        "verified_handshakes_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.limits.verified_handshakes_per_second),
        "Handshake initiations with a cookie in a second, for each worker; more are dropped. All \
         workers count together",
    ),
    &Setting::new(
        "handshakes_per_identity_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.limits.handshakes_per_identity_per_second),
        "Handshakes of one identity answered in a second; more are dropped. Lower than \
         tunnels_per_identity, a client with as many sockets takes longer to open them",
    ),
    &Setting::new(
        "restart_handshakes_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.limits.restart_handshakes_per_second),
        "Handshakes begun in a second, in one worker, with clients that --state-dir remembers or whose \
         grant returned",
    ),
    &Setting::new(
        "tunnels_per_worker",
        LIMITS,
        Kind::Count(|options| &mut options.limits.tunnels_per_shard),
        "Tunnels of one worker; more take the places of unused and silent ones, or are refused",
    ),
    &Setting::new(
        "tunnels_per_identity",
        LIMITS,
        Kind::Count(|options| &mut options.limits.tunnels_per_identity),
        "Tunnels of one identity in one worker; more take the places of its own unused and silent \
         ones, or are refused",
    ),
    &Setting::new(
        "half_open_tunnels",
        LIMITS,
        Kind::Count(|options| &mut options.limits.half_open_tunnels),
        "Tunnels of one worker that their clients have not used yet; more take the places of the \
         oldest",
    ),
    &Setting::new(
        "silent_after_seconds",
        LIMITS,
        Kind::Seconds {
            field: |options| &mut options.limits.silent_after,
            min: 1,
        },
        "A client that sent nothing for this time is silent: its address, and its place where tunnels \
         are too many, may go to another",
    ),
    &Setting::new(
        "one_tunnel_per_identity",
        LIMITS,
        Kind::Switch {
            field: |options| &mut options.limits.one_tunnel_per_identity,
            on: true,
        },
        "An identity that uses a new tunnel loses its older ones at once, not when they expire; for \
         clients with one socket each",
    ),
    &Setting::new(
        "remembered_identities",
        LIMITS,
        Kind::Count(|options| &mut options.remembered_identities),
        "Identities whose handshakes are remembered, so that captured ones are of no use; 200 bytes \
         each",
    ),
    &Setting::new(
        "handshake_timestamp_tolerance_seconds",
        LIMITS,
        Kind::Seconds {
            field: |options| &mut options.handshake_timestamp_tolerance,
            min: 1,
        },
        "A handshake is refused if its timestamp is further ahead of the system clock; also the \
         longest that a client is refused after its clock was set back",
    ),
    &Setting::new(
        "waiting_packets_per_tunnel",
        LIMITS,
        Kind::Count(|options| &mut options.limits.waiting_packets_per_tunnel),
        "Packets that may wait for the handshake of one tunnel",
    ),
    &Setting::new(
        "waiting_bytes_per_tunnel",
        LIMITS,
        Kind::Size {
            field: |options| &mut options.limits.waiting_bytes_per_tunnel,
            min: 0,
            max: usize::MAX,
        },
        "Bytes that may wait for the handshake of one tunnel",
    ),
    &Setting::new(
        "waiting_bytes_per_identity",
        LIMITS,
        Kind::Size {
            field: |options| &mut options.limits.waiting_bytes_per_identity,
            min: 0,
            max: usize::MAX,
        },
        "Bytes that may wait for the handshakes of one identity in one worker",
    ),
    &Setting::new(
        "waiting_bytes_half_open",
        LIMITS,
        Kind::Size {
            field: |options| &mut options.limits.waiting_bytes_half_open,
            min: 0,
            max: usize::MAX,
        },
        "Bytes that may wait in all tunnels of one worker that their clients have not used yet",
    ),
    &Setting::new(
        "waiting_bytes_per_worker",
        LIMITS,
        Kind::Size {
            field: |options| &mut options.limits.waiting_bytes_per_shard,
            min: 0,
            max: usize::MAX,
        },
        "Bytes that may wait for handshakes in one worker",
    ),
    &Setting::new(
        "scmp_errors_per_tunnel_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.scmp_error_limits.per_tunnel_per_second),
        "SCMP errors per second into one tunnel, twice as many at once; errors of the gateway, \
         from SCION and from other tunnels are counted apart",
    )
    .for_scion(),
    &Setting::new(
        "scmp_errors_per_second",
        LIMITS,
        Kind::Number(|options| &mut options.scmp_error_limits.per_second),
        "SCMP errors per second into all tunnels of one worker; errors of the gateway, from SCION \
         and from other tunnels are counted apart",
    )
    .for_scion(),
    &Setting::new(
        "drain_timeout_seconds",
        STOPPING,
        Kind::Seconds {
            field: |options| &mut options.drain.timeout,
            min: 0,
        },
        "The longest that tunnels are served after SIGTERM, while no new ones are made; 0 stops at \
         once",
    ),
    &Setting::new(
        "drain_idle_seconds",
        STOPPING,
        Kind::Seconds {
            field: |options| &mut options.drain.idle_after,
            min: 1,
        },
        "After SIGTERM the gateway stops when no data passed any tunnel for this time",
    ),
    &Setting::new(
        "metrics",
        OBSERVING,
        Kind::Address {
            field: |options| &mut options.metrics,
            port: 9820,
        },
        "Serve metrics over HTTP here",
    ),
    &Setting::new(
        "log",
        OBSERVING,
        Kind::LogFilter(|options| &mut options.log),
        "What goes to standard error: off, error, warn, info, debug, trace, or directives such as \
         info,snapgate::worker=debug",
    ),
    &Setting::new(
        "log_format",
        OBSERVING,
        Kind::LogFormat(|options| &mut options.log_format),
        "Format of standard error: text, or json with one object per line",
    ),
];

// Those that are resolved together with others, and so have names.

pub(crate) static LISTEN: Setting = Setting::new(
    "listen",
    TUNNELS,
    Kind::Special {
        shape: Shape::List,
        value_name: "ADDRESS:PORT",
        default: "0.0.0.0:51820 and, where the host has IPv6, [::]:51820",
        example: r#"["192.0.2.1:51820", "[2001:db8::1]:51820"]"#,
    },
    "Address for tunnels; repeatable",
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
    "The gateway's private key in base64, as `snapgate genkey` prints it; required",
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
    "Identities that may open a tunnel: TOML with [[identity]] tables of public_key and, optionally, \
     name and expires (RFC 3339); this or --allow-any-identity is required",
);

pub(crate) static ALLOW_ANY_IDENTITY: Setting = Setting::new(
    "allow_any_identity",
    TUNNELS,
    Kind::Switch {
        field: |options| &mut options.allow_any_identity,
        on: true,
    },
    "Let everyone who knows the public key open a tunnel: for tests and measurements only",
);

pub(crate) static STATE_DIR: Setting = Setting::new(
    "state_dir",
    TUNNELS,
    Kind::Special {
        shape: Shape::Text,
        value_name: "DIR",
        default: "none: clients notice a restart after 15 s",
        example: r#""/var/lib/snapgate""#,
    },
    "Keep a directory of the tunnels here, by which a gateway that is started again serves its clients \
     at once; for one gateway alone",
);

pub(crate) static FORWARD: Setting = Setting::new(
    "forward",
    FORWARDING,
    Kind::Forward(|options| &mut options.forward),
    "What happens to packets from tunnels",
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
    "The gateway's address towards SCION routers; required to forward to SCION",
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
    "The router behind an interface of the AS, by its internal address; repeatable",
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
    "The topology.json of the AS's routers: its border routers add to --next-hop, its ISD-AS to \
     --local-isd-as",
)
.for_scion();

pub(crate) static LOCAL_ISD_AS: Setting = Setting::new(
    "local_isd_as",
    FORWARDING,
    Kind::Special {
        shape: Shape::List,
        value_name: "ISD-AS",
        default: "those of the next hops and the topology",
        example: r#"["1-ff00:0:110"]"#,
    },
    "The AS of this gateway: packets from tunnels must come from it; repeatable",
)
.for_scion();

pub(crate) static LOCAL_PREFIX: Setting = Setting::new(
    "local_prefix",
    FORWARDING,
    Kind::Special {
        shape: Shape::List,
        value_name: "PREFIX",
        default: "none: packets within the AS go to tunnels only",
        example: r#"["10.0.0.0/24"]"#,
    },
    "Hosts of the AS that packets may be sent to directly; repeatable",
)
.for_scion();

pub(crate) static INTERNAL_FROM: Setting = Setting::new(
    "internal_from",
    FORWARDING,
    Kind::Special {
        shape: Shape::List,
        value_name: "PREFIX|any",
        default: "none: routers, and hosts of the AS under their own address",
        example: r#"["10.0.1.0/24"]"#,
    },
    "Hosts besides the routers that may send any packet to the internal address; repeatable",
)
.for_scion();

pub(crate) static WORKERS: Setting = Setting::new(
    "workers",
    WORKERS_GROUP,
    Kind::Special {
        shape: Shape::NumberOrText,
        value_name: "N|auto",
        default: "auto: the smaller of the affinity mask and the cgroup's CPU quota",
        example: r#""auto""#,
    },
    "Worker threads, which share the tunnels; more than there are CPUs needs --cpus none",
);

pub(crate) static CPUS: Setting = Setting::new(
    "cpus",
    WORKERS_GROUP,
    Kind::Special {
        shape: Shape::Text,
        value_name: "LIST|auto|none",
        default: "auto: each worker on its own CPU of the affinity mask",
        example: r#""auto""#,
    },
    "The CPU of each worker, such as 0-3,8, or none to let the scheduler move them",
);

/// The setting with this file key.
pub(crate) fn by_name(name: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .copied()
        .find(|setting| setting.name == name)
}

/// The file key that is most like `name`, if one is like it at all.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    // People also write the flag's or the variable's spelling.
    let name = name.to_lowercase().replace('-', "_");
    let name = name.strip_prefix("snapgate_").unwrap_or(&name);
    SETTINGS
        .iter()
        .map(|setting| (strsim::jaro_winkler(name, setting.name), setting.name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}
