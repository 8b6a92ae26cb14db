//! Errors in a configuration and in the files that it names.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use scion_packet::IsdAs;

use crate::config::place::Place;
use crate::config::setting::Setting;
use crate::config::text_file::FileFault;
use crate::cpus::CpuListFault;
use crate::keys::{KeyError, KeyFileFault};

/// An error in a configuration: what is wrong, and what would be right.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The configuration file is unusable.
    #[error(transparent)]
    File(#[from] FileFault),
    /// A file named by a setting is unusable.
    #[error("{}: {fault}", file.display())]
    NamedFile { file: PathBuf, fault: FileFault },
    #[error("invalid TOML: {0}")]
    Syntax(String),
    #[error("unknown key {key:?}; {}", suggestion(*nearest))]
    UnknownKey {
        key: String,
        /// The most similar known key.
        nearest: Option<&'static str>,
    },
    /// The value has the wrong TOML type.
    #[error("expected {expected}, got {found}; example: {example}")]
    WrongType {
        found: &'static str,
        expected: &'static str,
        /// A valid line.
        example: String,
    },
    /// A setting below the line `[next_hop]`.
    #[error(
        "{0:?} is a setting, but is in the table [next_hop]; move it above the line [next_hop]"
    )]
    SettingInTable(String),
    /// A required setting is missing.
    #[error(
        "{} is not set; set it with --{}, {} or `{}` in the file",
        .0.name, .0.flag(), .0.environment(), .0.example()
    )]
    Missing(&'static Setting),
    #[error("empty value; set a value or remove the setting")]
    Empty,
    /// Text, and the port for the examples.
    #[error(
        "expected an IP address with a port, such as 192.0.2.1:{1} or [2001:db8::1]:{1}, got {0:?} \
         (host names are not resolved)"
    )]
    NotASocketAddress(String, u16),
    #[error("{0} is an IPv4-mapped IPv6 address; write it as {1}")]
    MappedAddress(SocketAddr, SocketAddr),
    #[error("{0} is a multicast address; use the address of one host")]
    Multicast(SocketAddr),
    #[error("{0} is the broadcast address; use the address of one host")]
    Broadcast(SocketAddr),
    #[error(
        "{0} is a link-local address, and clients that use it would have link-local addresses, which \
         are no SCION addresses because they are valid on one link only; use another address of this \
         host"
    )]
    ListenLinkLocal(SocketAddr),
    #[error(
        "{0} is a link-local address without interface; append the interface's index, which `ip link` \
         shows, as in [fe80::1%2]:30100"
    )]
    NoScope(SocketAddr),
    #[error(
        "expected the name of a network interface, such as eth0 or vrf-blue, got {0:?} (`ip link` \
         lists them)"
    )]
    NotAnInterfaceName(String),
    #[error("{0} has port 0; use the port that clients send to")]
    PublicPortZero(SocketAddr),
    #[error("expected a text without spaces, got {0:?}")]
    NotAWord(String),
    #[error("{0} has port 0; use the router's port")]
    RouterPortZero(SocketAddr),
    /// The internal address is the source of SCMP errors and the target of routers.
    #[error("{0} is the wildcard address; use the address that routers send to")]
    OwnAddressUnspecified(SocketAddr),
    #[error("{0} is the wildcard address; use the router's address")]
    RouterUnspecified(SocketAddr),
    #[error("{0} is listed twice; remove one")]
    Duplicate(String),
    #[error("expected a whole number from {min} to {max}, got {text:?}")]
    NotANumber { text: String, min: u64, max: u64 },
    #[error("expected a whole number from 1 to {max} or auto, got {text:?}")]
    NotANumberOfWorkers { text: String, max: usize },
    /// Limits in bytes.
    #[error(
        "expected a size from {min} to {max} bytes, such as 8388608, 8192KiB or 8MiB, got {text:?}"
    )]
    NotASize {
        text: String,
        min: usize,
        max: usize,
    },
    #[error("expected true or false, got {0:?}")]
    NotASwitch(String),
    #[error("expected {}, got {text:?}", enumeration(choices))]
    NotAChoice {
        text: String,
        choices: Vec<&'static str>,
    },
    #[error(transparent)]
    CpuList(#[from] CpuListFault),
    #[error("expected an ISD-AS number, such as 1-ff00:0:110 or 1-64512, got {0:?}")]
    NotAnIsdAs(String),
    #[error("{0} is a wildcard; give the numbers of the ISD and of the AS")]
    WildcardIsdAs(IsdAs),
    /// The value of a flag or an environment variable has no `=`.
    #[error(
        "expected ISD-AS#INTERFACE=ADDRESS:PORT, such as 1-ff00:0:110#1=10.0.0.1:31002, got {0:?}"
    )]
    NotANextHop(String),
    /// The key of a next hop, as written in the file or before the `=` of the flag.
    #[error("expected ISD-AS#INTERFACE, such as 1-ff00:0:110#1, got {key:?}: {reason}")]
    NotAnInterface { key: String, reason: &'static str },
    #[error("expected an IP prefix, such as 10.0.0.0/24 or 2001:db8::/64, got {0:?}")]
    NotAPrefix(String),
    #[error("{0} has bits set beyond its prefix length; write {1}")]
    PrefixWithHostBits(IpNet, IpNet),
    /// Prefix of all addresses in `local_prefix`.
    #[error("{0} contains all addresses, so clients could send to any host; use the AS's prefixes")]
    PrefixOfEverything(IpNet),
    #[error("{0} is a prefix of IPv4-mapped IPv6 addresses; write it as {1}")]
    MappedPrefix(IpNet, IpNet),
    /// Prefix of all addresses in `internal_from`.
    #[error("{0} contains all addresses; to accept packets from all hosts, write any")]
    AnyWrittenAsPrefix(IpNet),
    /// `any` together with prefixes in `internal_from`.
    #[error("any includes all prefixes; remove either any or the prefixes")]
    AnyBesidePrefixes,
    #[error(
        "expected a log level (off, error, warn, info, debug or trace) or directives such as \
         info,snapgate=debug, got {0:?}"
    )]
    NotALogFilter(String),
    #[error("{}: {fault}", file.display())]
    PrivateKey { file: PathBuf, fault: KeyFileFault },
    /// Does not quote the key.
    #[error(
        "expected a file name, got a key; replace the key with a new one in a file, because other \
         users can see command lines and environments"
    )]
    KeyInsteadOfFile,
    #[error(
        "no client may open a tunnel; set --identities FILE, or --control-plane ADDRESS:PORT to let clients register, or \
         --allow-any-identity to accept all clients"
    )]
    NoAuthorization,
    /// Place of the identities file.
    #[error(
        "conflicts with identities (set by {0}), which would have no effect; remove one of the two"
    )]
    TwoAuthorizations(Place),
    #[error(transparent)]
    Identity(#[from] IdentityFault),
    #[error(transparent)]
    Topology(#[from] TopologyFault),
    #[error("{} is not a directory; use the path of a directory", .0.display())]
    NotADirectory(PathBuf),
    /// A file that is appended to.
    #[error(
        "{} is not a regular file; use the path of a regular file, which need not exist",
        .0.display()
    )]
    NotARegularFile(PathBuf),
    /// The parent directory of a file that may be created.
    #[error("the directory {} does not exist; create it or use another path", .0.display())]
    NoDirectory(PathBuf),
    #[error(
        "{workers} workers exceed {cpus}; use at most {at_most} workers, or --cpus none to let \
         them share CPUs"
    )]
    TooManyWorkers {
        /// Configured number of workers.
        workers: usize,
        /// For example "the CPUs that this process may run on (0-1)".
        cpus: String,
        at_most: usize,
    },
    /// The CPU is not in the affinity mask.
    #[error("this process may not run on CPU {cpu}; use only CPUs {allowed}")]
    CpuNotAllowed {
        cpu: usize,
        /// List of the allowed CPUs.
        allowed: String,
    },
    #[error("{address} and {other} overlap, because one is the wildcard address; remove one")]
    ListenOverlap {
        address: SocketAddr,
        /// The address listed earlier.
        other: SocketAddr,
    },
    #[error("{internal} overlaps the listen address {listen}; change the address or port of one")]
    InternalIsListen {
        internal: SocketAddr,
        listen: SocketAddr,
    },
    #[error(
        "the router of {isd_as}#{interface} has the gateway's internal address {address}; use the \
         router's address"
    )]
    NextHopIsInternal {
        isd_as: IsdAs,
        interface: u16,
        address: SocketAddr,
    },
    #[error("{isd_as}#{interface} is {address} here and {other} in {other_place}; remove one")]
    NextHopConflict {
        isd_as: IsdAs,
        interface: u16,
        address: SocketAddr,
        /// The other router.
        other: SocketAddr,
        other_place: Place,
    },
    #[error(
        "{isd_as} is not a local ISD-AS number ({local}); add it to local_isd_as or remove the \
         next hop"
    )]
    NextHopOfForeignAs {
        isd_as: IsdAs,
        /// List of the local ISD-AS numbers.
        local: String,
    },
    #[error(
        "the topology belongs to {isd_as}, which is not a local ISD-AS number ({local}); use the topology of a local \
         AS, or add {isd_as} to local_isd_as"
    )]
    TopologyOfForeignAs {
        isd_as: IsdAs,
        /// List of the local ISD-AS numbers.
        local: String,
    },
    #[error(
        "conflicts with control_plane (set by {0}), whose registrations would have no effect; remove one of the two"
    )]
    AnyIdentityBesideControlPlane(Place),
    #[error(
        "the control plane tells clients the ASes that the gateway serves, and with --forward {forward} there are \
         none; use --forward scion, or remove control_plane"
    )]
    ControlPlaneWithoutScion { forward: &'static str },
    #[error(
        "{control} is the wildcard address, which clients cannot be told; set --control-plane-url"
    )]
    NoControlPlaneUrl { control: SocketAddr },
    #[error(
        "the control plane tells clients an address for tunnels, but all listen addresses are wildcards; set \
         --public-address"
    )]
    NoPublicAddress,
    #[error(
        "{address} and {other} are both {family}; clients are told one address of each IP version, so remove one"
    )]
    TwoPublicAddresses {
        address: SocketAddr,
        other: SocketAddr,
        family: &'static str,
    },
    #[error("no key to verify tokens; set --token-key or --token-jwks")]
    NoTokenKeys,
    /// Place of the other setting.
    #[error("conflicts with token_key (set by {0}); remove one of the two")]
    TwoTokenKeys(Place),
    /// A file or a URL of keys cannot be used.
    #[error("{0}")]
    TokenKeys(String),
    #[error(
        "expected an http or https URL with a host, such as https://snap.example.org:8443, got {0:?}"
    )]
    NotAUrl(String),
    #[error("set without {}; set both or neither", .0.name)]
    WithoutPartner(&'static Setting),
    /// Certificate or key of the control plane.
    #[error("{0}")]
    Certificate(String),
    /// A value with which the control plane would not start.
    #[error("{0}")]
    ControlPlane(String),
    #[error(
        "{0} has port 0, so the control plane cannot tell clients the port for tunnels; use another port, or set \
         --public-address"
    )]
    ListenPortZero(SocketAddr),
    /// URL of the endhost API.
    #[error(
        "tokens would be sent to {0} in clear text (endhost_api_token), where others could read and use them; use https, or \
         remove endhost_api_token"
    )]
    TokenInClearText(String),
    #[error("no local ISD-AS number; set --local-isd-as, --next-hop or --topology")]
    NoLocalIsdAs,
    #[error(
        "the internal address {internal} cannot reach {what}: one is IPv4, the other IPv6; use \
         addresses of one family"
    )]
    FamilyMismatch {
        /// A router or a prefix.
        what: String,
        internal: SocketAddr,
    },
}

