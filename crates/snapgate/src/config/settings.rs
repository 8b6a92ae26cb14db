//! The one table of settings. A flag, an environment variable and a file key come of each row, so
//! that none can exist in one place only.

/// One thing an operator can set.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Setting {
    /// The key in the file. The flag has `-` for `_`, the environment variable is in capitals.
    pub(crate) name: &'static str,
    /// What values look like.
    pub(crate) shape: Shape,
    /// The value's name in the help; empty for a switch.
    pub(crate) value_name: &'static str,
    /// The heading in the help.
    pub(crate) group: &'static str,
    /// What holds when nobody sets it, for people to read.
    pub(crate) default: &'static str,
    /// What it does, in a line or two.
    pub(crate) help: &'static str,
    /// A line of the file that sets it.
    pub(crate) example: &'static str,
}

/// What the values of a setting look like in each place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// A string.
    Text,
    /// An integer.
    Number,
    /// An integer or a string, such as `4` or `"auto"`, `65536` or `"64KiB"`.
    NumberOrText,
    /// `true` or `false`; the bare flag means `true`.
    Switch,
    /// An array of strings; the flag is given once for each, the environment variable has commas.
    List,
    /// A table of strings; the flag is `KEY=VALUE`, once for each, the environment variable has
    /// commas.
    Table,
}

impl Setting {
    /// The flag without its dashes.
    pub(crate) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    pub(crate) fn environment(&self) -> String {
        format!("SNAPGATE_{}", self.name.to_uppercase())
    }
}

const TUNNELS_GROUP: &str = "Tunnels";
const FORWARDING_GROUP: &str = "Forwarding";
const WORKERS_GROUP: &str = "Workers";
const SOCKETS_GROUP: &str = "Sockets";
const LIMITS_GROUP: &str = "Limits";
const STOPPING_GROUP: &str = "Stopping";
const OBSERVING_GROUP: &str = "Observing";

/// Where tunnels come in.
pub(crate) static LISTEN: Setting = Setting {
    name: "listen",
    shape: Shape::List,
    value_name: "ADDRESS:PORT",
    group: TUNNELS_GROUP,
    default: "0.0.0.0:51820 and, where the host has IPv6, [::]:51820",
    help: "Where tunnels come in; repeatable",
    example: r#"listen = ["192.0.2.1:51820", "[2001:db8::1]:51820"]"#,
};

/// The file with the gateway's private key.
pub(crate) static PRIVATE_KEY_FILE: Setting = Setting {
    name: "private_key_file",
    shape: Shape::Text,
    value_name: "FILE",
    group: TUNNELS_GROUP,
    default: "",
    help: "The gateway's private key in base64, as `snapgate genkey` prints it; required",
    example: r#"private_key_file = "/etc/snapgate/private.key""#,
};

/// The file of those who may open a tunnel.
pub(crate) static IDENTITIES: Setting = Setting {
    name: "identities",
    shape: Shape::Text,
    value_name: "FILE",
    group: TUNNELS_GROUP,
    default: "",
    help: "Who may open a tunnel: TOML with [[identity]] tables of public_key and, optionally, \
           name and expires (RFC 3339); this or --allow-any-identity is required",
    example: r#"identities = "/etc/snapgate/identities.toml""#,
};

/// Everyone may open a tunnel.
pub(crate) static ALLOW_ANY_IDENTITY: Setting = Setting {
    name: "allow_any_identity",
    shape: Shape::Switch,
    value_name: "",
    group: TUNNELS_GROUP,
    default: "false",
    help: "Let everyone who knows the public key open a tunnel: for tests and measurements only",
    example: "allow_any_identity = false",
};

/// Where tunnels are kept for the next process.
pub(crate) static STATE_DIR: Setting = Setting {
    name: "state_dir",
    shape: Shape::Text,
    value_name: "DIR",
    group: TUNNELS_GROUP,
    default: "none: clients notice a restart after 15 s",
    help: "Keep a directory of the tunnels here, by which a gateway that is started again serves its \
           clients at once; for one gateway alone",
    example: r#"state_dir = "/var/lib/snapgate""#,
};

