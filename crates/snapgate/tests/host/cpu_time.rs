//! A process that gets no CPU time for a while, or little.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::{Client, GatewayProcess, Metrics, identity, wait_until};
use udp_shards::Dispatch;

/// Number of clients and of packets of each: together they fit into the receive buffers.
const CLIENTS: usize = 10;
const PACKETS: u8 = 5;

/// Time for which the process is stopped. The tests do not depend on it.
const STOPPED: Duration = Duration::from_secs(3);

/// Rounds of a test with little CPU time.
const ROUNDS: u8 = 20;

/// Stops the process as SIGSTOP does, a hypervisor or the freezer of a container.
fn stop(gateway: &GatewayProcess) {
    gateway.signal(Signal::SIGSTOP);
    let stat = format!("/proc/{}/stat", gateway.pid());
    wait_until("a stopped process", || {
        let text = fs::read_to_string(&stat).unwrap();
        let (_, state) = text.rsplit_once(") ").unwrap();
        state.starts_with('T').then_some(())
    });
}

#[test]
fn a_process_that_is_stopped_for_seconds_serves_everyone_afterwards() {
    let gateway = crate::gateway().workers(2).start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| gateway.connect(&identity())).collect();
    stop(&gateway);
    for client in &mut clients {
        (0..PACKETS).for_each(|number| client.send(&[number; 100]));
    }
    let bind = "127.0.0.1:0".parse().unwrap();
    let (listen, key) = (gateway.listen_address(), gateway.public_key());
    let mut newcomer = Client::new(&identity(), bind, listen, key);
    newcomer.initiate();
    thread::sleep(STOPPED);
    gateway.signal(Signal::SIGCONT);
    for client in &mut clients {
        for number in 0..PACKETS {
            assert_eq!(client.receive(), [number; 100]);
        }
    }
    let response = newcomer.receive_datagram().unwrap();
    newcomer.handle(&response);
    newcomer.send(b"new here");
    assert_eq!(newcomer.receive(), b"new here");
    wait_until("all workers are alive", || {
        (gateway.get("/livez").0 == 200).then_some(())
    });
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("snapgate_dropped_packets_total"), 0);
    assert_eq!(metrics.sum("snapgate_kernel_dropped_packets_total"), 0);
    metrics.assert_balanced();
}

#[test]
fn datagrams_beyond_the_receive_buffer_are_counted_as_kernel_drops() {
    for dispatch in [Dispatch::Kernel, Dispatch::User] {
        let gateway = crate::gateway().dispatch(dispatch).start();
        let mut client = gateway.connect(&identity());
        client.send(b"before");
        assert_eq!(client.receive(), b"before");
        let received = |metrics: &Metrics| {
            metrics.sum_where(
                "snapgate_received_packets_total",
                &[("direction", "incoming")],
            )
        };
        let dropped = |metrics: &Metrics| {
            metrics.sum_where(
                "snapgate_kernel_dropped_packets_total",
                &[("socket", "data")],
            )
        };
        // Counters are published at the end of a turn.
        let before = gateway.wait_for_metrics("the first packet", |metrics| {
            metrics.sum("snapgate_sent_packets_total") == 1
        });
        let before = received(&before);
        stop(&gateway);
        let packets = 1_000;
        for _ in 0..packets {
            client.send(&[7; 100]);
        }
        gateway.signal(Signal::SIGCONT);
        let metrics = gateway.wait_for_metrics("every datagram", |metrics| {
            received(metrics) - before + dropped(metrics) == packets
        });
        assert!(dropped(&metrics) > 0, "{metrics}");
        metrics.assert_balanced();
        client.discard_received();
        client.send(b"after");
        wait_until("the last packet", || {
            (client.receive() == b"after").then_some(())
        });
    }
}

/// A control group with a limit of CPU time, as containers and services have (`cpu.max`, `CPUQuota=`). Drop removes it,
/// after the processes in it have ended.
struct Quota {
    group: PathBuf,
    /// The file with the limit, of version 2 or 1.
    file: PathBuf,
}

impl Quota {
    /// Creates a group without a limit. Returns `None` if control groups cannot be changed here.
    fn new() -> Option<Self> {
        let name = format!("snapgate-test-{}", std::process::id());
        let kinds = [
            ("/sys/fs/cgroup", "cpu.max"),
            ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us"),
        ];
        kinds.iter().find_map(|(root, file)| {
            let group = Path::new(root).join(&name);
            let file = group.join(file);
            fs::create_dir(&group).ok()?;
            let quota = Self { group, file };
            quota.file.exists().then_some(quota)
        })
    }

    fn admit(&self, gateway: &GatewayProcess) {
        fs::write(self.group.join("cgroup.procs"), gateway.pid().to_string()).unwrap();
    }

    /// Limits the CPU time to `milliseconds` in 100.
    fn set(&self, milliseconds: u32) {
        let quota = 1_000 * milliseconds;
        let limit = if self.file.ends_with("cpu.max") {
            format!("{quota} 100000")
        } else {
            quota.to_string()
        };
        fs::write(&self.file, limit).unwrap();
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.group);
    }
}

#[test]
fn a_limit_of_cpu_time_that_is_lowered_while_running_only_delays() {
    let test = "a_limit_of_cpu_time_that_is_lowered_while_running_only_delays";
    let Some(quota) = Quota::new() else {
        // Not `skip`: root in a container may not change control groups.
        let _ = writeln!(std::io::stderr(), "skipped {test}: it needs control groups");
        return;
    };
    let gateway = crate::gateway().workers(2).start();
    quota.admit(&gateway);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| gateway.connect(&identity())).collect();
    for milliseconds in [50, 5, 100] {
        quota.set(milliseconds);
        for round in 0..ROUNDS {
            for client in &mut clients {
                client.send(&[round; 100]);
            }
            for client in &mut clients {
                assert_eq!(client.receive(), [round; 100]);
            }
        }
    }
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("snapgate_dropped_packets_total"), 0);
    assert_eq!(metrics.sum("snapgate_kernel_dropped_packets_total"), 0);
    gateway.kill();
}

/// A process that uses a whole CPU. Drop ends it.
struct Busy(Child);

impl Busy {
    fn on(cpu: &str) -> Self {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", cpu, "sh", "-c", "while :; do :; done"]);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the first CPU that this process may use.
fn first_cpu() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    let first = list.trim().split([',', '-']).next().unwrap();
    first.to_owned()
}

#[test]
fn a_gateway_of_the_lowest_priority_beside_busy_processes_serves_everyone() {
    let cpu = first_cpu();
    let gateway = crate::gateway()
        .launcher(&["taskset", "--cpu-list", &cpu, "nice", "-n", "19"])
        .start();
    let _busy = [Busy::on(&cpu), Busy::on(&cpu)];
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| gateway.connect(&identity())).collect();
    for round in 0..ROUNDS {
        for client in &mut clients {
            client.send(&[round; 100]);
        }
        for client in &mut clients {
            assert_eq!(client.receive(), [round; 100]);
        }
    }
    assert_eq!(gateway.get("/livez").1, "ok\n");
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("snapgate_dropped_packets_total"), 0);
    assert_eq!(metrics.sum("snapgate_kernel_dropped_packets_total"), 0);
}