/// Formats alternatives as `a, b or c`.
fn enumeration(words: &[&str]) -> String {
    match words {
        [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
        words => words.join(", "),
    }
}

fn suggestion(nearest: Option<&'static str>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => "`snapgate run --help` lists all settings".to_owned(),
    }
}

/// An error in an identities file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum IdentityFault {
    /// Unknown key in an identity.
    #[error("unknown key {0:?}; an identity has public_key and optionally name and expires")]
    UnknownKey(String),
    /// Unknown key outside of the identities.
    #[error("unknown key {0:?}; the file contains only [[identity]] tables")]
    UnknownTable(String),
    #[error("expected a table; start each identity with a line [[identity]]")]
    NotATable,
    #[error("identity without public_key; add public_key = \"...\" or remove the identity")]
    NoPublicKey,
    #[error("public_key: {0}; use the output of `snapgate pubkey`")]
    PublicKey(KeyError),
    #[error("public_key is the gateway's own key; use the client's public key")]
    OwnKey,
    #[error(
        "public_key is the gateway's private key; use the client's public key, and if others could read this file, \
         replace the gateway's key"
    )]
    OwnPrivateKey,
    #[error("public_key is the same as on line {first_line}; remove one of the identities")]
    Duplicate { first_line: usize },
    #[error("{0}: expected a string in quotes")]
    NotAString(&'static str),
    #[error(
        "expires: expected a date and time with UTC offset in the years 0000 to 9999, such as \
         2027-01-01T00:00:00Z"
    )]
    NotATimestamp,
}

/// An error in a topology file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum TopologyFault {
    #[error("invalid JSON: {0}")]
    NotJson(String),
    /// Valid JSON with unexpected content.
    #[error(
        "not a SCION topology: {0}; expected isd_as, and border_routers with internal_addr and \
         interfaces"
    )]
    NotATopology(String),
    /// Two routers with the same interface.
    #[error("border routers {first:?} and {second:?} both have interface {interface}; remove one")]
    InterfaceTwice {
        interface: u16,
        first: String,
        second: String,
    },
    /// Interface 0 means "no interface" in SCION paths.
    #[error("border router {0:?} has interface 0; interfaces are numbered from 1")]
    InterfaceZero(String),
    #[error("border router {0:?} has port 0 in internal_addr; use the router's port")]
    PortZero(String),
    #[error(
        "border router {router:?} has the wildcard address {address} as internal_addr; use an \
         address that the gateway can reach"
    )]
    Unspecified { router: String, address: SocketAddr },
}
