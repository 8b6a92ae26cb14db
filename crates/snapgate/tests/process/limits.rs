//! Starts that fail for a limit or a missing feature of the host.

use std::fs::File;
use std::process::{Command, Stdio};

use testkit::{Ended, GatewaySetup, Namespace, in_namespace, may_make_namespaces, wait_until};

/// Executes the last arguments with a system call forbidden (seccomp(2)), as a sandbox of systemd or containers does. The
/// first arguments are the name of the call, the index and value of one of its arguments, and the error.
const SANDBOX: &str = r#"
import ctypes, os, platform, struct, sys
name, index, value, error = sys.argv[1], *map(int, sys.argv[2:5])
machine = platform.machine()
number = {"socket": {"x86_64": 41, "aarch64": 198}, "setsockopt": {"x86_64": 54, "aarch64": 208}}[name][machine]
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
code = [
    (LOAD, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 3, number),
    (LOAD, 0, 0, 16 + 8 * index),
    (JUMP_IF_EQUAL, 0, 1, value),
    (RETURN, 0, 0, 0x00050000 | error),
    (RETURN, 0, 0, 0x7FFF0000),
]
instructions = b"".join(struct.pack("HBBI", *instruction) for instruction in code)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
program = Program(len(code), instructions)
for arguments in [(38, 1, 0, 0, 0), (22, 2, ctypes.byref(program), 0, 0)]:
    if libc.prctl(*arguments) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[5], sys.argv[5:])
"#;

/// Arguments of [`SANDBOX`]: socket(2) with AF_INET6 fails with EAFNOSUPPORT (RestrictAddressFamilies= of systemd).
const WITHOUT_IPV6: &str = "socket 0 10 97";

/// setsockopt(2) with SO_ATTACH_REUSEPORT_CBPF fails with EPERM.
const WITHOUT_PROGRAM: &str = "setsockopt 2 51 1";

/// setsockopt(2) with UDP_GRO fails with ENOPROTOOPT, as before Linux 5.0.
const WITHOUT_GRO: &str = "setsockopt 2 104 92";

/// Returns a command that starts the gateway in a [`SANDBOX`], at `listen` or the default addresses. Its log is in the
/// file `log` in the directory of the setup.
fn sandboxed(setup: &GatewaySetup, sandbox: &str, listen: Option<&str>) -> Command {
    let original = setup.command();
    let arguments = original
        .get_args()
        .filter(|argument| !argument.to_string_lossy().starts_with("--listen="));
    let mut command = Command::new("python3");
    command
        .args(["-c", SANDBOX])
        .args(sandbox.split(' '))
        .arg(original.get_program())
        .args(arguments)
        .args(listen.map(|listen| format!("--listen={listen}")))
        .current_dir(setup.path(""))
        .stdin(Stdio::null())
        .stderr(File::create(setup.path("log")).unwrap());
    command
}

fn log(setup: &GatewaySetup) -> String {
    std::fs::read_to_string(setup.path("log")).unwrap()
}

#[test]
fn without_ipv6_the_default_is_to_listen_on_ipv4() {
    in_namespace(
        "limits::without_ipv6_the_default_is_to_listen_on_ipv4",
        || {
            let setup = crate::gateway();
            let gateway = setup.start_command(sandboxed(&setup, WITHOUT_IPV6, None));
            // The gateway is ready before it logs its addresses.
            let log = wait_until("the listen address in the log", || {
                Some(log(&setup)).filter(|log| log.contains("address=0.0.0.0:51820"))
            });
            let reason = "not listening on [::]:51820: Address family not supported";
            assert!(log.contains(reason), "{log}");
            assert!(!log.contains("address=[::]:51820"), "{log}");
            drop(gateway);
        },
    );
}

#[test]
fn what_a_sandbox_forbids_is_named_with_the_remedy() {
    in_namespace(
        "limits::what_a_sandbox_forbids_is_named_with_the_remedy",
        || {
            for (sandbox, listen, step, remedy) in [
                (
                    WITHOUT_IPV6,
                    "[::]:51820",
                    "create a socket",
                    "RestrictAddressFamilies=",
                ),
                (
                    WITHOUT_PROGRAM,
                    "127.0.0.1:51820",
                    "attach the dispatch program",
                    "--dispatch user",
                ),
                (WITHOUT_GRO, "127.0.0.1:51820", "enable UDP_GRO", "--no-gro"),
            ] {
                let setup = crate::gateway();
                let status = sandboxed(&setup, sandbox, Some(listen)).status().unwrap();
                let log = log(&setup);
                assert_eq!(status.code(), Some(1), "{log}");
                let error = log.lines().last().unwrap();
                let start = format!("error: cannot listen: cannot {step} for {listen}: ");
                assert!(error.starts_with(&start) && error.contains(remedy), "{log}");
            }
        },
    );
}

#[test]
fn too_many_open_files_are_named_with_the_limit() {
    let setup = crate::gateway().workers(16);
    let original = setup.command();
    let output = Command::new("sh")
        .args(["-c", r#"ulimit -n 24; exec "$0" "$@""#])
        .arg(original.get_program())
        .args(original.get_args())
        .current_dir(setup.path(""))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    let error = log.lines().last().unwrap();
    assert!(
        error.starts_with("error: cannot listen: cannot create a socket")
            && error.contains("LimitNOFILE="),
        "{log}"
    );
}

#[test]
fn too_little_memory_for_socket_options_names_the_sysctl() {
    if !may_make_namespaces("limits::too_little_memory_for_socket_options_names_the_sysctl") {
        return;
    }
    let namespace = Namespace::new();
    let setting = "/proc/sys/net/core/optmem_max";
    if !namespace.run(|| std::fs::exists(setting).unwrap()) {
        // Before Linux 6.8, network namespaces use the limit of the host.
        return;
    }
    // Enough for the small filters, and too little for the dispatch program.
    namespace.sysctl("core/optmem_max", "1000");
    let Ended { code, log, .. } = crate::gateway().namespace(&namespace).spawn().wait();
    assert_eq!(code, Some(1), "{log}");
    let error = log.lines().last().unwrap();
    assert!(
        error.starts_with("error: cannot listen: cannot attach the dispatch program")
            && error.contains("net.core.optmem_max")
            && error.contains("--dispatch user"),
        "{log}"
    );
}
