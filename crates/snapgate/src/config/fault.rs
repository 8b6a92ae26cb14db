//! What can be wrong with a configuration and the files that it names, each with the remedy.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use scion_packet::IsdAs;

use crate::config::place::Place;
use crate::config::setting::Setting;
use crate::config::text_file::FileFault;
use crate::cpus::CpuListFault;
use crate::keys::{KeyError, KeyFileFault};

/// What is wrong, in one sentence with the remedy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileFault),
    /// Another file, named by a setting, cannot be used.
    #[error("{} {fault}", file.display())]
    NamedFile {
        /// The file named.
        file: PathBuf,
        /// Why not.
        fault: FileFault,
    },
    /// The file is no TOML.
    #[error("this is not TOML: {0}")]
    Syntax(String),
    /// The key does not exist.
    #[error("unknown key {key:?}; {}", did_you_mean(*nearest))]
    UnknownKey {
        /// The key found.
        key: String,
        /// The known key that is most like it.
        nearest: Option<&'static str>,
    },
    /// The value has the wrong TOML type.
    #[error("{wanted} belongs here instead of {found}; write it like {example}")]
    WrongType {
        /// The type found.
        found: &'static str,
        /// The type that it has to have.
        wanted: &'static str,
        /// A right line.
        example: String,
    },
    /// The key of another setting ended up in the table of next hops.
    #[error("{0:?} stands below [next_hop] and so belongs to it; move it above that line")]
    SettingInTable(String),
    /// A setting that is needed is not there.
    #[error(
        "{} is not set; set it with --{}, {} or `{}` in the file",
        .0.name, .0.flag(), .0.environment(), .0.example()
    )]
    Missing(&'static Setting),
    /// An empty value.
    #[error("the value is empty; give it one or leave the setting out")]
    Empty,
    /// No socket address.
    #[error(
        "{0:?} is not an IP address with a port; write it like 192.0.2.1:{1} or [2001:db8::1]:{1} \
         (host names are not looked up)"
    )]
    NotASocketAddress(String, u16),
    /// An IPv4 address in IPv6 clothes.
    #[error("{0} is an IPv4 address written as IPv6; write it as {1}")]
    MappedAddress(SocketAddr, SocketAddr),
    /// Port 0, where only a peer can choose.
    #[error("{0} has port 0; give it the port it listens on")]
    PortZero(SocketAddr),
    /// No address that routers could answer to, and no source for SCMP errors.
    #[error("{0} is every address of the host; name the one that routers reach")]
    OwnAddressUnspecified(SocketAddr),
    /// No address to send to.
    #[error("{0} is every address of the host; name the router's")]
    RouterUnspecified(SocketAddr),
    /// The same value twice.
    #[error("{0} is there twice; remove one")]
    Duplicate(String),
    /// No number, or out of range.
    #[error("{text:?} is not a whole number from {min} to {max}")]
    NotANumber {
        /// The text found.
        text: String,
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// No number of workers.
    #[error("{text:?} is neither a whole number from 1 to {max} nor auto")]
    NotANumberOfWorkers {
        /// The text found.
        text: String,
        /// The largest.
        max: usize,
    },
    /// No size.
    #[error(
        "{text:?} is not a size from {min} to {max} bytes; write it like 8388608, 8192KiB or 8MiB"
    )]
    NotASize {
        /// The text found.
        text: String,
        /// The smallest, in bytes.
        min: usize,
        /// The largest, in bytes.
        max: usize,
    },
    /// Neither true nor false.
    #[error("{0:?} is neither true nor false")]
    NotASwitch(String),
    /// None of a few words.
    #[error("{text:?} is none of {}", enumeration(choices))]
    NotAChoice {
        /// The text found.
        text: String,
        /// The words.
        choices: Vec<&'static str>,
    },
    /// No list of CPUs.
    #[error(transparent)]
    CpuList(#[from] CpuListFault),
    /// No ISD-AS number.
    #[error("{0:?} is not an ISD-AS number; write it like 1-ff00:0:110 or 1-64512")]
    NotAnIsdAs(String),
    /// A wildcard where one AS is meant.
    #[error("{0} is a wildcard; name the ISD and the AS")]
    WildcardIsdAs(IsdAs),
    /// No next hop.
    #[error(
        "{0:?} is not a next hop; write it like 1-ff00:0:110#1=10.0.0.1:31002 \
         (ISD-AS#INTERFACE=ADDRESS:PORT)"
    )]
    NotANextHop(String),
    /// No prefix.
    #[error("{0:?} is not a prefix of IP addresses; write it like 10.0.0.0/24 or 2001:db8::/64")]
    NotAPrefix(String),
    /// Bits set beyond the length.
    #[error("{0} has bits set behind its length; write {1}")]
    PrefixWithHostBits(IpNet, IpNet),
    /// The whole Internet.
    #[error(
        "{0} is every address there is, and the gateway would send to anyone; name the prefixes \
         of the AS"
    )]
    PrefixOfEverything(IpNet),
    /// Prefix of IPv4-mapped IPv6 addresses.
    #[error("{0} is a prefix of IPv4-mapped addresses; write it as {1}")]
    MappedPrefix(IpNet, IpNet),
    /// Prefix of all addresses in `internal_from`.
    #[error("{0} contains all addresses; to accept packets from all hosts, write any")]
    AnyWrittenAsPrefix(IpNet),
    /// `any` together with prefixes in `internal_from`.
    #[error("any includes all other values; remove any, or the other values")]
    AnyBesidePrefixes,
    /// No log filter.
    #[error(
        "{0:?} is not a log filter; write a level (off, error, warn, info, debug or trace), or \
         directives such as info,snapgate=debug"
    )]
    NotALogFilter(String),
    /// No private key.
    #[error("{} {fault}", file.display())]
    PrivateKey {
        /// The file.
        file: PathBuf,
        /// Why not.
        fault: KeyFileFault,
    },
    /// The key itself where the name of its file belongs.
    #[error(
        "is a key instead of the file that holds it; put the key into a file and make a new one: \
         command lines and environments can be seen by others"
    )]
    KeyInsteadOfFile,
    /// Neither identities nor everyone.
    #[error(
        "nobody may open a tunnel; name those who may with --identities FILE, or let everyone in \
         with --allow-any-identity"
    )]
    NoAuthorization,
    /// Both identities and everyone.
    #[error(
        "contradicts identities (set by {0}): a file of identities cannot be kept to when everyone \
         is let in; remove one of the two"
    )]
    TwoAuthorizations(Place),
    /// An entry of the identities file.
    #[error(transparent)]
    Identity(#[from] IdentityFault),
    /// The topology file.
    #[error(transparent)]
    Topology(#[from] TopologyFault),
    /// A file where a directory belongs.
    #[error("{} is not a directory; name the directory that it is in, or another", .0.display())]
    NotADirectory(PathBuf),
    /// More workers than CPUs.
    #[error(
        "{workers} workers are too many for {cpus}: each has a CPU of its own; ask for at most \
         {at_most}, or let them share with --cpus none"
    )]
    TooManyWorkers {
        /// The workers asked for.
        workers: usize,
        /// What there is, for example "the CPUs that this process may run on (0-1)".
        cpus: String,
        /// As many as fit.
        at_most: usize,
    },
    /// A CPU that the process may not run on.
    #[error("CPU {cpu} is not among those that this process may run on ({allowed}); leave it out")]
    CpuNotAllowed {
        /// The CPU asked for.
        cpu: usize,
        /// Those allowed, as a list.
        allowed: String,
    },
    /// Two listen addresses that cannot both be had.
    #[error("{address} and {other} overlap: one of them is every address of the host; remove one")]
    ListenOverlap {
        /// The address here.
        address: SocketAddr,
        /// The one before it.
        other: SocketAddr,
    },
    /// One socket address for both sides.
    #[error(
        "{internal} and the listen address {listen} overlap; give one of them another address or \
         port"
    )]
    InternalIsListen {
        /// The internal address.
        internal: SocketAddr,
        /// The listen address.
        listen: SocketAddr,
    },
    /// A router that is this gateway.
    #[error(
        "the router of {isd_as}#{interface} has the gateway's own internal address {address}; \
         name the router's"
    )]
    NextHopIsInternal {
        /// The AS.
        isd_as: IsdAs,
        /// The interface.
        interface: u16,
        /// The address of both.
        address: SocketAddr,
    },
    /// Two routers behind one interface.
    #[error(
        "{isd_as}#{interface} leads to {address} here and to {other} in {other_place}; remove one"
    )]
    NextHopConflict {
        /// The AS.
        isd_as: IsdAs,
        /// The interface.
        interface: u16,
        /// The router here.
        address: SocketAddr,
        /// The other router.
        other: SocketAddr,
        /// Where that one was named.
        other_place: Place,
    },
    /// A next hop of an AS that is not ours.
    #[error(
        "{isd_as} is not among the local ISD-AS numbers ({local}); add it to local_isd_as or \
         remove the next hop"
    )]
    NextHopOfForeignAs {
        /// The AS.
        isd_as: IsdAs,
        /// The local ones.
        local: String,
    },
    /// No local AS known.
    #[error("the local ISD-AS is not known; name it with --local-isd-as, a next hop or a topology")]
    NoLocalIsdAs,
    /// An address that the internal socket cannot send to.
    #[error(
        "{what} cannot be reached from the internal address {internal}: one is IPv4 and the other \
         IPv6"
    )]
    FamilyMismatch {
        /// A router or a prefix.
        what: String,
        /// The internal address.
        internal: SocketAddr,
    },
}

