//! Workers that are moved away from their CPUs.

use std::fs;

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use testkit::{GatewayProcess, wait_until};

/// Returns the ID of the thread of worker 0.
fn worker_thread(gateway: &GatewayProcess) -> Pid {
    let tasks = fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let worker = tasks
        .map(|task| task.unwrap().path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "worker-0\n"))
        .unwrap();
    let id = worker.file_name().unwrap().to_str().unwrap();
    Pid::from_raw(id.parse().unwrap()).unwrap()
}

#[test]
fn a_worker_that_was_moved_is_pinned_again() {
    let mut gateway = crate::gateway().cpus("auto").start();
    let thread = worker_thread(&gateway);
    let pinned = || gateway.metrics().get("snapgate_pinned_cpu{worker=\"0\"}");
    let cpu = pinned();
    assert!(cpu >= 0.0, "{cpu}");

    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    sched_setaffinity(Some(thread), &all).unwrap();
    if sched_getaffinity(Some(thread)).unwrap().count() == 1 {
        // Only one CPU.
        return;
    }
    gateway.wait_for_log("workers pinned again workers=0");
    let is_pinned = || {
        let cpus = sched_getaffinity(Some(thread)).unwrap();
        (cpus.count() == 1 && cpus.is_set(cpu as usize)).then_some(())
    };
    wait_until("the worker on its CPU", is_pinned);
    let pinned = gateway.metrics().get("snapgate_pinned_cpu{worker=\"0\"}");
    assert_eq!(pinned, cpu);
}

#[test]
fn workers_without_cpus_are_shown_as_not_pinned() {
    let gateway = crate::gateway().start();
    let pinned = gateway.metrics().get("snapgate_pinned_cpu{worker=\"0\"}");
    assert_eq!(pinned, -1.0);
}
