//! Who runs on which CPU, so that who makes the load does not take time from who is measured.

use anyhow::Result;

/// The CPUs that this process may use.
pub(super) struct Cpus(Vec<usize>);

impl Cpus {
    pub(super) fn of_this_process() -> Self {
        Self(allowed())
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> &[usize] {
        &self.0
    }

    /// Pins every thread of a process to the CPU at `index`; those it starts later inherit
    /// that. With one CPU there is nothing to pin to.
    pub(super) fn pin(&self, process: u32, index: usize) -> Result<()> {
        match self.0.get(index) {
            Some(&cpu) if self.0.len() > 1 => pin(process, cpu),
            _ => Ok(()),
        }
    }
}

#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};

    let Ok(set) = sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect()
}

#[cfg(target_os = "linux")]
fn pin(process: u32, cpu: usize) -> Result<()> {
    use anyhow::Context as _;
    use rustix::thread::{CpuSet, Pid, sched_setaffinity};

    let mut set = CpuSet::new();
    set.set(cpu);
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let thread: i32 = thread?.file_name().to_string_lossy().parse()?;
        let id = Pid::from_raw(thread).context("a thread without an id")?;
        match sched_setaffinity(Some(id), &set) {
            // It has just ended.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).context("pinning to a CPU"),
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn pin(_: u32, _: usize) -> Result<()> {
    Ok(())
}
