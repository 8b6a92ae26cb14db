//! Standard error and standard output in files, which other processes write.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{GatewayProcess, children, identity, wait_until};

use crate::gateway;
use crate::log::beside_a_thread_that_panics;

/// Signals to all processes of a service or a terminal.
const SIGNALS_TO_ALL: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

fn output_processes(gateway: &GatewayProcess) -> Vec<Pid> {
    children(gateway.pid(), &["write-output", "text"])
}

fn appending(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.create(true).append(true).open(path).unwrap()
}

fn there_and_back(gateway: &GatewayProcess) {
    let mut client = gateway.connect(&identity());
    client.send(b"there and back");
    assert_eq!(client.receive(), b"there and back");
}

#[test]
fn a_file_of_both_streams_has_the_log_and_the_summary() {
    let setup = gateway();
    let path = setup.path("log");
    // As by `> log 2>&1`.
    let file = File::create(&path).unwrap();
    let mut command = setup.command();
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let gateway = setup.start_command(command);
    assert_eq!(output_processes(&gateway).len(), 1);
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
    let text = wait_until("the end of the output", || {
        let text = fs::read_to_string(&path).unwrap();
        let is_complete = ["stopping signal=SIGINT", "Nothing was dropped."]
            .iter()
            .all(|line| text.contains(line));
        is_complete.then_some(text)
    });
    assert!(text.starts_with("warning: "), "{text}");
    // Neither stream has overwritten the other, or left a hole.
    assert!(
        text.contains("started version=") && !text.contains('\0'),
        "{text}"
    );
}

#[test]
fn other_streams_need_no_process() {
    let setup = gateway();
    let (mut log, stderr) = std::io::pipe().unwrap();
    let mut command = setup.command();
    command.stdout(Stdio::null()).stderr(stderr);
    let gateway = setup.start_command(command);
    assert!(output_processes(&gateway).is_empty());
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    assert!(text.contains("stopping signal=SIGINT"), "{text}");
}

/// What logrotate does with `copytruncate`.
#[test]
fn a_truncated_log_continues_at_its_beginning_and_keeps_its_mode() {
    let setup = gateway();
    let path = setup.path("log");
    let file = appending(&path);
    file.set_permissions(Permissions::from_mode(0o640)).unwrap();
    let mut command = setup.command();
    command.stdout(Stdio::null()).stderr(file);
    let gateway = setup.start_command(command);
    wait_until("the end of the start", || {
        let text = fs::read_to_string(&path).unwrap();
        text.contains("serving metrics").then_some(())
    });
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    gateway.signal(Signal::SIGHUP);
    let text = wait_until("a line", || {
        let text = fs::read_to_string(&path).unwrap();
        text.contains("nothing to reload").then_some(text)
    });
    let (time, event) = text.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{text:?}");
    assert!(event.starts_with(" INFO nothing to reload"), "{text:?}");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
}

#[test]
fn a_gateway_whose_output_processes_are_killed_serves_and_counts_lost_lines() {
    let gateway = gateway().start();
    let processes = output_processes(&gateway);
    assert_eq!(processes.len(), 2);
    for process in &processes {
        for signal in SIGNALS_TO_ALL {
            kill(*process, signal).unwrap();
        }
    }
    assert_eq!(output_processes(&gateway), processes);
    for process in &processes {
        kill(*process, Signal::SIGKILL).unwrap();
    }
    wait_until("the gateway has waited for their ends", || {
        let mut processes = processes.iter();
        let is_gone = |process: &Pid| !fs::exists(format!("/proc/{process}")).unwrap();
        processes.all(is_gone).then_some(())
    });
    // A message about each end.
    gateway.wait_for_metrics("lost lines", |metrics| {
        metrics.sum("snapgate_log_lines_dropped_total") >= 2
    });
    there_and_back(&gateway);
    gateway.signal(Signal::SIGINT);
    let ended = gateway.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.output, "");
}

#[test]
fn the_end_of_the_process_for_the_summary_is_logged() {
    let mut gateway = gateway().start();
    let [log, summary] = output_processes(&gateway)[..] else {
        panic!("{:?}", output_processes(&gateway));
    };
    assert_ne!(log, summary);
    kill(summary, Signal::SIGKILL).unwrap();
    let message = "output is lost, because the process that writes it has ended";
    let fields = gateway.wait_for_log(message);
    assert!(fields.contains("\"standard output\""), "{fields}");
    gateway.signal(Signal::SIGINT);
    let ended = gateway.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended
            .log
            .contains("cannot print summary error=\"Broken pipe"),
        "{ended:?}"
    );
}

#[test]
fn log_lines_beyond_the_limit_of_file_sizes_are_dropped_and_counted() {
    // RLIMIT_FSIZE, as by LimitFSIZE= of a service: 512 bytes, or 1 KiB.
    let gateway = gateway().after_shell("ulimit -f 1").start();
    gateway.wait_for_metrics("a lost line", |metrics| {
        gateway.signal(Signal::SIGHUP);
        metrics.sum("snapgate_log_lines_dropped_total") > 0
    });
    there_and_back(&gateway);
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code, Some(0));
}

/// The process by itself: all that it reads is in the file, in order, when it has ended.
#[test]
fn an_output_process_writes_everything_before_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "first line\n").unwrap();
    let (mut reports, stdout) = std::io::pipe().unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_snapgate"))
        .args(["write-output", "text"])
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(appending(&path))
        .spawn()
        .unwrap();
    let mut report = [0; 8];
    reports.read_exact(&mut report).unwrap();
    assert_eq!(report, [0; 8]);
    let pid = Pid::from_raw(process.id().cast_signed());
    let mut text = "first line\n".to_owned();
    let mut input = process.stdin.take().unwrap();
    for number in 0..50_000 {
        let begin = text.len();
        writeln!(text, "line {number}").unwrap();
        input.write_all(&text.as_bytes()[begin..]).unwrap();
        if number % 10_000 == 0 {
            for signal in SIGNALS_TO_ALL {
                kill(pid, signal).unwrap();
            }
        }
    }
    text.push_str("no end of line");
    input.write_all(b"no end of line").unwrap();
    drop(input);
    assert!(process.wait().unwrap().success());
    assert!(fs::read_to_string(&path).unwrap() == text);
    // Nothing was lost.
    let mut rest = Vec::new();
    reports.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn a_program_that_may_start_no_processes_writes_to_the_file_itself() {
    let setup = gateway();
    let path = setup.path("log");
    let (mut command, trigger) = beside_a_thread_that_panics(&setup);
    command.stderr(appending(&path));
    let gateway = setup.start_command(command);
    drop(trigger);
    wait_until("the message of a panic", || {
        let text = fs::read_to_string(&path).unwrap();
        let warning =
            "cannot start a process that writes output error=\"this program is not snapgate\"";
        assert!(
            !text.contains("panicked") || text.contains(warning),
            "{text}"
        );
        text.contains("thread panicked thread=unlucky")
            .then_some(())
    });
    drop(gateway);
}
