//! Number of workers and their CPUs.

use std::num::NonZeroUsize;

use crate::config::fault::Fault;
use crate::config::{CpuPinning, WorkerCount, WorkerReason, values};
use crate::cpus::{self, AvailableCpus};

/// Value of the setting `workers`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RequestedWorkers {
    /// One for each available CPU, within the cgroup's quota.
    Auto,
    Count(NonZeroUsize),
}

/// Value of the setting `cpus`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RequestedCpus {
    /// One CPU of the affinity mask for each worker.
    Auto,
    /// One CPU of the list for each worker, in the order of the list.
    List(Vec<usize>),
    /// The scheduler places the workers.
    Unpinned,
}

impl RequestedWorkers {
    /// Parses `auto` or a number.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        if text.trim() == "auto" {
            return Ok(Self::Auto);
        }
        values::number(text, 1, udp_shards::MAX_WORKERS as u64)
            .ok()
            .and_then(|count| NonZeroUsize::new(usize::try_from(count).ok()?))
            .map(Self::Count)
            .ok_or_else(|| Fault::NotANumberOfWorkers {
                text: text.to_owned(),
                max: udp_shards::MAX_WORKERS,
            })
    }
}

impl RequestedCpus {
    /// Parses `auto`, `none` or a list such as `0-3,8`.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::Unpinned),
            list => Ok(Self::List(cpus::parse_list(list)?)),
        }
    }
}

/// Returns the number of workers and their CPUs for values of the settings `workers` and `cpus`.
///
/// # Errors
///
/// An error message with the remedy.
pub fn place_workers(
    workers: &str,
    cpus: &str,
    available: &AvailableCpus,
) -> Result<(WorkerCount, CpuPinning), String> {
    let workers = RequestedWorkers::parse(workers).map_err(|fault| fault.to_string())?;
    let cpus = RequestedCpus::parse(cpus).map_err(|fault| fault.to_string())?;
    choose(workers, &cpus, available).map_err(|fault| fault.to_string())
}

/// Chooses the number of workers and their CPUs.
pub(crate) fn choose(
    workers: RequestedWorkers,
    requested_cpus: &RequestedCpus,
    available: &AvailableCpus,
) -> Result<(WorkerCount, CpuPinning), Fault> {
    let allowed = &available.allowed;
    let candidates = match requested_cpus {
        RequestedCpus::List(list) => {
            if let Some(&cpu) = list.iter().find(|cpu| !allowed.contains(cpu)) {
                return Err(Fault::CpuNotAllowed {
                    cpu,
                    allowed: cpus::format_list(allowed),
                });
            }
            list
        }
        RequestedCpus::Auto | RequestedCpus::Unpinned => allowed,
    };
    let workers = match workers {
        RequestedWorkers::Auto => {
            auto_workers(candidates.len(), requested_cpus, available.quota_millicpus)
        }
        RequestedWorkers::Count(count) => WorkerCount {
            count,
            reason: WorkerReason::Configured,
        },
    };
    let count = workers.count.get();
    match requested_cpus {
        RequestedCpus::Unpinned => Ok((workers, CpuPinning::Unpinned)),
        RequestedCpus::Auto | RequestedCpus::List(_) if count > candidates.len() => {
            let cpus = match requested_cpus {
                RequestedCpus::List(_) => "the listed CPUs",
                _ => "the CPUs that this process may run on",
            };
            Err(Fault::TooManyWorkers {
                workers: count,
                cpus: format!("{cpus} ({})", cpus::format_list(candidates)),
                at_most: candidates.len(),
            })
        }
        RequestedCpus::Auto | RequestedCpus::List(_) => Ok((
            workers,
            CpuPinning::Pinned(candidates.iter().copied().take(count).collect()),
        )),
    }
}