/// Where decrypted packets go.
pub(crate) static FORWARD: Setting = Setting {
    name: "forward",
    shape: Shape::Text,
    value_name: "scion|echo|sink",
    group: FORWARDING_GROUP,
    default: "scion",
    help: "Where decrypted packets go: to SCION, back into their own tunnel, or nowhere \
           (discarded and counted as delivered)",
    example: r#"forward = "scion""#,
};

/// The address on the SCION side.
pub(crate) static INTERNAL: Setting = Setting {
    name: "internal",
    shape: Shape::Text,
    value_name: "ADDRESS:PORT",
    group: FORWARDING_GROUP,
    default: "",
    help: "The gateway's address towards SCION routers; required to forward to SCION",
    example: r#"internal = "10.0.0.5:30100""#,
};

/// Routers, one by one.
pub(crate) static NEXT_HOP: Setting = Setting {
    name: "next_hop",
    shape: Shape::Table,
    value_name: "ISD-AS#INTERFACE=ADDRESS:PORT",
    group: FORWARDING_GROUP,
    default: "",
    help: "The router behind an interface of the AS, by its internal address; repeatable",
    example: r#"next_hop = { "1-ff00:0:110#1" = "10.0.0.1:31002" }"#,
};

/// Routers, as the AS describes them.
pub(crate) static TOPOLOGY: Setting = Setting {
    name: "topology",
    shape: Shape::Text,
    value_name: "FILE",
    group: FORWARDING_GROUP,
    default: "",
    help: "The topology.json of the AS's routers: its border routers add to --next-hop, its ISD-AS \
           to --local-isd-as",
    example: r#"topology = "/etc/scion/topology.json""#,
};

/// The ASes of this gateway.
pub(crate) static LOCAL_ISD_AS: Setting = Setting {
    name: "local_isd_as",
    shape: Shape::List,
    value_name: "ISD-AS",
    group: FORWARDING_GROUP,
    default: "those of the next hops and the topology",
    help: "The AS of this gateway: packets from tunnels must come from it; repeatable",
    example: r#"local_isd_as = ["1-ff00:0:110"]"#,
};

/// Hosts of the AS that may be sent to directly.
pub(crate) static LOCAL_PREFIX: Setting = Setting {
    name: "local_prefix",
    shape: Shape::List,
    value_name: "PREFIX",
    group: FORWARDING_GROUP,
    default: "none: packets within the AS go to tunnels only",
    help: "Hosts of the AS that packets may be sent to directly; repeatable",
    example: r#"local_prefix = ["10.0.0.0/24"]"#,
};

/// Hosts that may send anything to the internal address.
pub(crate) static INTERNAL_FROM: Setting = Setting {
    name: "internal_from",
    shape: Shape::List,
    value_name: "PREFIX|any",
    group: FORWARDING_GROUP,
    default: "none: routers, and hosts of the AS under their own address",
    help: "Hosts besides the routers that may send any packet to the internal address; repeatable",
    example: r#"internal_from = ["10.0.1.0/24"]"#,
};

/// The number of workers.
pub(crate) static WORKERS: Setting = Setting {
    name: "workers",
    shape: Shape::NumberOrText,
    value_name: "N|auto",
    group: WORKERS_GROUP,
    default: "auto: the smaller of the affinity mask and the cgroup's CPU quota",
    help: "How many worker threads share the tunnels; more than there are CPUs needs --cpus none",
    example: r#"workers = "auto""#,
};

/// Where the workers run.
pub(crate) static CPUS: Setting = Setting {
    name: "cpus",
    shape: Shape::Text,
    value_name: "LIST|auto|none",
    group: WORKERS_GROUP,
    default: "auto: each worker on its own CPU of the affinity mask",
    help: "The CPU of each worker, such as 0-3,8, or none to let the scheduler move them",
    example: r#"cpus = "auto""#,
};

/// Who brings a datagram to its worker.
pub(crate) static DISPATCH: Setting = Setting {
    name: "dispatch",
    shape: Shape::Text,
    value_name: "kernel|user",
    group: WORKERS_GROUP,
    default: "kernel",
    help: "Who brings a datagram to the worker of its tunnel: a program at the sockets, or the \
           other workers",
    example: r#"dispatch = "kernel""#,
};