/// `a, b and c`.
fn enumeration(words: &[&str]) -> String {
    match words {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        words => words.join(", "),
    }
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => "`snapgate run --help` lists all".to_owned(),
    }
}

/// What is wrong in a file of identities.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum IdentityFault {
    /// Something that no identity has.
    #[error("unknown key {0:?}; an identity has public_key and, optionally, name and expires")]
    UnknownKey(String),
    /// Something else than identities.
    #[error("unknown key {0:?}; the file holds [[identity]] tables and nothing else")]
    UnknownTable(String),
    /// No table.
    #[error("an identity has to be a table; start it with a line [[identity]]")]
    NotATable,
    /// No key.
    #[error("this identity has no public_key; add public_key = \"...\" or remove the identity")]
    NoPublicKey,
    /// A bad key.
    #[error("public_key {0}; it has to be 32 bytes in base64, as `snapgate pubkey` prints them")]
    PublicKey(KeyError),
    /// The gateway's own key.
    #[error("public_key is the gateway's own; put the peer's there")]
    OwnKey,
    /// The same key twice.
    #[error("public_key is the same as on line {first_line}; remove one of the two")]
    Duplicate {
        /// The line of the first.
        first_line: usize,
    },
    /// No string.
    #[error("{0} has to be a string; put it in quotes")]
    NotAString(&'static str),
    /// No point in time.
    #[error("expires is not a date with time and offset; write it like 2027-01-01T00:00:00Z")]
    NotATimestamp,
}

/// What is wrong in a topology file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum TopologyFault {
    /// No JSON.
    #[error("this is not JSON: {0}")]
    NotJson(String),
    /// JSON, but not of a topology.
    #[error(
        "this is no topology of a SCION AS: {0}; it needs isd_as and border_routers, each with \
         internal_addr and interfaces"
    )]
    NotATopology(String),
    /// One interface at two routers.
    #[error(
        "border routers {first:?} and {second:?} both have interface {interface}; remove it from \
         one of them"
    )]
    InterfaceTwice {
        /// The interface.
        interface: u16,
        /// A router.
        first: String,
        /// Another router.
        second: String,
    },
    /// Interface 0, which means no interface.
    #[error("border router {0:?} has an interface 0; interfaces count from 1")]
    InterfaceZero(String),
    /// A router without a port.
    #[error("border router {0:?} has port 0 in its internal_addr; give it the port it listens on")]
    PortZero(String),
    /// A router without an address.
    #[error(
        "border router {router:?} has the internal_addr {address}, every address of a host; give \
         it the one that the gateway reaches"
    )]
    Unspecified {
        /// The router.
        router: String,
        /// Its address.
        address: SocketAddr,
    },
}
