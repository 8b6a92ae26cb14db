//! Remedies for errors of the start: the failed step decides, and the error of the kernel only where a step can fail for
//! several reasons.

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use udp_shards::{BindError, BindStep};

const OPEN_FILES: &str =
    "raise the limit of open files (LimitNOFILE= of the service, ulimit -n), or use fewer workers";
const ALL_OPEN_FILES: &str =
    "raise the host's limit of open files (sysctl fs.file-max), or use fewer workers";
const MEMORY: &str = "free memory, raise MemoryMax= of the service, or use fewer workers";
const THREADS: &str =
    "raise the limit of threads (TasksMax= of the service, ulimit -u), or use fewer workers";
const OPTION_MEMORY: &str =
    "raise net.core.optmem_max to at least 20480, the default of older kernels";
const KERNEL: &str = "snapgate needs Linux 5.0 or later; if the kernel is, check that no sandbox (SystemCallFilter= of the \
                      service) forbids the call";

/// Returns the remedy for sockets that cannot be bound.
pub(super) fn bind_remedy(error: &BindError) -> &'static str {
    match error {
        BindError::AddressInUse { .. } => {
            "stop the process that uses it (ss -lunp shows it), or choose another port"
        }
        BindError::TooManyWorkers { .. } => "use fewer workers",
        BindError::Interface { source, .. } => match errno(source) {
            Some(Errno::NODEV) => {
                "use the name of an interface of this host (ip link lists them), and start the service \
                 after it exists"
            }
            _ => "before Linux 5.7 this needs CAP_NET_RAW (AmbientCapabilities= of the service)",
        },
        BindError::Refused {
            step,
            address,
            source,
        } => step_remedy(*step, *address, source),
        _ => KERNEL,
    }
}

fn step_remedy(step: BindStep, address: SocketAddr, source: &io::Error) -> &'static str {
    let errno = errno(source);
    match step {
        BindStep::CreateSocket => match errno {
            Some(Errno::AFNOSUPPORT) => {
                "the kernel has no sockets of this IP version, or RestrictAddressFamilies= of the \
                 service forbids them; allow them, or use addresses of the other version"
            }
            Some(errno) => descriptor_remedy(errno).unwrap_or(KERNEL),
            None => KERNEL,
        },
        BindStep::EnableGro => "use --no-gro, or a kernel with UDP_GRO (Linux 5.0 or later)",
        BindStep::SetReceiveBuffer => "use another --receive-buffer",
        BindStep::SetSendBuffer => "use another --send-buffer",
        BindStep::AttachFilter if errno == Some(Errno::NOMEM) => OPTION_MEMORY,
        BindStep::AttachProgram if errno == Some(Errno::NOMEM) => {
            "raise net.core.optmem_max to at least 20480, the default of older kernels, or use \
             --dispatch user"
        }
        BindStep::AttachProgram => {
            "use --dispatch user, or allow the program (SO_ATTACH_REUSEPORT_CBPF)"
        }
        BindStep::Bind => address_remedy(address, errno),
        BindStep::SetNonBlocking
        | BindStep::RestrictToIpv6
        | BindStep::SetPathMtuDiscovery
        | BindStep::RequestLocalAddresses
        | BindStep::SetReusePort
        | BindStep::ReadAddress
        | BindStep::ReadBuffers
        | BindStep::AttachFilter
        | BindStep::DetachFilter => KERNEL,
    }
}

/// Returns the remedy for an address that the kernel refuses.
fn address_remedy(address: SocketAddr, errno: Option<Errno>) -> &'static str {
    match errno {
        Some(Errno::ADDRNOTAVAIL) => {
            "use an address that an interface of this host has (ip address shows them)"
        }
        Some(Errno::ADDRINUSE) => {
            "stop the process that uses it (ss -lnp shows it), or choose another port"
        }
        Some(Errno::ACCESS | Errno::PERM) if (1..1024).contains(&address.port()) => {
            "choose a port above 1023, or give the process CAP_NET_BIND_SERVICE (AmbientCapabilities= \
             of the service)"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            "a security module (SELinux, AppArmor) or SocketBindDeny= of the service forbids it: allow \
             the address there"
        }
        Some(Errno::NODEV | Errno::INVAL) => {
            "a link-local address needs the index of its interface, as in [fe80::1%2]:30100 (ip link \
             shows it)"
        }
        Some(errno) => descriptor_remedy(errno).unwrap_or(KERNEL),
        None => KERNEL,
    }
}

/// Returns the remedy for a limit of descriptors, threads or memory.
fn descriptor_remedy(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::MFILE => Some(OPEN_FILES),
        Errno::NFILE => Some(ALL_OPEN_FILES),
        Errno::NOMEM | Errno::NOBUFS => Some(MEMORY),
        _ => None,
    }
}