/// Switches segmentation offload off.
pub(crate) static NO_GSO: Setting = Setting {
    name: "no_gso",
    shape: Shape::Switch,
    value_name: "",
    group: SOCKETS_GROUP,
    default: "false",
    help: "Send one datagram at a time instead of trains (UDP_SEGMENT)",
    example: "no_gso = false",
};

/// Switches receive offload off.
pub(crate) static NO_GRO: Setting = Setting {
    name: "no_gro",
    shape: Shape::Switch,
    value_name: "",
    group: SOCKETS_GROUP,
    default: "false",
    help: "Receive one datagram at a time instead of trains (UDP_GRO)",
    example: "no_gro = false",
};

/// The receive buffer of each socket.
pub(crate) static RECEIVE_BUFFER: Setting = Setting {
    name: "receive_buffer",
    shape: Shape::NumberOrText,
    value_name: "SIZE",
    group: SOCKETS_GROUP,
    default: "8MiB",
    help: "Receive buffer of each socket, in bytes or with KiB, MiB or GiB",
    example: r#"receive_buffer = "8MiB""#,
};

/// The send buffer of each socket.
pub(crate) static SEND_BUFFER: Setting = Setting {
    name: "send_buffer",
    shape: Shape::NumberOrText,
    value_name: "SIZE",
    group: SOCKETS_GROUP,
    default: "4MiB",
    help: "Send buffer of each socket, in bytes or with KiB, MiB or GiB",
    example: r#"send_buffer = "4MiB""#,
};

/// Handshakes before the cookie.
pub(crate) static HANDSHAKES_PER_IP_PER_SECOND: Setting = Setting {
    name: "handshakes_per_ip_per_second",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "100",
    help: "Handshake messages of one IP address in a second before it has to prove with a cookie that it \
           receives there",
    example: "handshakes_per_ip_per_second = 100",
};

/// Handshakes before everyone needs a cookie.
pub(crate) static HANDSHAKES_PER_SECOND: Setting = Setting {
    name: "handshakes_per_second",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "2000",
    help: "Handshake initiations in a second, for each worker, before every sender has to show a cookie; \
           all workers count together",
    example: "handshakes_per_second = 2000",
};

/// Handshakes of one address with a cookie.
pub(crate) static VERIFIED_HANDSHAKES_PER_IP_PER_SECOND: Setting = Setting {
    name: "verified_handshakes_per_ip_per_second",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "1000",
    help: "Handshake messages with a cookie of one IP address in a second; more are dropped",
    example: "verified_handshakes_per_ip_per_second = 1000",
};

/// Handshakes with a cookie.
pub(crate) static VERIFIED_HANDSHAKES_PER_SECOND: Setting = Setting {
    name: "verified_handshakes_per_second",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "4000",
    help: "Handshake initiations with a cookie in a second, for each worker; more are dropped. All \
           workers count together",
    example: "verified_handshakes_per_second = 4000",
};

/// Handshakes of an identity.
pub(crate) static HANDSHAKES_PER_IDENTITY_PER_SECOND: Setting = Setting {
    name: "handshakes_per_identity_per_second",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "64",
    help: "Handshakes of one identity answered in a second; more are dropped. Lower than \
           tunnels_per_identity, a client with as many sockets takes longer to open them",
    example: "handshakes_per_identity_per_second = 64",
};

/// Handshakes after a restart.
pub(crate) static RESTART_HANDSHAKES_PER_SECOND: Setting = Setting {
    name: "restart_handshakes_per_second",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "1000",
    help: "Handshakes begun in a second, in one worker, with clients that --state-dir remembers or whose \
           grant returned",
    example: "restart_handshakes_per_second = 1000",
};

/// Tunnels of a worker.
pub(crate) static TUNNELS_PER_WORKER: Setting = Setting {
    name: "tunnels_per_worker",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "131072",
    help: "Tunnels of one worker; more take the places of unused and silent ones, or are refused",
    example: "tunnels_per_worker = 131072",
};

