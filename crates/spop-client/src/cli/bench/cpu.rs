//! How much CPU time processes use, user and system. Linux only.
//!
//! The agent's comes from `/proc/PID/task/*/schedstat`, which is exact to the nanosecond where
//! `/proc/PID/stat` counts ticks of 10 ms.

use std::collections::HashMap;
use std::time::Duration;
use std::{fs, io};

/// The CPU time that each thread of a process has had so far, by thread id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CpuTimes(HashMap<String, Duration>);

impl CpuTimes {
    /// Of the process `pid` at this moment.
    ///
    /// # Errors
    /// There is no such process, or the kernel does not keep these figures.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let mut times = HashMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            let schedstat = match fs::read_to_string(task.path().join("schedstat")) {
                Ok(schedstat) => schedstat,
                // The thread has just ended.
                Err(_) if !task.path().exists() => continue,
                Err(error) => return Err(error),
            };
            let nanos = nanos_on_cpu(&schedstat).ok_or(io::ErrorKind::InvalidData)?;
            let thread = task.file_name().to_string_lossy().into_owned();
            times.insert(thread, Duration::from_nanos(nanos));
        }
        Ok(Self(times))
    }

    /// What the process has used since `earlier`. What threads used that ended in between is
    /// not in it, which the kernel no longer tells.
    pub(super) fn since(&self, earlier: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, now)| {
            let before = earlier.0.get(thread).copied().unwrap_or_default();
            now.saturating_sub(before)
        });
        used.sum()
    }
}

/// What this process has used so far, by all threads it ever had.
pub(super) fn own_cpu_time() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        use rustix::time::{ClockId, clock_gettime};
        Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).ok()
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The first of three numbers: on the CPU, waiting for it, and how often.
fn nanos_on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_counts() {
        assert_eq!(nanos_on_cpu("2164530987 151432 87\n"), Some(2_164_530_987));
        assert_eq!(nanos_on_cpu(""), None);
    }

    #[test]
    fn threads_come_and_go() {
        let times = |threads: &[(&str, u64)]| {
            let each = |&(id, ms): &(&str, u64)| (id.to_owned(), Duration::from_millis(ms));
            CpuTimes(threads.iter().map(each).collect())
        };
        let earlier = times(&[("1", 100), ("2", 1000)]);
        let later = times(&[("1", 130), ("3", 7)]);
        assert_eq!(later.since(&earlier), Duration::from_millis(37));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process() {
        let pid = std::process::id();
        let earlier = CpuTimes::of(pid).unwrap();
        let own = own_cpu_time().unwrap();
        let mut work = 0_u64;
        while CpuTimes::of(pid).unwrap().since(&earlier).is_zero() {
            work = std::hint::black_box(work + 1);
        }
        assert!(own_cpu_time().unwrap() > own);
        assert!(CpuTimes::of(u32::MAX).is_err());
    }
}