/// Returns the remedy for an address on which metrics cannot be served.
pub(super) fn metrics_remedy(address: &SocketAddr, source: &io::Error) -> &'static str {
    match errno(source) {
        Some(Errno::AFNOSUPPORT) => {
            "use an IPv4 address, or allow IPv6 (RestrictAddressFamilies= of the service)"
        }
        // A thread that cannot be started.
        Some(Errno::AGAIN) => THREADS,
        errno => address_remedy(*address, errno),
    }
}

/// Returns the remedy for a thread or a poll that cannot be created.
pub(super) fn thread_remedy(source: &io::Error) -> &'static str {
    match errno(source) {
        Some(Errno::AGAIN) => THREADS,
        Some(errno) => descriptor_remedy(errno).unwrap_or(KERNEL),
        None => KERNEL,
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTEN: &str = "192.0.2.1:51820";

    fn refused(step: BindStep, address: &str, errno: Errno) -> &'static str {
        bind_remedy(&BindError::Refused {
            step,
            address: address.parse().unwrap(),
            source: errno.into(),
        })
    }

    #[test]
    fn the_failed_step_decides_the_remedy() {
        use BindStep::{AttachFilter, AttachProgram, Bind, CreateSocket, EnableGro};

        for (step, address, errno, remedy) in [
            (AttachProgram, LISTEN, Errno::PERM, "--dispatch user"),
            (AttachProgram, LISTEN, Errno::ACCESS, "--dispatch user"),
            (AttachProgram, LISTEN, Errno::NOMEM, "net.core.optmem_max"),
            (AttachProgram, LISTEN, Errno::NOMEM, "--dispatch user"),
            (AttachFilter, LISTEN, Errno::NOMEM, "net.core.optmem_max"),
            (EnableGro, LISTEN, Errno::NOPROTOOPT, "--no-gro"),
            (EnableGro, LISTEN, Errno::PERM, "--no-gro"),
            (Bind, LISTEN, Errno::ADDRNOTAVAIL, "ip address"),
            (Bind, "192.0.2.1:53", Errno::ACCESS, "above 1023"),
            (Bind, LISTEN, Errno::ACCESS, "security module"),
            (Bind, LISTEN, Errno::PERM, "security module"),
            (Bind, "[fe80::1]:7", Errno::INVAL, "%2"),
            (Bind, "[fe80::1%99]:7", Errno::NODEV, "%2"),
            (CreateSocket, LISTEN, Errno::MFILE, "LimitNOFILE="),
            (CreateSocket, LISTEN, Errno::NFILE, "fs.file-max"),
            (CreateSocket, LISTEN, Errno::NOBUFS, "memory"),
            (
                CreateSocket,
                "[::]:7",
                Errno::AFNOSUPPORT,
                "RestrictAddressFamilies=",
            ),
            (CreateSocket, LISTEN, Errno::ACCESS, "sandbox"),
        ] {
            let found = refused(step, address, errno);
            assert!(found.contains(remedy), "{step}, {errno}: {found}");
        }
    }

    #[test]
    fn only_a_full_table_of_files_suggests_to_raise_its_limit() {
        for step in BindStep::ALL {
            for errno in [
                Errno::PERM,
                Errno::INVAL,
                Errno::NOPROTOOPT,
                Errno::NOMEM,
                Errno::IO,
            ] {
                let remedy = refused(step, LISTEN, errno);
                assert!(!remedy.contains("LimitNOFILE"), "{step}, {errno}: {remedy}");
                assert!(!remedy.is_empty());
            }
        }
        assert!(thread_remedy(&Errno::MFILE.into()).contains("LimitNOFILE="));
        assert!(thread_remedy(&Errno::AGAIN.into()).contains("TasksMax="));
        assert!(!thread_remedy(&Errno::AGAIN.into()).contains("LimitNOFILE="));
    }

    #[test]
    fn every_other_error_has_its_remedy() {
        let address: SocketAddr = LISTEN.parse().unwrap();
        let interface = |errno: Errno| BindError::Interface {
            interface: "vrf-red".parse().unwrap(),
            address,
            source: errno.into(),
        };
        for (error, remedy) in [
            (BindError::AddressInUse { address }, "ss -lunp"),
            (BindError::TooManyWorkers { workers: 2000 }, "fewer workers"),
            (interface(Errno::NODEV), "ip link"),
            (interface(Errno::PERM), "CAP_NET_RAW"),
        ] {
            assert!(bind_remedy(&error).contains(remedy), "{error}");
        }
        for (errno, remedy) in [
            (Errno::ADDRINUSE, "ss -lnp"),
            (Errno::ADDRNOTAVAIL, "ip address"),
            (Errno::MFILE, "LimitNOFILE="),
            (Errno::AGAIN, "TasksMax="),
            (Errno::AFNOSUPPORT, "RestrictAddressFamilies="),
        ] {
            assert!(
                metrics_remedy(&address, &errno.into()).contains(remedy),
                "{errno}"
            );
        }
        let privileged: SocketAddr = "192.0.2.1:80".parse().unwrap();
        assert!(metrics_remedy(&privileged, &Errno::ACCESS.into()).contains("above 1023"));
    }
}