/// Tunnels of an identity.
pub(crate) static TUNNELS_PER_IDENTITY: Setting = Setting {
    name: "tunnels_per_identity",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "64",
    help: "Tunnels of one identity in one worker; more take the places of its own unused and silent \
           ones, or are refused",
    example: "tunnels_per_identity = 64",
};

/// Tunnels without a word from their client.
pub(crate) static HALF_OPEN_TUNNELS: Setting = Setting {
    name: "half_open_tunnels",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "2048",
    help: "Tunnels of one worker that their clients have not used yet; more take the places of the \
           oldest",
    example: "half_open_tunnels = 2048",
};

/// When an address may change hands.
pub(crate) static SILENT_AFTER_SECONDS: Setting = Setting {
    name: "silent_after_seconds",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "35",
    help: "Nothing came from a client for so long: its address, and its place where tunnels are too \
           many, may go to another",
    example: "silent_after_seconds = 35",
};

/// Clients that roam.
pub(crate) static ONE_TUNNEL_PER_IDENTITY: Setting = Setting {
    name: "one_tunnel_per_identity",
    shape: Shape::Switch,
    value_name: "",
    group: LIMITS_GROUP,
    default: "false",
    help: "An identity that uses a new tunnel loses its older ones at once, not when they expire; for \
           clients with one socket each",
    example: "one_tunnel_per_identity = false",
};

/// The memory of handshakes.
pub(crate) static REMEMBERED_IDENTITIES: Setting = Setting {
    name: "remembered_identities",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "262144",
    help: "Identities whose handshakes are remembered, so that captured ones are of no use; 200 bytes \
           each",
    example: "remembered_identities = 262144",
};

/// Clients whose clock is ahead.
pub(crate) static HANDSHAKE_TIMESTAMP_TOLERANCE_SECONDS: Setting = Setting {
    name: "handshake_timestamp_tolerance_seconds",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "7200",
    help: "A handshake is refused if its timestamp is further ahead of the system clock; it is also how long a \
           client is refused at most after its clock was set back",
    example: "handshake_timestamp_tolerance_seconds = 7200",
};

/// Packets that wait for one tunnel's handshake.
pub(crate) static WAITING_PACKETS_PER_TUNNEL: Setting = Setting {
    name: "waiting_packets_per_tunnel",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "256",
    help: "Packets that may wait for the handshake of one tunnel",
    example: "waiting_packets_per_tunnel = 256",
};

/// Bytes that wait for one tunnel's handshake.
pub(crate) static WAITING_BYTES_PER_TUNNEL: Setting = Setting {
    name: "waiting_bytes_per_tunnel",
    shape: Shape::NumberOrText,
    value_name: "SIZE",
    group: LIMITS_GROUP,
    default: "256KiB",
    help: "Bytes that may wait for the handshake of one tunnel",
    example: r#"waiting_bytes_per_tunnel = "256KiB""#,
};

/// Bytes that wait for the handshakes of one identity.
pub(crate) static WAITING_BYTES_PER_IDENTITY: Setting = Setting {
    name: "waiting_bytes_per_identity",
    shape: Shape::NumberOrText,
    value_name: "SIZE",
    group: LIMITS_GROUP,
    default: "1MiB",
    help: "Bytes that may wait for the handshakes of one identity in one worker",
    example: r#"waiting_bytes_per_identity = "1MiB""#,
};

/// Bytes that wait in half-open tunnels.
pub(crate) static WAITING_BYTES_HALF_OPEN: Setting = Setting {
    name: "waiting_bytes_half_open",
    shape: Shape::NumberOrText,
    value_name: "SIZE",
    group: LIMITS_GROUP,
    default: "8MiB",
    help: "Bytes that may wait in all tunnels of one worker that their clients have not used yet",
    example: r#"waiting_bytes_half_open = "8MiB""#,
};

/// Bytes that wait for handshakes in one worker.
pub(crate) static WAITING_BYTES_PER_WORKER: Setting = Setting {
    name: "waiting_bytes_per_worker",
    shape: Shape::NumberOrText,
    value_name: "SIZE",
    group: LIMITS_GROUP,
    default: "64MiB",
    help: "Bytes that may wait for handshakes in one worker",
    example: r#"waiting_bytes_per_worker = "64MiB""#,
};

