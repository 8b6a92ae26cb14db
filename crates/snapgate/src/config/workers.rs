//! How many workers there are, and where they run.

use std::num::NonZeroUsize;

use crate::config::fault::Fault;
use crate::config::{CpuPinning, WorkerCount, WorkerReason, values};
use crate::cpus::{self, AvailableCpus};

/// How many workers were asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WorkersAsked {
    /// As many as the machine has room for.
    Auto,
    /// This many.
    Count(NonZeroUsize),
}

/// Where the workers were asked to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum CpusAsked {
    /// Each on its own CPU of the affinity mask.
    Auto,
    /// Each on its own CPU of this list, in its order.
    List(Vec<usize>),
    /// Wherever the scheduler puts them.
    Unpinned,
}

impl WorkersAsked {
    /// Reads `auto` or a number.
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

impl CpusAsked {
    /// Reads `auto`, `none` or a list such as `0-3,8`.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::Unpinned),
            list => Ok(Self::List(cpus::parse_list(list)?)),
        }
    }
}

/// Number of workers and their CPUs, from the texts of the settings `workers` and `cpus`.
///
/// # Errors
///
/// A sentence: what is wrong, and what to do about it.
pub fn place_workers(
    workers: &str,
    cpus: &str,
    available: &AvailableCpus,
) -> Result<(WorkerCount, CpuPinning), String> {
    let workers = WorkersAsked::parse(workers).map_err(|fault| fault.to_string())?;
    let cpus = CpusAsked::parse(cpus).map_err(|fault| fault.to_string())?;
    choose(workers, &cpus, available).map_err(|fault| fault.to_string())
}

/// Decides how many workers there are and where each runs.
pub(crate) fn choose(
    workers: WorkersAsked,
    cpus_asked: &CpusAsked,
    available: &AvailableCpus,
) -> Result<(WorkerCount, CpuPinning), Fault> {
    let allowed = &available.allowed;
    let candidates = match cpus_asked {
        CpusAsked::List(list) => {
            if let Some(&cpu) = list.iter().find(|cpu| !allowed.contains(cpu)) {
                return Err(Fault::CpuNotAllowed {
                    cpu,
                    allowed: cpus::format_list(allowed),
                });
            }
            list
        }
        CpusAsked::Auto | CpusAsked::Unpinned => allowed,
    };
    let workers = match workers {
        WorkersAsked::Auto => {
            as_many_as_fit(candidates.len(), cpus_asked, available.quota_millicpus)
        }
        WorkersAsked::Count(count) => WorkerCount {
            count,
            reason: WorkerReason::Configured,
        },
    };
    let count = workers.count.get();
    match cpus_asked {
        CpusAsked::Unpinned => Ok((workers, CpuPinning::Unpinned)),
        CpusAsked::Auto | CpusAsked::List(_) if count > candidates.len() => {
            let whose = match cpus_asked {
                CpusAsked::List(_) => "listed",
                _ => "that this process may run on",
            };
            Err(Fault::TooManyWorkers {
                workers: count,
                cpus: format!("the CPUs {whose} ({})", cpus::format_list(candidates)),
                at_most: candidates.len(),
            })
        }
        CpusAsked::Auto | CpusAsked::List(_) => Ok((
            workers,
            CpuPinning::Pinned(candidates.iter().copied().take(count).collect()),
        )),
    }
}