/// Returns one worker for each CPU, limited to the whole CPUs of the quota: when the quota is used up, workers stop,
/// with all their tunnels, until the next period.
fn auto_workers(
    cpus: usize,
    requested_cpus: &RequestedCpus,
    quota_millicpus: Option<u64>,
) -> WorkerCount {
    let cpus = cpus.clamp(1, udp_shards::MAX_WORKERS);
    if let Some(millicpus) = quota_millicpus {
        let whole = usize::try_from(millicpus / 1000)
            .unwrap_or(usize::MAX)
            .max(1);
        if whole < cpus {
            let count = NonZeroUsize::new(whole).unwrap_or(NonZeroUsize::MIN);
            return WorkerCount {
                count,
                reason: WorkerReason::CgroupQuota { millicpus },
            };
        }
    }
    let reason = match requested_cpus {
        RequestedCpus::List(_) => WorkerReason::CpuList { cpus },
        RequestedCpus::Auto | RequestedCpus::Unpinned => WorkerReason::AffinityMask { cpus },
    };
    WorkerCount {
        count: NonZeroUsize::new(cpus).unwrap_or(NonZeroUsize::MIN),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn available(allowed: &[usize], quota_millicpus: Option<u64>) -> AvailableCpus {
        AvailableCpus {
            allowed: allowed.to_vec(),
            quota_millicpus,
        }
    }

    fn count(count: usize) -> RequestedWorkers {
        RequestedWorkers::Count(NonZeroUsize::new(count).unwrap())
    }

    /// Returns the choice as "workers: reason @ CPUs".
    fn decide(
        workers: RequestedWorkers,
        cpus: &str,
        available: &AvailableCpus,
    ) -> Result<String, String> {
        let cpus = RequestedCpus::parse(cpus).unwrap();
        let (workers, pinning) =
            choose(workers, &cpus, available).map_err(|fault| fault.to_string())?;
        let cpus = match pinning {
            CpuPinning::Pinned(cpus) => cpus::format_list(&cpus),
            CpuPinning::Unpinned => "anywhere".to_owned(),
        };
        Ok(format!("{}: {} @ {cpus}", workers.count, workers.reason))
    }

    #[test]
    fn auto_is_one_worker_for_each_cpu_of_the_affinity_mask() {
        let machine = available(&[2, 3, 7], None);
        assert_eq!(
            decide(RequestedWorkers::Auto, "auto", &machine).unwrap(),
            "3: CPUs in the affinity mask: 3 @ 2-3,7"
        );
        assert_eq!(
            decide(RequestedWorkers::Auto, "none", &machine).unwrap(),
            "3: CPUs in the affinity mask: 3 @ anywhere"
        );
    }

    #[test]
    fn auto_is_limited_by_the_cgroup_quota() {
        let machine = |quota| available(&[0, 1, 2, 3], Some(quota));
        assert_eq!(
            decide(RequestedWorkers::Auto, "auto", &machine(2500)).unwrap(),
            "2: CPUs in the cgroup quota: 2.5 @ 0-1"
        );
        assert_eq!(
            decide(RequestedWorkers::Auto, "auto", &machine(300)).unwrap(),
            "1: CPUs in the cgroup quota: 0.3 @ 0"
        );
        assert_eq!(
            decide(RequestedWorkers::Auto, "auto", &machine(4000)).unwrap(),
            "4: CPUs in the affinity mask: 4 @ 0-3"
        );
    }

    #[test]
    fn cpu_list_sets_the_order_and_the_number_of_workers() {
        let machine = available(&[0, 1, 2, 3], None);
        assert_eq!(
            decide(RequestedWorkers::Auto, "3,1", &machine).unwrap(),
            "2: CPUs listed: 2 @ 3,1"
        );
        assert_eq!(
            decide(count(1), "3,1", &machine).unwrap(),
            "1: as configured @ 3"
        );
    }

    #[test]
    fn more_workers_than_cpus_are_rejected_unless_unpinned() {
        let machine = available(&[0, 1], None);
        let error = decide(count(8), "auto", &machine).unwrap_err();
        assert_eq!(
            error,
            "8 workers exceed the CPUs that this process may run on (0-1); use at most 2 workers, \
             or --cpus none to let them share CPUs"
        );
        assert!(
            decide(count(2), "1", &machine)
                .unwrap_err()
                .contains("the listed CPUs (1)")
        );
        assert_eq!(
            decide(count(8), "none", &machine).unwrap(),
            "8: as configured @ anywhere"
        );
    }

    #[test]
    fn cpu_outside_of_the_affinity_mask_is_rejected() {
        let machine = available(&[0, 1, 4], None);
        assert_eq!(
            decide(RequestedWorkers::Auto, "0,5", &machine).unwrap_err(),
            "this process may not run on CPU 5; use only CPUs 0-1,4"
        );
    }

    #[test]
    fn number_of_workers_is_auto_or_from_1_to_1024() {
        assert_eq!(RequestedWorkers::parse("auto"), Ok(RequestedWorkers::Auto));
        assert_eq!(RequestedWorkers::parse("8"), Ok(count(8)));
        for text in ["0", "-1", "none", "1025", ""] {
            assert_eq!(
                RequestedWorkers::parse(text).unwrap_err().to_string(),
                format!("expected a whole number from 1 to 1024 or auto, got {text:?}")
            );
        }
    }
}