/// SCMP errors per second into one tunnel.
pub(crate) static SCMP_ERRORS_PER_TUNNEL_PER_SECOND: Setting = Setting {
    name: "scmp_errors_per_tunnel_per_second",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "100",
    help: "SCMP errors per second into one tunnel, twice as many at once; errors of the gateway, \
           from SCION and from other tunnels are counted apart",
    example: "scmp_errors_per_tunnel_per_second = 100",
};

/// SCMP errors per second into the tunnels of one worker.
pub(crate) static SCMP_ERRORS_PER_SECOND: Setting = Setting {
    name: "scmp_errors_per_second",
    shape: Shape::Number,
    value_name: "N",
    group: LIMITS_GROUP,
    default: "10000",
    help: "SCMP errors per second into all tunnels of one worker; errors of the gateway, from SCION \
           and from other tunnels are counted apart",
    example: "scmp_errors_per_second = 10000",
};

/// How long existing tunnels are served after SIGTERM.
pub(crate) static DRAIN_TIMEOUT_SECONDS: Setting = Setting {
    name: "drain_timeout_seconds",
    shape: Shape::Number,
    value_name: "N",
    group: STOPPING_GROUP,
    default: "20",
    help: "After SIGTERM no new tunnels are made, and those that talk are served for so long; 0 stops \
           at once",
    example: "drain_timeout_seconds = 20",
};

/// When a tunnel no longer needs the gateway.
pub(crate) static DRAIN_IDLE_SECONDS: Setting = Setting {
    name: "drain_idle_seconds",
    shape: Shape::Number,
    value_name: "N",
    group: STOPPING_GROUP,
    default: "5",
    help: "After SIGTERM the gateway stops when no data passed any tunnel for so long",
    example: "drain_idle_seconds = 5",
};

/// Where metrics are served.
pub(crate) static METRICS: Setting = Setting {
    name: "metrics",
    shape: Shape::Text,
    value_name: "ADDRESS:PORT",
    group: OBSERVING_GROUP,
    default: "none",
    help: "Serve metrics over HTTP here",
    example: r#"metrics = "127.0.0.1:9820""#,
};

/// What is logged.
pub(crate) static LOG: Setting = Setting {
    name: "log",
    shape: Shape::Text,
    value_name: "FILTER",
    group: OBSERVING_GROUP,
    default: "info",
    help: "What goes to standard error: off, error, warn, info, debug, trace, or directives such as \
           info,snapgate::worker=debug",
    example: r#"log = "info""#,
};

/// Every setting, in the order of the help and of `snapgate check`.
pub(crate) static SETTINGS: [&Setting; 43] = [
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
    &DISPATCH,
    &NO_GSO,
    &NO_GRO,
    &RECEIVE_BUFFER,
    &SEND_BUFFER,
    &HANDSHAKES_PER_IP_PER_SECOND,
    &HANDSHAKES_PER_SECOND,
    &VERIFIED_HANDSHAKES_PER_IP_PER_SECOND,
    &VERIFIED_HANDSHAKES_PER_SECOND,
    &HANDSHAKES_PER_IDENTITY_PER_SECOND,
    &RESTART_HANDSHAKES_PER_SECOND,
    &TUNNELS_PER_WORKER,
    &TUNNELS_PER_IDENTITY,
    &HALF_OPEN_TUNNELS,
    &SILENT_AFTER_SECONDS,
    &ONE_TUNNEL_PER_IDENTITY,
    &REMEMBERED_IDENTITIES,
    &HANDSHAKE_TIMESTAMP_TOLERANCE_SECONDS,
    &WAITING_PACKETS_PER_TUNNEL,
    &WAITING_BYTES_PER_TUNNEL,
    &WAITING_BYTES_PER_IDENTITY,
    &WAITING_BYTES_HALF_OPEN,
    &WAITING_BYTES_PER_WORKER,
    &SCMP_ERRORS_PER_TUNNEL_PER_SECOND,
    &SCMP_ERRORS_PER_SECOND,
    &DRAIN_TIMEOUT_SECONDS,
    &DRAIN_IDLE_SECONDS,
    &METRICS,
    &LOG,
];

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