/// One worker for each CPU, but no more than the quota keeps busy: a worker that runs out of quota
/// stands still, with all its tunnels, until the next period. So a fraction of a CPU makes no
/// worker.
fn as_many_as_fit(
    cpus: usize,
    cpus_asked: &CpusAsked,
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
    let reason = match cpus_asked {
        CpusAsked::List(_) => WorkerReason::CpuList { cpus },
        CpusAsked::Auto | CpusAsked::Unpinned => WorkerReason::AffinityMask { cpus },
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

    fn count(count: usize) -> WorkersAsked {
        WorkersAsked::Count(NonZeroUsize::new(count).unwrap())
    }

    /// The decision in short: "workers: reason @ CPUs".
    fn decide(
        workers: WorkersAsked,
        cpus: &str,
        available: &AvailableCpus,
    ) -> Result<String, String> {
        let cpus = CpusAsked::parse(cpus).unwrap();
        let (workers, pinning) =
            choose(workers, &cpus, available).map_err(|fault| fault.to_string())?;
        let cpus = match pinning {
            CpuPinning::Pinned(cpus) => cpus::format_list(&cpus),
            CpuPinning::Unpinned => "anywhere".to_owned(),
        };
        Ok(format!("{}: {} @ {cpus}", workers.count, workers.reason))
    }

    #[test]
    fn auto_makes_one_worker_for_each_cpu_of_the_affinity_mask() {
        let machine = available(&[2, 3, 7], None);
        assert_eq!(
            decide(WorkersAsked::Auto, "auto", &machine).unwrap(),
            "3: CPUs in the affinity mask: 3 @ 2-3,7"
        );
        assert_eq!(
            decide(WorkersAsked::Auto, "none", &machine).unwrap(),
            "3: CPUs in the affinity mask: 3 @ anywhere"
        );
    }

    #[test]
    fn auto_keeps_to_a_smaller_cgroup_quota() {
        let machine = |quota| available(&[0, 1, 2, 3], Some(quota));
        assert_eq!(
            decide(WorkersAsked::Auto, "auto", &machine(2500)).unwrap(),
            "2: CPUs in the cgroup quota: 2.5 @ 0-1"
        );
        assert_eq!(
            decide(WorkersAsked::Auto, "auto", &machine(300)).unwrap(),
            "1: CPUs in the cgroup quota: 0.3 @ 0"
        );
        assert_eq!(
            decide(WorkersAsked::Auto, "auto", &machine(4000)).unwrap(),
            "4: CPUs in the affinity mask: 4 @ 0-3"
        );
    }

    #[test]
    fn a_list_of_cpus_sets_their_order_and_the_number_of_workers() {
        let machine = available(&[0, 1, 2, 3], None);
        assert_eq!(
            decide(WorkersAsked::Auto, "3,1", &machine).unwrap(),
            "2: CPUs listed: 2 @ 3,1"
        );
        assert_eq!(
            decide(count(1), "3,1", &machine).unwrap(),
            "1: as configured @ 3"
        );
    }

    #[test]
    fn more_workers_than_cpus_need_the_scheduler() {
        let machine = available(&[0, 1], None);
        let refused = decide(count(8), "auto", &machine).unwrap_err();
        assert_eq!(
            refused,
            "8 workers are too many for the CPUs that this process may run on (0-1): each has a \
             CPU of its own; ask for at most 2, or let them share with --cpus none"
        );
        assert!(
            decide(count(2), "1", &machine)
                .unwrap_err()
                .contains("the CPUs listed (1)")
        );
        assert_eq!(
            decide(count(8), "none", &machine).unwrap(),
            "8: as configured @ anywhere"
        );
    }

    #[test]
    fn a_cpu_outside_of_the_affinity_mask_is_refused() {
        let refused = decide(WorkersAsked::Auto, "0,5", &available(&[0, 1, 4], None)).unwrap_err();
        assert_eq!(
            refused,
            "CPU 5 is not among those that this process may run on (0-1,4); leave it out"
        );
    }

    #[test]
    fn a_number_of_workers_is_auto_or_at_least_one() {
        assert_eq!(WorkersAsked::parse("auto"), Ok(WorkersAsked::Auto));
        assert_eq!(WorkersAsked::parse("8"), Ok(count(8)));
        for text in ["0", "-1", "none", "1025", ""] {
            assert_eq!(
                WorkersAsked::parse(text).unwrap_err().to_string(),
                format!("{text:?} is neither a whole number from 1 to 1024 nor auto")
            );
        }
    }
}
