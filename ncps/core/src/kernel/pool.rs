//! Threads of the kernels: the caller's own and a pool that lives as long as its size stays the same.

use std::sync::{Arc, Mutex, PoisonError};

static POOL: Mutex<Option<Workers>> = Mutex::new(None);

#[derive(Clone, Debug)]
struct Workers {
    threads: usize,
    /// None where one thread is enough or the system gives no more.
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Workers {
    fn new(threads: usize) -> Self {
        // The calling thread works too.
        let pool = (threads > 1).then(|| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads - 1)
                .build()
        });
        Self {
            threads,
            pool: pool.and_then(Result::ok).map(Arc::new),
        }
    }
}

/// Sets how many threads the kernels use, the caller's included; 0 stands for all that the machine offers.
///
/// Results do not depend on it.
pub fn set_threads(threads: usize) {
    let threads = if threads == 0 { available() } else { threads };
    let mut workers = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if workers
        .as_ref()
        .is_none_or(|workers| workers.threads != threads)
    {
        *workers = Some(Workers::new(threads));
    }
}

/// How many threads the kernels use.
pub fn threads() -> usize {
    workers().threads
}

fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn workers() -> Workers {
    let mut workers = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    workers
        .get_or_insert_with(|| Workers::new(available()))
        .clone()
}

/// Runs `work` on every job, on as many threads as there are jobs and workers for.
pub(crate) fn for_each<J: Send>(jobs: Vec<J>, work: impl Fn(J) + Sync) {
    let helpers = jobs.len().saturating_sub(1);
    let pool = if helpers == 0 { None } else { workers().pool };
    let Some(pool) = pool else {
        return jobs.into_iter().for_each(work);
    };
    let queue = Mutex::new(jobs.into_iter());
    let drain = || {
        loop {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            match job {
                Some(job) => work(job),
                None => break,
            }
        }
    };
    pool.in_place_scope(|scope| {
        for _ in 0..helpers.min(pool.current_num_threads()) {
            scope.spawn(|_| drain());
        }
        drain();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn two_jobs_run_at_the_same_time() {
        set_threads(2);
        // Each job waits for the other: one after the other they would never end.
        let meeting = std::sync::Barrier::new(2);
        for_each(vec![1, 2], |_| {
            meeting.wait();
        });
        set_threads(0);
    }

    #[test]
    fn every_job_runs_once_on_any_number_of_threads() {
        for threads in [1, 3, 2] {
            set_threads(threads);
            let sum = AtomicUsize::new(0);
            for_each((1..=100).collect(), |job: usize| {
                sum.fetch_add(job, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 5050);
        }
        set_threads(0);
    }
}
